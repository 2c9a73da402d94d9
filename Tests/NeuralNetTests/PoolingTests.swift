import Compute
import Oracle
import TestSupport
import Testing

@testable import NeuralNet

extension OnDevices {
    @Suite struct PoolingTests {
        static let inputs = [
            FeatureShape.image(size: 5), FeatureShape.image(size: 2),
            FeatureShape(height: 2, width: 2, channels: 5), FeatureShape(height: 7, width: 4, channels: 20),
            FeatureShape(height: 4, width: 7, channels: 48), FeatureShape(height: 3, width: 35, channels: 16),
        ]

        /// Odd last rows and columns belong to no window.
        ///
        /// Only five values, so that nearly every window has a tie: exact numbers, no tolerance.
        @Test(arguments: testDevices, inputs) func choosesTheFirstMaximum(
            description: DeviceDescription, input: FeatureShape
        ) throws {
            let device = try open(description)
            let layer = try MaxPooling(
                LayerPlan(MaxPoolingSpec(), input: input, device: device.description), device: device)
            for batch in [1, 3] {
                let shape = input.oracle(batch: batch)
                var numbers = TestNumbers(batch)
                let values = numbers.integers(shape.count, below: 5).map { Float($0 - 2) }
                let gradient = numbers.floats(Oracle.maxPoolShape(shape).count)
                let passes = try LayerPasses(
                    layer, input: values, outputGradient: gradient, batch: batch, on: device)
                let exact = Oracle.maxPoolForward(values.doubles, shape: shape).output
                #expect(passes.output.doubles == exact)
                let exactGradient = Oracle.maxPoolBackward(
                    values.doubles, shape: shape, outputGradient: gradient.doubles)
                #expect(passes.inputGradient?.doubles == exactGradient)
            }
        }
    }
}
