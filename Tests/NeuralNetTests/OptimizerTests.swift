import Compute
import Oracle
import Testing

@testable import NeuralNet

extension OnDevices {
    @Suite struct OptimizerTests {
        @Test(arguments: testDevices)
        func followsPyTorchsFormula(description: DeviceDescription) throws {
            let device = try open(description)
            let shape = FeatureShape(height: 2, width: 3, channels: 20)
            let parameters = [
                Parameter(name: "weight", layout: .fullyConnected(units: 19, input: shape), index: 0),
                Parameter(name: "bias", layout: .bias(count: 19), index: 1),
            ]
            let optimizer = try StochasticGradientDescent(parameters, momentum: 0.9, weightDecay: 0.25, device: device)
            var numbers = TestNumbers(1)
            for parameter in parameters {
                let start = numbers.floats(parameter.count)
                var weights = start.doubles
                var velocity = [Double](repeating: 0, count: parameter.count)
                let buffer = try Guarded(device, parameter.stored(start))
                for step in 1...3 {
                    let gradient = numbers.floats(parameter.count)
                    let scale = step == 2 ? 0.5 : 1.0
                    try optimizer.scale.write([Float(scale)])
                    try optimizer.step(
                        parameter, weights: buffer.buffer, gradient: Buffer(device, parameter.stored(gradient)), learningRate: 0.1)
                    // Decay on weights alone. float32's 0.1 and 0.9 are not quite those of the oracle: a part in 10⁷.
                    Oracle.sgd(
                        weights: &weights, velocity: &velocity, gradient: gradient.doubles.map { $0 * scale }, learningRate: 0.1,
                        momentum: 0.9,
                        weightDecay: parameter.name == "bias" ? 0 : 0.25)
                    #expect(relativeError(parameter.checkedExport(try buffer.values()), weights) < Tolerance.elementwise)
                    let velocities: [Float] = try optimizer.velocities[parameter].read(parameter.storedCount)
                    #expect(relativeError(parameter.checkedExport(velocities), velocity) < Tolerance.elementwise)
                }
            }
        }

        @Test(arguments: testDevices)
        func gradientsAdd(description: DeviceDescription) throws {
            let device = try open(description)
            let add = try device.kernel("optimizer", "gradient_add")
            var numbers = TestNumbers(2)
            for count in [1, 255, 256, 1000] {
                let a = numbers.floats(count), b = numbers.floats(count)
                let sum = try Guarded(device, a)
                try add.launch([count], local: [256], sum.buffer, Buffer(device, b), UInt64(count))
                #expect(try sum.values() == zip(a, b).map { $0 + $1 })
            }
        }
    }
}
