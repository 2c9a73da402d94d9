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
            for (units, relu) in [(1, false), (16, true), (37, true), (37, false), (290, true)] {
                for batch in [1, 3, 33] {
                    try check(input, units: units, relu: relu, batch: batch, on: device)
                }
            }
        }

        private func check(_ input: FeatureShape, units: Int, relu: Bool, batch: Int, on device: Device)
            throws
        {
            let label: Comment =
                "\(batch) of \(input) (stored \(input.storedChannels)) → \(units), ReLU \(relu)"
            let plan = LayerPlan(
                FullyConnectedSpec(units: units, isLast: !relu), input: input, device: device.description)
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
    }
}
