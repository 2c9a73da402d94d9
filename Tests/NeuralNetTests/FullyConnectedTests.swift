import Compute
import Oracle
import TestSupport
import Testing

@testable import NeuralNet

extension OnDevices {
    @Suite struct FullyConnectedTests {
        /// An image (its stored inputs are no multiple of 16), a pooled image, feature maps and vectors;
        /// outputs below, at and past a panel, and sums longer than a block of the kernels.
        static let inputs = [
            FeatureShape.image(size: 3), FeatureShape.image(size: 5).pooled,
            FeatureShape(height: 2, width: 3, channels: 20), FeatureShape(height: 1, width: 1, channels: 37),
            FeatureShape(height: 3, width: 5, channels: 48),
        ]

        @Test(arguments: testDevices, inputs) func allPasses(
            description: DeviceDescription, input: FeatureShape
        ) throws {
            let device = try open(description)
            for (units, relu, slices) in [
                (1, false, 8), (16, true, 1), (37, true, 2), (37, false, 1), (290, true, 1), (290, true, 8),
            ] {
                for batch in [1, 3, 13, 33] {
                    try check(input, units: units, relu: relu, slices: slices, batch: batch, on: device)
                }
            }
        }

        private func check(
            _ input: FeatureShape, units: Int, relu: Bool, slices: Int, batch: Int, on device: Device
        ) throws {
            let label: Comment =
                """
                \(batch) of \(input) (stored \(input.storedChannels)) → \(units), ReLU \(relu), \(slices)
                """
            let plan = LayerPlan(
                FullyConnectedSpec(units: units, isLast: !relu, slices: slices), input: input,
                device: device.description)
            let layer = try plan.makeLayer(on: device)
            var numbers = TestNumbers(units + batch)
            let features = numbers.floats(batch * input.count), weights = numbers.floats(units * input.count),
                biases = numbers.floats(units)
            let gradient = numbers.floats(batch * units)

            let passes = try LayerPasses(
                layer, input: features, parameters: [weights, biases], outputGradient: gradient, batch: batch,
                needsInputGradient: input.storedChannels != 4, on: device)

            // The weights' inputs run over channels first.
            let shape = input.oracle(batch: batch)
            let flat = Oracle.channelsFirst(features.doubles, shape: shape)
            var exact = Oracle.fullyConnectedForward(
                flat, rows: batch, inputs: input.count,
                weights: weights.doubles, bias: biases.doubles, outputs: units)
            if relu { exact = Oracle.reluForward(exact) }
            #expect(relativeError(passes.output, exact) < Tolerance.sum, label)

            let masked =
                relu
                ? Oracle.reluBackward(output: passes.output.doubles, outputGradient: gradient.doubles)
                : gradient.doubles
            if let inputGradient = passes.inputGradient {
                let exact = Oracle.channelsLast(
                    Oracle.fullyConnectedBackwardData(
                        masked, rows: batch, inputs: input.count, weights: weights.doubles, outputs: units),
                    shape: shape)
                #expect(relativeError(inputGradient, exact) < Tolerance.sum, label)
            }
            let expected = Oracle.fullyConnectedBackwardWeights(
                flat, rows: batch, inputs: input.count, outputGradient: masked, outputs: units)
            for (values, exact) in zip(passes.parameterGradients, [expected.weights, expected.bias]) {
                #expect(relativeError(values, exact) < Tolerance.sum, label)
            }
        }

        /// The tiles of forward, and what a work-item takes, change no bit.
        ///
        /// There are several blocks of inputs and several tiles, also one past the batch and one past the
        /// last whole three panels.
        @Test(arguments: testDevices.filter { $0.traits.body == .cpu }) func tilesOfForwardKeepTheBits(
            description: DeviceDescription
        ) throws {
            let (inputs, units, batch) = (1044, 100, 37)
            var numbers = TestNumbers(3)
            let features = numbers.floats(batch * inputs), weights = numbers.floats(units * inputs),
                biases = numbers.floats(units)
            func bits(_ changes: [String: Int]) throws -> [UInt32] {
                let device = try Device(description)
                try device.tuning.set(changes)
                let plan = LayerPlan(
                    FullyConnectedSpec(units: units, isLast: false),
                    input: FeatureShape(height: 1, width: 1, channels: inputs),
                    device: device.description, tuning: device.tuning)
                return try LayerPasses(
                    plan.makeLayer(on: device), input: features, parameters: [weights, biases],
                    outputGradient: [Float](repeating: 0, count: batch * units), batch: batch, on: device
                ).output.map(\.bitPattern)
            }
            let expected = try bits([:])
            for changes in [
                ["fully_connected.forward-rows": 3], ["fully_connected.forward-items": 1],
                ["fully_connected.forward-images": 19, "fully_connected.forward-items": 1],
            ] {
                #expect(try bits(changes) == expected, "\(changes)")
            }
            // Otherwise the comparison would not see the order of a sum.
            #expect(try bits(["gemm.depth-block": 256]) != expected)
        }

        /// The input's gradient of a layer has the bits of its slices' gradients, added in a binary tree.
        ///
        /// The slices are layers of their own here, with one ascending sum each.
        @Test(arguments: testDevices) func slicesAreAddedInATree(description: DeviceDescription) throws {
            let device = try open(description)
            let (inputs, units, batch) = (52, 515, 21)
            var numbers = TestNumbers(1)
            let features = numbers.floats(batch * inputs), weights = numbers.floats(units * inputs)
            let gradient = numbers.floats(batch * units)
            func inputGradient(_ outputs: Range<Int>, slices: Int) throws -> [Float] {
                let plan = LayerPlan(
                    FullyConnectedSpec(units: outputs.count, isLast: true, slices: slices),
                    input: FeatureShape(height: 1, width: 1, channels: inputs), device: device.description)
                let ownWeights = Array(weights[outputs.lowerBound * inputs..<outputs.upperBound * inputs])
                var ownGradient: [Float] = []
                for row in 0..<batch {
                    let first = row * units
                    ownGradient += gradient[first + outputs.lowerBound..<first + outputs.upperBound]
                }
                let passes = try LayerPasses(
                    plan.makeLayer(on: device), input: features,
                    parameters: [ownWeights, [Float](repeating: 0, count: outputs.count)],
                    outputGradient: ownGradient, batch: batch, on: device)
                return try #require(passes.inputGradient)
            }
            // 33 panels: 2 slices of 17 and 16, 4 of 9 and 6, 8 of 5 would leave one empty.
            for (wanted, bounds) in [(2, [0, 272, 515]), (4, [0, 144, 288, 432, 515])] {
                var parts = try zip(bounds, bounds.dropFirst()).map { try inputGradient($0..<$1, slices: 1) }
                while parts.count > 1 {
                    var sums: [[Float]] = []
                    for left in stride(from: 0, to: parts.count, by: 2) {
                        sums.append(parts[left].indices.map { parts[left][$0] + parts[left + 1][$0] })
                    }
                    parts = sums
                }
                let whole = try inputGradient(0..<units, slices: wanted)
                #expect(whole == parts[0], "\(wanted) slices")
                guard wanted == 4 else { continue }
                // Otherwise the comparison would not see the order. GPUs add one slice in two parts here.
                #expect(try inputGradient(0..<units, slices: 1) != whole)
                #expect(try inputGradient(0..<units, slices: 8) == whole)
            }
        }
    }

    @Suite struct SlicesTests {
        @Test func coverAllOutputsAndNoneIsEmpty() {
            for panels in 1...130 {
                for largest in [1, 2, 4, 8, 256] {
                    let slices = Slices(of: 16 * panels, atMost: largest)
                    #expect(slices.count & (slices.count - 1) == 0 && slices.count <= largest)
                    #expect(slices.size % 16 == 0 && slices.count * slices.size >= 16 * panels)
                    #expect((slices.count - 1) * slices.size < 16 * panels)
                }
            }
            #expect(Slices(of: 4096, atMost: 8) == Slices(of: 4081, atMost: 8))
            #expect(Slices(of: 4096, atMost: 8).size == 512)
            #expect(Slices(of: 16, atMost: 8).count == 1)
        }
    }
}
