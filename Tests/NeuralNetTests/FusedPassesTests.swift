import Compute
import Oracle
import TestSupport
import Testing

@testable import NeuralNet

extension OnDevices {
    /// Convolutions that do a neighbour's work give the numbers that the neighbour would give.
    @Suite struct FusedPassesTests {
        /// A net and the tuning that its launches need.
        struct Example: CustomTestStringConvertible {
            let model: String
            let imageSize: Int
            var changes: [String: Int] = [:]
            var testDescription: String { "\(model) at \(imageSize), \(changes)" }
        }

        private struct Numbers: Equatable {
            var logits: [UInt32] = []
            /// By the parameter's name.
            var gradients: [String: [Float]] = [:]
        }

        private static let inChunks = ["winograd.largest-product-at-once": 0, "winograd.chunk-tiles-4": 8]

        /// Overhanging tiles, a lost row, masks, several panels, a pooling on the image layer, and chunks.
        ///
        /// Rows of 70 windows are longer than what the image layer copies at a time.
        static let examples = [
            Example(model: "16,36,M,20,33,M,18,M,F17", imageSize: 20),
            Example(model: "16,36,M,20,33,M,18,M,F17", imageSize: 20, changes: inChunks),
            Example(model: "35,M,20,M,F17", imageSize: 12),
            Example(model: "16,M,16,M,F17", imageSize: 140),
            Example(
                model: "16,36,20,M,F17", imageSize: 8,
                changes: inChunks.merging(["winograd.streamed-bytes": 0]) { $1 }),
            Example(model: "16,36,20,M,F17", imageSize: 8, changes: ["winograd.streamed-bytes": 0]),
        ]

        /// Runs one step forward and back.
        private func numbers(_ example: Example, on device: Device, prepare: (Network) -> Void) throws
            -> Numbers
        {
            let batch = 3
            let network = try Network(
                Architecture(parsing: example.model), imageSize: example.imageSize, classes: 5,
                options: .init(maximumBatch: batch, training: true, dropout: 0), device: device)
            prepare(network)
            try network.initialize(seed: 4)
            var numbers = TestNumbers(5)
            for parameter in network.parameters where !parameter.decays {
                try network.load(parameter, numbers.floats(parameter.count, in: 0.05...0.1))
            }
            // Images of few colours, and one of a single colour: windows with equal maxima.
            var images = numbers.integers(batch * network.inputShape.count, below: 3).map { Float($0 - 1) }
            for index in 0..<network.inputShape.count { images[index] = 0.5 }
            try network.input.write(network.inputShape.stored(images))
            let scores = FeatureShape(height: 1, width: 1, channels: 5).stored(numbers.floats(batch * 5))
            let pass = Pass(batch: batch, training: true)
            let gradients = try ParameterArena(network.parameters, device: device)
            try network.forward(pass)
            try #require(network.logitsGradient).write(scores)
            try network.backward(pass, gradients: gradients)
            var result = Numbers()
            result.logits = try network.logits.read(batch * network.logitsStride)
            for parameter in network.parameters {
                result.gradients[parameter.name] = parameter.checkedExport(
                    try gradients[parameter].read(parameter.storedCount))
            }
            return result
        }

        @Test(arguments: testDevices, examples) func equalSeparatePasses(
            description: DeviceDescription, example: Example
        ) throws {
            let device = try Device(description)
            try device.tuning.set(example.changes.filter { device.tuning.values[$0.key] != nil })
            var found = FusedPasses()
            let fused = try numbers(example, on: device) { found = $0.fused }
            let onCPU = device.tuning.device.body == .cpu
            #expect(!onCPU || !found.pooling.isEmpty || !found.unpooling.isEmpty)
            #expect(onCPU || found.pooling.isEmpty && found.unpooling.isEmpty && found.maskingResult.isEmpty)
            let separate = try numbers(example, on: device) { $0.fused = FusedPasses() }
            #expect(fused.logits == separate.logits)
            for (name, values) in separate.gradients {
                let own = try #require(fused.gradients[name])
                // The image layer adds in another order behind a pooling.
                if name.hasPrefix("features.0.") && found.unpooling.contains(0) {
                    #expect(relativeError(own, values.doubles) < Tolerance.sum, "\(name)")
                } else {
                    #expect(own == values, "\(name)")
                }
                #expect(values.contains { $0 != 0 }, "\(name)")
            }
        }

        /// Which convolutions work for their neighbours: not across odd maps, other algorithms or frozen
        /// layers, and not in inference.
        @Test(arguments: testDevices.filter { $0.traits.body == .cpu }) func choices(
            description: DeviceDescription
        ) throws {
            let device = try open(description)
            func fused(
                _ model: String, imageSize: Int = 12, training: Bool = true,
                convolution: ConvolutionAlgorithms? = nil, freezesFeatures: Bool = false
            ) throws -> FusedPasses {
                try Network(
                    Architecture(parsing: model), imageSize: imageSize, classes: 5,
                    options: .init(
                        maximumBatch: 2, training: training, convolution: convolution,
                        freezesFeatures: freezesFeatures), device: device
                ).fused
            }
            // 12, 6 and 3: the last pooling loses a row.
            let all = try fused("16,20,M,18,20,M,16,M,F9")
            #expect(all.pooling == [1, 4] && all.unpooling == [1, 4] && all.maskingResult == [1, 4])
            #expect(try fused("16,M,F9").unpooling == [0] && fused("16,M,F9").pooling == [])
            for plain in [
                try fused("16,20,M,F9", training: false),
                try fused("16,20,M,F9", convolution: .init(.im2col)),
            ] { #expect(plain.pooling.isEmpty && plain.unpooling.isEmpty && plain.maskingResult.isEmpty) }
            for masking in [
                try fused("16,20,M,F9", imageSize: 13),
                try fused("16,20,M,F9", convolution: .init(.winograd2)),
            ] {
                #expect(masking.pooling.isEmpty && masking.unpooling.isEmpty)
                #expect(masking.maskingResult == [1])
            }
            let frozen = try fused("16,20,20,M,F9", freezesFeatures: true)
            #expect(frozen.unpooling.isEmpty && frozen.maskingResult.isEmpty)
            // A pass by another algorithm leaves the whole backward pass as it was.
            let mixed = try fused(
                "16,20,20,M,F9",
                convolution: .init(forward: .winograd4, backwardData: .direct, backwardWeights: .winograd4))
            #expect(mixed.pooling == [2] && mixed.unpooling.isEmpty && mixed.maskingResult.isEmpty)
        }
    }
}
