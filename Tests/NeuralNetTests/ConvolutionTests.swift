import Compute
import Oracle
import TestSupport
import Testing

@testable import NeuralNet

extension OnDevices {
    @Suite struct ConvolutionTests {
        /// A layer with its data, on both sides.
        private struct Case {
            let input: FeatureShape
            let filters: Int
            let batch: Int
            let images, weights, bias: [Float]
            private(set) var outputGradient: [Float]

            init(_ input: FeatureShape, filters: Int, batch: Int, seed: Int) {
                self.input = input
                self.filters = filters
                self.batch = batch
                var numbers = TestNumbers(seed)
                images = numbers.floats(batch * input.count)
                weights = numbers.floats(filters * input.channels * 9)
                bias = numbers.floats(filters)
                outputGradient = numbers.floats(batch * input.height * input.width * filters)
            }

            var output: FeatureShape {
                FeatureShape(height: input.height, width: input.width, channels: filters)
            }
            var label: String { "\(batch) of \(input) (stored \(input.storedChannels)) → \(filters)" }

            /// No gradient where rounding could turn the output's sign, so that every algorithm has the same
            /// mask.
            mutating func silenceKinks(_ output: [Double]) {
                for (index, value) in output.enumerated() where value < 1e-2 { outputGradient[index] = 0 }
            }

            func exactOutput() -> [Double] {
                Oracle.reluForward(
                    Oracle.convolutionForward(
                        images.doubles, shape: input.oracle(batch: batch), weights: weights.doubles,
                        bias: bias.doubles, filters: filters))
            }
        }

        private typealias Exact = (output: [Double], input: [Double], weights: [Double], bias: [Double])

        private func tolerance(_ algorithms: ConvolutionAlgorithms) -> Double {
            algorithms.distinct.contains(.winograd4) ? Tolerance.winograd4 : Tolerance.sum
        }

        /// Other algorithms for other passes: with and without masks of their own, in every place.
        private static let mixed = [
            "winograd4/direct/winograd2", "direct/winograd4/im2col", "im2col/winograd2/direct",
            "winograd2/im2col/winograd4",
        ].compactMap { ConvolutionChoice(rawValue: $0)?.algorithms }

        /// A layer as a network makes it, for training or for inference, which keeps transformed weights.
        private func convolution(
            _ input: FeatureShape, filters: Int, _ algorithms: ConvolutionAlgorithms,
            training: Bool, on device: Device
        ) throws -> Convolution {
            let options = Network.Options(maximumBatch: 1, training: training, convolution: algorithms)
            let plan = LayerPlan(
                ConvolutionSpec(filters: filters).configured(by: options, input: input), input: input,
                training: training, device: device.description, tuning: device.tuning)
            return try #require(plan.makeLayer(on: device) as? Convolution)
        }

        private func run(
            _ example: Case, _ algorithms: ConvolutionAlgorithms, on device: Device, maximumBatch: Int? = nil
        ) throws -> LayerPasses {
            let layer = try convolution(
                example.input, filters: example.filters, algorithms, training: true, on: device)
            let fits = example.input.storedChannels % 16 == 0
            for pass in LayerPass.allCases {
                #expect(
                    layer.algorithms[pass]
                        == (fits || algorithms[pass] == .im2col ? algorithms[pass] : .direct),
                    "\(example.label)")
            }
            #expect(layer.outputShape == example.output)
            // The first layer's input needs no gradient.
            return try LayerPasses(
                layer, input: example.images, parameters: [example.weights, example.bias],
                outputGradient: example.outputGradient, batch: example.batch, maximumBatch: maximumBatch,
                needsInputGradient: fits, on: device)
        }

        /// Returns the exact results of a layer whose output has the given signs.
        ///
        /// For a single run the device's own signs do: a ReLU at its kink is no error of backward.
        private func exact(_ example: Case, output: [Double], signs: [Double]) -> Exact {
            let gradient = Oracle.reluBackward(output: signs, outputGradient: example.outputGradient.doubles)
            let shape = example.input.oracle(batch: example.batch)
            let input =
                example.input.storedChannels == 4
                ? []
                : Oracle.convolutionBackwardData(
                    gradient, shape: shape, weights: example.weights.doubles, filters: example.filters)
            let parameters = Oracle.convolutionBackwardWeights(
                example.images.doubles, shape: shape, outputGradient: gradient, filters: example.filters)
            return (output, input, parameters.weights, parameters.bias)
        }

        private func compare(
            _ passes: LayerPasses, _ exact: Exact, label: String, tolerance: Double,
            sourceLocation: SourceLocation = #_sourceLocation
        ) {
            for (pass, values, exact, tolerance) in [
                ("forward", passes.output, exact.output, tolerance),
                ("backward-data", passes.inputGradient ?? [], exact.input, tolerance),
                ("backward-weights", passes.parameterGradients[0], exact.weights, tolerance),
                ("bias", passes.parameterGradients[1], exact.bias, Tolerance.sum),
            ] {
                #expect(
                    relativeError(values, exact) < tolerance, "\(pass), \(label)",
                    sourceLocation: sourceLocation)
            }
        }

        private func check(
            _ example: Case, _ algorithms: ConvolutionAlgorithms, on device: Device, maximumBatch: Int? = nil,
            sourceLocation: SourceLocation = #_sourceLocation
        ) throws {
            let passes = try run(example, algorithms, on: device, maximumBatch: maximumBatch)
            let exact = exact(example, output: example.exactOutput(), signs: passes.output.doubles)
            compare(
                passes, exact, label: "\(algorithms), \(example.label)", tolerance: tolerance(algorithms),
                sourceLocation: sourceLocation)
        }

        /// Channels that fill no panel, one or several; maps from a single pixel to several tiles, odd and
        /// even, narrow and flat.
        @Test(arguments: testDevices, ConvolutionAlgorithm.allCases) func oddShapes(
            description: DeviceDescription, algorithm: ConvolutionAlgorithm
        ) throws {
            let device = try open(description)
            var seed = 0
            for (channels, filters) in [(5, 20), (16, 16), (20, 48), (48, 5), (1, 1)] {
                for (height, width) in [
                    (1, 1), (1, 7), (7, 1), (2, 2), (2, 5), (3, 3), (5, 3), (13, 7), (13, 13),
                ] {
                    for batch in [1, 3] {
                        seed += 1
                        let example = Case(
                            FeatureShape(height: height, width: width, channels: channels), filters: filters,
                            batch: batch, seed: seed)
                        try check(example, ConvolutionAlgorithms(algorithm), on: device)
                    }
                }
            }
        }

        @Test(arguments: testDevices, mixed) func anAlgorithmForEachPass(
            description: DeviceDescription, algorithms: ConvolutionAlgorithms
        ) throws {
            let device = try open(description)
            for (channels, filters, height, width) in [
                (5, 20, 5, 3), (48, 5, 1, 7), (20, 48, 13, 7), (3, 16, 5, 6),
            ] {
                let example = Case(
                    FeatureShape(height: height, width: width, channels: channels), filters: filters,
                    batch: 3, seed: height)
                try check(example, algorithms, on: device)
            }
        }

        @Test func anOperationWithoutMemoryTraps() async throws {
            await #expect(processExitsWith: .failure) {
                let device = try Device(try #require(testDevices.first))
                let shape = FeatureShape(height: 2, width: 2, channels: 16)
                let method = try DirectConvolution(
                    .init(input: shape.mapSize, outputs: 16, tuning: device.tuning), device: device)
                let maps = try Buffer(device, floatCount: shape.storedCount)
                let weights = try Buffer(device, floatCount: 9 * 16 * 16)
                // `prepare` is missing.
                try method.backwardData(
                    ConvolvedMap(values: maps), weights: weights,
                    inputGradient: maps, resultMask: nil, batch: 1)
            }
        }

        /// Constants of another device give the same results but for rounding: kernels and launches follow
        /// `device.tuning`.
        @Test(arguments: testDevices, ConvolutionAlgorithm.allCases) func otherTuning(
            description: DeviceDescription, algorithm: ConvolutionAlgorithm
        ) throws {
            let device = try Device(description)
            let values = [
                "convolution.rows": 4, "convolution.panels": 2, "convolution.weight-channels": 2,
                "convolution.pixels-per-item": 50, "convolution.slot-bytes": 4096,
                "convolution.columns-bytes": 8192, "gemm.rows": 5, "gemm.panels": 2, "gemm.depth-block": 100,
                "winograd.tile-group": 8, "winograd.multiply-rows": 4, "winograd.multiply-blocks": 2,
                "winograd.block-rows": 12, "winograd.weights-rows": 8, "winograd.chunk-tiles-4": 16,
                "winograd.chunk-tiles-2": 32, "winograd.largest-product-at-once": 20 * 48,
            ]
            // A body has only some of the constants.
            try device.tuning.set(values.filter { device.tuning.values[$0.key] != nil })
            for (channels, filters) in [(20, 48), (48, 64)] {
                let example = Case(
                    FeatureShape(height: 13, width: 7, channels: channels),
                    filters: filters, batch: 3, seed: channels)
                try check(example, ConvolutionAlgorithms(algorithm), on: device)
            }
        }

        /// A tuner may choose among these by time: not a bit of any pass depends on them.
        @Test(
            arguments: testDevices.filter { $0.traits.body == .gpu },
            [ConvolutionAlgorithm.direct, .im2col, .winograd4])
        func racedConstantsKeepTheBits(
            description: DeviceDescription, algorithm: ConvolutionAlgorithm
        ) throws {
            let input = FeatureShape(height: 13, width: 7, channels: 20)
            let example = Case(input, filters: 48, batch: 3, seed: 1)
            func bits(_ changes: [String: Int]) throws -> [[UInt32]] {
                let device = try Device(description)
                device.tuning = Tuning(for: description.traits)
                // Winograd's 24 tiles in two chunks.
                try device.tuning.set(changes.merging(["winograd.chunk-tiles-4": 20]) { $1 })
                let passes = try run(example, .init(algorithm), on: device)
                return ([passes.output, passes.inputGradient ?? []] + passes.parameterGradients)
                    .map { $0.map(\.bitPattern) }
            }
            let expected = try bits([:])
            let raced = Tuning(for: description.traits).racedConstants
            #expect(raced.count >= 8)
            for constant in raced {
                for value in constant.candidates {
                    let family = KernelFamilies.all.first { constant.key.hasPrefix($0.name + ".") }
                    let changes = try #require(family).changes(constant, to: value)
                    // Some values don't go with the others' initial ones; a tuner skips those too.
                    var tuning = Tuning(for: description.traits)
                    guard (try? tuning.set(changes)) != nil else { continue }
                    #expect(try bits(changes) == expected, "\(constant.key) \(value)")
                }
            }
        }

        /// The width of registers and the shapes of tiles change no bit of any result.
        @Test(
            arguments: testDevices.filter { $0.traits.body == .cpu },
            [
                ["winograd.lanes": 8], ["winograd.lanes": 16], ["winograd.multiply-depth": 16],
                ["winograd.multiply-depth": 32, "winograd.multiply-blocks": 1],
                ["winograd.weights-rows": 5], ["winograd.weights-rows": 16], ["winograd.block-rows": 24],
            ])
        func registersKeepTheBits(description: DeviceDescription, changes: [String: Int]) throws {
            let input = FeatureShape(height: 10, width: 12, channels: 48)
            let example = Case(input, filters: 32, batch: 3, seed: 1)
            // In one launch, and in chunks.
            for largest in [0, 1 << 20] {
                func bits(_ changes: [String: Int]) throws -> [[UInt32]] {
                    let device = try Device(description)
                    try device.tuning.set(
                        changes.merging(["winograd.largest-product-at-once": largest]) { $1 })
                    let passes = try run(example, .init(.winograd4), on: device)
                    return ([passes.output, passes.inputGradient ?? []] + passes.parameterGradients)
                        .map { $0.map(\.bitPattern) }
                }
                #expect(try bits(changes) == bits([:]))
            }
        }

        @Test func choicesReadBack() {
            for text in ["auto", "direct", "winograd4/direct/winograd2", "im2col/im2col/direct"] {
                #expect(ConvolutionChoice(rawValue: text)?.rawValue == text)
            }
            #expect(
                ConvolutionChoice(rawValue: "direct/direct/direct") == ConvolutionChoice(rawValue: "direct"))
            for text in [
                "", "Direct", "direct/", "direct/direct", "direct/auto/direct", "direct/direct/direct/direct",
            ] { #expect(ConvolutionChoice(rawValue: text) == nil, "\(text)") }
        }

        /// The image layer, and one whose input is a pooled image: four stored channels.
        ///
        /// Winograd leaves them to `direct`, which `run` asserts.
        @Test(arguments: testDevices, ConvolutionAlgorithm.allCases) func images(
            description: DeviceDescription, algorithm: ConvolutionAlgorithm
        ) throws {
            let device = try open(description)
            for (size, filters, batch) in [
                (1, 16, 1), (2, 5, 3), (3, 20, 1), (5, 48, 3), (13, 16, 3), (7, 64, 1),
            ] {
                for input in [FeatureShape.image(size: size), FeatureShape.image(size: 2 * size + 1).pooled] {
                    #expect(input.storedChannels == 4)
                    let example = Case(input, filters: filters, batch: batch, seed: size)
                    try check(example, ConvolutionAlgorithms(algorithm), on: device)
                }
            }
        }

        /// A pass smaller than the largest uses the same memory.
        @Test(arguments: testDevices, ConvolutionAlgorithm.allCases) func smallBatchInMemoryForALargeOne(
            description: DeviceDescription, algorithm: ConvolutionAlgorithm
        ) throws {
            let example = Case(
                FeatureShape(height: 9, width: 6, channels: 20), filters: 33, batch: 2, seed: 77)
            try check(example, ConvolutionAlgorithms(algorithm), on: open(description), maximumBatch: 37)
        }

        @Test func everyShapeHasAnAlgorithm() {
            let image = FeatureShape.image(size: 8)
            let map = FeatureShape(height: 8, width: 8, channels: 20)
            let small = FeatureShape(height: 2, width: 2, channels: 20)
            for wanted in ConvolutionAlgorithm.allCases {
                #expect(ConvolutionSpec.algorithm(wanted: wanted, input: map) == wanted)
            }
            #expect(ConvolutionSpec.algorithm(wanted: .winograd2, input: image) == .direct)
            #expect(ConvolutionSpec.algorithm(wanted: .winograd4, input: image) == .direct)
            #expect(ConvolutionSpec.algorithm(wanted: .im2col, input: image) == .im2col)
            #expect(ConvolutionSpec.algorithm(wanted: nil, input: image) == .direct)
            #expect([.winograd2, .winograd4].contains(ConvolutionSpec.algorithm(wanted: nil, input: map)))
            #expect(ConvolutionSpec.algorithm(wanted: nil, input: small) != .winograd4)
        }

        /// Accuracy where it matters: shapes of VGG's layers.
        ///
        /// The gradient of the weights is at most twice as wrong as PyTorch's in its default layout, whose
        /// error `tools/compare_pytorch error` has measured on random numbers like these (PyTorch 2.15,
        /// oneDNN). In channels_last it is a third to a half of that.
        @Test(arguments: testDevices, [(64, 28, 1, 3.28e-6), (128, 14, 2, 2.46e-6)]) func accuracyOnVGGShapes(
            description: DeviceDescription, shape: (channels: Int, size: Int, batch: Int, pytorch: Double)
        ) throws {
            let device = try open(description)
            var example = Case(
                FeatureShape(height: shape.size, width: shape.size, channels: shape.channels),
                filters: shape.channels, batch: shape.batch, seed: shape.size)
            let output = example.exactOutput()
            example.silenceKinks(output)
            let exact = exact(example, output: output, signs: output)
            for algorithms in ConvolutionAlgorithm.allCases.map({ ConvolutionAlgorithms($0) }) + Self.mixed {
                let passes = try run(example, algorithms, on: device)
                compare(
                    passes, exact, label: "\(algorithms), \(example.label)", tolerance: tolerance(algorithms))
                #expect(
                    relativeError(passes.parameterGradients[0], exact.weights) <= 2 * shape.pytorch,
                    "backward-weights, \(algorithms), \(example.label)")
            }
        }

        /// Work in many chunks, launches and slots: too long for the oracle, so the algorithms are compared
        /// with each other.
        @Test(arguments: testDevices, [(16, 176, 1), (256, 14, 10), (64, 29, 9)]) func manyChunks(
            description: DeviceDescription, shape: (channels: Int, size: Int, batch: Int)
        ) throws {
            let device = try open(description)
            var example = Case(
                FeatureShape(height: shape.size, width: shape.size, channels: shape.channels),
                filters: shape.channels, batch: shape.batch, seed: shape.size)
            example.silenceKinks(try run(example, ConvolutionAlgorithms(.direct), on: device).output.doubles)
            let direct = try run(example, ConvolutionAlgorithms(.direct), on: device)
            let reference = (
                direct.output.doubles, direct.inputGradient?.doubles ?? [],
                direct.parameterGradients[0].doubles,
                direct.parameterGradients[1].doubles
            )
            for algorithm in ConvolutionAlgorithm.allCases where algorithm != .direct {
                // Both sides have their error.
                compare(
                    try run(example, ConvolutionAlgorithms(algorithm), on: device), reference,
                    label: "\(algorithm), \(example.label)",
                    tolerance: tolerance(ConvolutionAlgorithms(algorithm)) + Tolerance.sum)
            }
        }

        /// For inference the transformed weights are kept, until they are said to have changed.
        @Test(arguments: testDevices, [ConvolutionAlgorithm.winograd2, .winograd4])
        func keptWeightsFollowChanges(description: DeviceDescription, algorithm: ConvolutionAlgorithm) throws
        {
            let device = try open(description)
            let shape = FeatureShape(height: 5, width: 6, channels: 16)
            let layer = try convolution(
                shape, filters: 16, ConvolutionAlgorithms(algorithm), training: false, on: device)
            let (weight, bias) = (layer.parameters[0], layer.parameters[1])
            let workspace = try Buffer(device, byteCount: layer.workspaceByteCount(maximumBatch: 1))
            let weights = try Buffer(device, floatCount: weight.storedCount)
            try layer.prepare(
                weights: [weights, Buffer(device, bias.stored([Float](repeating: 0.1, count: 16)))],
                workspace: workspace, maximumBatch: 1)
            let output = try Guarded(device, count: shape.storedCount)
            for seed in 1...2 {
                var numbers = TestNumbers(seed)
                let images = numbers.floats(shape.count), values = numbers.floats(weight.count)
                try weights.write(weight.stored(values))
                layer.weightsChanged()
                for _ in 0..<2 {
                    try layer.forward(
                        input: Buffer(device, images), output: output.buffer,
                        pass: Pass(batch: 1, training: false))
                    let exact = Oracle.reluForward(
                        Oracle.convolutionForward(
                            images.doubles, shape: shape.oracle(batch: 1), weights: values.doubles,
                            bias: [Double](repeating: Double(Float(0.1)), count: 16), filters: 16))
                    #expect(
                        relativeError(try output.values(), exact)
                            < tolerance(ConvolutionAlgorithms(algorithm)))
                }
            }
        }
    }
}
