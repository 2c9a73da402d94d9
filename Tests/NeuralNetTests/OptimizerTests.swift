import Compute
import Oracle
import TestSupport
import Testing

@testable import NeuralNet

extension OnDevices {
    @Suite struct OptimizerTests {
        static let shape = FeatureShape(height: 2, width: 30, channels: 20)
        /// One longer than a chunk of the norm's sum, and one shorter.
        let parameters = [
            Parameter(name: "weight", layout: .fullyConnected(units: 19, input: shape), index: 0),
            Parameter(name: "bias", layout: .bias(count: 19), index: 1),
        ]

        /// The optimiser's side and the oracle's, step by step.
        private final class Comparison {
            let device: Device
            let parameters: [Parameter]
            let optimizer: Optimizer
            let loss: SoftmaxCrossEntropy
            let weights: [Guarded]
            let gradients: ParameterArena
            var exactWeights: [[Double]]
            /// Of each parameter: velocities, or first and second moments.
            var exactMoments: [[[Double]]]

            init(
                _ parameters: [Parameter], _ method: UpdateRule.Method = .sgd,
                clipNorm: Float?, device: Device
            ) throws {
                self.device = device
                self.parameters = parameters
                optimizer = try Optimizer(
                    parameters, UpdateRule(method, weightDecay: 0.25, clipNorm: clipNorm), device: device)
                loss = try SoftmaxCrossEntropy(device: device, classes: 2, maximumBatch: 1)
                gradients = try ParameterArena(parameters, device: device)
                var numbers = TestNumbers(1)
                let start = parameters.map { numbers.floats($0.count) }
                weights = try zip(parameters, start).map { try Guarded(device, $0.stored($1)) }
                exactWeights = start.map(\.doubles)
                exactMoments = start.map {
                    [[Double]](repeating: .init(repeating: 0, count: $0.count), count: method.momentCount)
                }
            }

            /// One step on the device.
            func step(_ number: Int, _ values: [[Float]], score: Float = 0) throws {
                for (parameter, values) in zip(parameters, values) {
                    try gradients[parameter].write(parameter.stored(values))
                }
                let logits = try Buffer(device, [score] + [Float](repeating: 0, count: 15))
                try loss.forwardBackward(
                    logits: logits, labels: Buffer(device, [Int32(1)]), weights: Buffer(device, [Float(1)]),
                    gradient: Buffer(device, floatCount: 16), scale: 1, step: number, addsToStep: false,
                    pass: Pass(batch: 1, training: true))
                try optimizer.beginStep(number, loss: loss, gradients: gradients)
                for (parameter, weights) in zip(parameters, weights) {
                    try optimizer.update(
                        parameter, weights: weights.buffer, gradient: gradients[parameter], learningRate: 0.1)
                }
            }

            /// The same step in double precision; only weights decay.
            func exactStep(_ number: Int, _ values: [[Float]], scale: Double = 1) {
                for (index, parameter) in parameters.enumerated() {
                    Oracle.update(
                        weights: &exactWeights[index], moments: &exactMoments[index],
                        gradient: values[index].doubles.map { $0 * scale }, number: number + 1,
                        learningRate: 0.1, momentum: 0.9, weightDecay: parameter.name == "bias" ? 0 : 0.25)
                }
            }

            func compare(sourceLocation: SourceLocation = #_sourceLocation) throws {
                for (index, parameter) in parameters.enumerated() {
                    let values = parameter.checkedExport(try weights[index].values())
                    #expect(
                        relativeError(values, exactWeights[index]) < Tolerance.elementwise,
                        sourceLocation: sourceLocation)
                    for (arena, exact) in zip(optimizer.moments, exactMoments[index]) {
                        let moments: [Float] = try arena[parameter].read(parameter.storedCount)
                        #expect(
                            relativeError(parameter.checkedExport(moments), exact) < Tolerance.elementwise,
                            sourceLocation: sourceLocation)
                    }
                }
            }
        }

        private func norm(_ values: [[Float]]) -> Double {
            values.joined().reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
        }

        @Test(arguments: testDevices, UpdateRule.Method.allCases) func followsPyTorchsFormula(
            description: DeviceDescription, method: UpdateRule.Method
        ) throws {
            let comparison = try Comparison(parameters, method, clipNorm: nil, device: open(description))
            var numbers = TestNumbers(2)
            for step in 0..<3 {
                let values = parameters.map { numbers.floats($0.count) }
                try comparison.step(step, values)
                comparison.exactStep(step, values)
                try comparison.compare()
            }
        }

        /// All gradients together are scaled down to the norm where they are longer, and left alone where
        /// they are not.
        @Test(arguments: testDevices) func clipping(description: DeviceDescription) throws {
            let limit = 20.0
            let comparison = try Comparison(parameters, clipNorm: Float(limit), device: open(description))
            var numbers = TestNumbers(3)
            for (step, size) in [Float(1), 0.1, 30].enumerated() {
                let values = parameters.map { numbers.floats($0.count, in: -size...size) }
                let scale = min(1, limit / norm(values))
                #expect((scale < 1) == (size >= 1))
                try comparison.step(step, values)
                comparison.exactStep(step, values, scale: scale)
                try comparison.compare()
            }
        }

        /// The weights that led to a loss or norm that is not finite stay, and every later loss is NaN.
        @Test(arguments: testDevices, [(UpdateRule.Method.sgd, true), (.sgd, false), (.adamw, true)])
        func stopsWhereItIsNotFinite(
            description: DeviceDescription, mistake: (method: UpdateRule.Method, byLoss: Bool)
        ) throws {
            let byLoss = mistake.byLoss
            let comparison = try Comparison(
                parameters, mistake.method, clipNorm: 1e30, device: open(description))
            var numbers = TestNumbers(4)
            let values = parameters.map { numbers.floats($0.count) }
            func loss(_ step: Int) throws -> Float { try comparison.loss.totals(step: step).loss }
            try comparison.step(0, values)
            comparison.exactStep(0, values)
            #expect(try loss(0).isFinite)
            var broken = values
            if !byLoss { broken[1][3] = .infinity }
            try comparison.step(1, broken, score: byLoss ? .nan : 0)
            #expect(try loss(1).isNaN)
            try comparison.step(2, values)
            #expect(try loss(2).isNaN)
            try comparison.compare()
        }

        /// The average follows the weights, stops with them, and changes places with them.
        @Test(arguments: testDevices) func averageOfTheWeights(description: DeviceDescription) throws {
            let device = try open(description)
            let network = try Network(
                Architecture(parsing: "F20"), imageSize: 5, classes: 3,
                options: .init(maximumBatch: 1, training: true), device: device)
            try network.initialize(seed: 4)
            let optimizer = try Optimizer(
                network.parameters, UpdateRule(averageDecay: 0.25), device: device)
            let average = try #require(optimizer.average)
            try average.reset(to: network)
            let loss = try SoftmaxCrossEntropy(device: device, classes: 2, maximumBatch: 1)
            let gradients = try ParameterArena(network.parameters, device: device)
            func weights() throws -> [[Float]] { try network.parameters.map { try network.export($0) } }
            var exact = try weights().map(\.doubles)
            var numbers = TestNumbers(6)
            // The last step's loss is not finite.
            for step in 0..<4 {
                for parameter in network.parameters {
                    try gradients[parameter].write(parameter.stored(numbers.floats(parameter.count)))
                }
                let score: Float = step < 3 ? 0 : .nan
                try loss.forwardBackward(
                    logits: Buffer(device, [score] + [Float](repeating: 0, count: 15)),
                    labels: Buffer(device, [Int32(1)]), weights: Buffer(device, [Float(1)]),
                    gradient: Buffer(device, floatCount: 16), scale: 1, step: step, addsToStep: false,
                    pass: Pass(batch: 1, training: true))
                try optimizer.beginStep(step, loss: loss, gradients: gradients)
                for parameter in network.parameters {
                    try optimizer.update(
                        parameter, weights: network.weights[parameter],
                        gradient: gradients[parameter], learningRate: 0.1)
                }
                guard step < 3 else { continue }
                // Of 2/11, 3/12 and 4/13, the last is above the decay.
                let kept = min(0.25, Double(step + 2) / Double(step + 11))
                for (index, values) in try weights().enumerated() {
                    exact[index] = zip(exact[index], values).map { kept * $0 + (1 - kept) * Double($1) }
                }
            }
            let last = try weights()
            try average.swap(with: network)
            for (values, exact) in zip(try weights(), exact) {
                #expect(relativeError(values, exact) < Tolerance.elementwise)
            }
            #expect(try weights() != last)
            try average.swap(with: network)
            #expect(try weights() == last)
        }

        @Test(arguments: testDevices) func gradientsAdd(description: DeviceDescription) throws {
            let device = try open(description)
            let add = try device.kernel("optimizer", "gradient_add")
            var numbers = TestNumbers(2)
            for count in [1, 7, 8, 255, 256, 1000, 4099] {
                let a = numbers.floats(count), b = numbers.floats(count)
                let sum = try Guarded(device, a)
                try add.launch(
                    KernelFamilies.optimizer.values(count, tuning: device.tuning), sum.buffer,
                    Buffer(device, b), UInt64(count))
                #expect(try sum.values() == zip(a, b).map { $0 + $1 })
            }
        }
    }
}
