import Compute
import Oracle
import Testing

@testable import NeuralNet

extension OnDevices {
    @Suite struct ConvolutionTests {
        /// A layer's three passes on the device, as they are read back.
        private struct Passes {
            var output: [Float]
            var inputGradient: [Float]?
            var weightGradient: [Float]
            var biasGradient: [Float]
        }

        /// A layer with its data, on both sides.
        private struct Case {
            let input: FeatureShape
            let filters: Int
            let batch: Int
            let images, weights, bias, outputGradient: [Float]

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

            var output: FeatureShape { FeatureShape(height: input.height, width: input.width, channels: filters) }
            var label: String { "\(batch) of \(input) (stored \(input.storedChannels)) → \(filters)" }

            func exactOutput() -> [Double] {
                Oracle.reluForward(
                    Oracle.convolutionForward(
                        images.doubles, shape: input.oracle(batch: batch), weights: weights.doubles, bias: bias.doubles, filters: filters))
            }
        }

        private func tolerance(_ algorithm: ConvolutionAlgorithm) -> Double { algorithm == .winograd4 ? Tolerance.winograd4 : Tolerance.sum }

        private func run(_ example: Case, _ algorithm: ConvolutionAlgorithm, on device: Device, maximumBatch: Int? = nil) throws -> Passes {
            let weight = Parameter(name: "weight", layout: .convolution(filters: example.filters, input: example.input), index: 0)
            let bias = Parameter(name: "bias", layout: .bias(count: example.filters), index: 1)
            let layer = try Convolution(
                input: example.input, filters: example.filters, weight: weight, bias: bias, algorithm: algorithm, keepsTransformedWeights: false,
                device: device)
            let fits = example.input.storedChannels % 16 == 0
            #expect(layer.algorithm == (fits || algorithm == .im2col ? algorithm : .direct), "\(example.label)")
            #expect(layer.outputShape == example.output)
            let batch = example.batch
            let maximum = maximumBatch ?? batch
            let workspace = try Guarded(device, count: layer.workspaceByteCount(maximumBatch: maximum) / 4)
            try layer.prepare(
                weights: [Buffer(device, weight.stored(example.weights)), Buffer(device, bias.stored(example.bias))], workspace: workspace.buffer,
                maximumBatch: maximum)
            let pass = Pass(batch: batch, training: true)
            let input = try Buffer(device, example.input.stored(example.images))
            let output = try Guarded(device, count: batch * example.output.storedCount)
            try layer.forward(input: input, output: output.buffer, pass: pass)
            // The first layer's input needs no gradient.
            let inputGradient = fits ? try Guarded(device, count: batch * example.input.storedCount) : nil
            let weightGradient = try Guarded(device, count: weight.storedCount)
            let biasGradient = try Guarded(device, count: bias.storedCount)
            let outputGradient = try Guarded(device, example.output.stored(example.outputGradient))
            try layer.backward(
                input: input, output: output.buffer, outputGradient: outputGradient.buffer, inputGradient: inputGradient?.buffer,
                parameterGradients: [weightGradient.buffer, biasGradient.buffer], pass: pass)
            _ = try workspace.values()
            _ = try outputGradient.values()
            return Passes(
                output: example.output.unstored(try output.values()),
                inputGradient: try inputGradient.map { example.input.unstored(try $0.values()) },
                weightGradient: weight.checkedExport(try weightGradient.values()), biasGradient: bias.checkedExport(try biasGradient.values()))
        }

        private func check(_ passes: Passes, _ example: Case, exactOutput: [Double], tolerance: Double, sourceLocation: SourceLocation = #_sourceLocation) {
            #expect(relativeError(passes.output, exactOutput) < tolerance, "forward, \(example.label)", sourceLocation: sourceLocation)
            // The mask of the device's own output: a ReLU that stands at its kink is no error of backward.
            let gradient = Oracle.reluBackward(output: passes.output.doubles, outputGradient: example.outputGradient.doubles)
            let shape = example.input.oracle(batch: example.batch)
            if let inputGradient = passes.inputGradient {
                let exact = Oracle.convolutionBackwardData(gradient, shape: shape, weights: example.weights.doubles, filters: example.filters)
                #expect(relativeError(inputGradient, exact) < tolerance, "backward-data, \(example.label)", sourceLocation: sourceLocation)
            }
            let exact = Oracle.convolutionBackwardWeights(
                example.images.doubles, shape: shape, outputGradient: gradient, filters: example.filters)
            #expect(relativeError(passes.weightGradient, exact.weights) < tolerance, "backward-weights, \(example.label)", sourceLocation: sourceLocation)
            #expect(relativeError(passes.biasGradient, exact.bias) < Tolerance.sum, "bias, \(example.label)", sourceLocation: sourceLocation)
        }

        /// Channels that fill no panel, one or several; maps from a single pixel to several tiles, odd and even, narrow and flat.
        @Test(arguments: testDevices, ConvolutionAlgorithm.allCases)
        func oddShapes(description: DeviceDescription, algorithm: ConvolutionAlgorithm) throws {
            let device = try open(description)
            var seed = 0
            for (channels, filters) in [(5, 20), (16, 16), (20, 48), (48, 5), (1, 1)] {
                for (height, width) in [(1, 1), (1, 7), (7, 1), (2, 2), (2, 5), (3, 3), (5, 3), (13, 7), (13, 13)] {
                    for batch in [1, 3] {
                        seed += 1
                        let example = Case(
                            FeatureShape(height: height, width: width, channels: channels), filters: filters, batch: batch, seed: seed)
                        check(
                            try run(example, algorithm, on: device), example, exactOutput: example.exactOutput(),
                            tolerance: tolerance(algorithm))
                    }
                }
            }
        }

        /// The image layer, and one whose input is a pooled image: four stored channels. Winograd leaves them to `direct`, which `run` asserts.
        @Test(arguments: testDevices, ConvolutionAlgorithm.allCases)
        func images(description: DeviceDescription, algorithm: ConvolutionAlgorithm) throws {
            let device = try open(description)
            for (size, filters, batch) in [(1, 16, 1), (2, 5, 3), (3, 20, 1), (5, 48, 3), (13, 16, 3), (7, 64, 1)] {
                for input in [FeatureShape.image(size: size), FeatureShape.image(size: 2 * size + 1).pooled] {
                    #expect(input.storedChannels == 4)
                    let example = Case(input, filters: filters, batch: batch, seed: size)
                    check(
                        try run(example, algorithm, on: device), example, exactOutput: example.exactOutput(), tolerance: tolerance(algorithm))
                }
            }
        }

        /// A pass smaller than the largest uses the same memory.
        @Test(arguments: testDevices, ConvolutionAlgorithm.allCases)
        func smallBatchInMemoryForALargeOne(description: DeviceDescription, algorithm: ConvolutionAlgorithm) throws {
            let example = Case(FeatureShape(height: 9, width: 6, channels: 20), filters: 33, batch: 2, seed: 77)
            check(
                try run(example, algorithm, on: open(description), maximumBatch: 37), example, exactOutput: example.exactOutput(),
                tolerance: tolerance(algorithm))
        }

        @Test func everyShapeHasAnAlgorithm() {
            let image = FeatureShape.image(size: 8)
            let map = FeatureShape(height: 8, width: 8, channels: 20)
            let small = FeatureShape(height: 2, width: 2, channels: 20)
            for wanted in ConvolutionAlgorithm.allCases { #expect(Convolution.algorithm(wanted: wanted, input: map) == wanted) }
            #expect(Convolution.algorithm(wanted: .winograd2, input: image) == .direct)
            #expect(Convolution.algorithm(wanted: .winograd4, input: image) == .direct)
            #expect(Convolution.algorithm(wanted: .im2col, input: image) == .im2col)
            #expect(Convolution.algorithm(wanted: nil, input: image) == .direct)
            #expect([.winograd2, .winograd4].contains(Convolution.algorithm(wanted: nil, input: map)))
            #expect(Convolution.algorithm(wanted: nil, input: small) != .winograd4)
        }

        /// Accuracy where it matters: the shapes of VGG's layers, several chunks long.
        @Test(arguments: testDevices, [(64, 28, 2), (128, 14, 3)])
        func accuracyOnVGGShapes(description: DeviceDescription, shape: (channels: Int, size: Int, batch: Int)) throws {
            let device = try open(description)
            let example = Case(
                FeatureShape(height: shape.size, width: shape.size, channels: shape.channels), filters: shape.channels, batch: shape.batch,
                seed: shape.size)
            let exact = example.exactOutput()
            for algorithm in ConvolutionAlgorithm.allCases {
                check(try run(example, algorithm, on: device), example, exactOutput: exact, tolerance: tolerance(algorithm))
            }
        }

        /// For inference the transformed weights are kept, until they are said to have changed.
        @Test(arguments: testDevices, [ConvolutionAlgorithm.winograd2, .winograd4])
        func keptWeightsFollowChanges(description: DeviceDescription, algorithm: ConvolutionAlgorithm) throws {
            let device = try open(description)
            let shape = FeatureShape(height: 5, width: 6, channels: 16)
            let weight = Parameter(name: "weight", layout: .convolution(filters: 16, input: shape), index: 0)
            let bias = Parameter(name: "bias", layout: .bias(count: 16), index: 1)
            let layer = try Convolution(
                input: shape, filters: 16, weight: weight, bias: bias, algorithm: algorithm, keepsTransformedWeights: true, device: device)
            let workspace = try Buffer(device, byteCount: layer.workspaceByteCount(maximumBatch: 1))
            let weights = try Buffer(device, floatCount: weight.storedCount)
            try layer.prepare(weights: [weights, Buffer(device, bias.stored([Float](repeating: 0.1, count: 16)))], workspace: workspace, maximumBatch: 1)
            let output = try Guarded(device, count: shape.storedCount)
            for seed in 1...2 {
                var numbers = TestNumbers(seed)
                let images = numbers.floats(shape.count), values = numbers.floats(weight.count)
                try weights.write(weight.stored(values))
                layer.weightsChanged()
                for _ in 0..<2 {
                    try layer.forward(input: Buffer(device, images), output: output.buffer, pass: Pass(batch: 1, training: false))
                    let exact = Oracle.reluForward(
                        Oracle.convolutionForward(
                            images.doubles, shape: shape.oracle(batch: 1), weights: values.doubles, bias: [Double](repeating: Double(Float(0.1)), count: 16),
                            filters: 16))
                    #expect(relativeError(try output.values(), exact) < tolerance(algorithm))
                }
            }
        }
    }
}
