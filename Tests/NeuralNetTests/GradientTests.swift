import Benchmarks
import Compute
import Oracle
import Randomness
import TestSupport
import Testing

@testable import NeuralNet

extension OnDevices {
    /// Whole small networks against the oracle.
    @Suite struct GradientTests {
        struct Net: CustomTestStringConvertible {
            let model: String
            let imageSize, classes, batch: Int
            var testDescription: String { model }
        }

        /// Odd maps, one channel, several panels, a pooling on the image, only fully connected layers, a
        /// linear classifier.
        static let nets = [
            Net(model: "5,20,M,17,F33,F7", imageSize: 9, classes: 6, batch: 3),
            Net(model: "M,16,1,M,20", imageSize: 13, classes: 3, batch: 2),
            Net(model: "F40,F9", imageSize: 5, classes: 17, batch: 5),
            Net(model: "linear", imageSize: 6, classes: 10, batch: 1),
        ]

        @Test(arguments: testDevices, nets) func agreeWithCentralDifferences(
            description: DeviceDescription, net: Net
        ) throws {
            var excluded = 0
            var rows = 0
            for algorithm in ConvolutionAlgorithm.allCases {
                let check = try GradientCheck(
                    Architecture(parsing: net.model), imageSize: net.imageSize, classes: net.classes,
                    batch: net.batch, seed: 3, convolution: ConvolutionAlgorithms(algorithm),
                    device: open(description))
                #expect(check.largestError < GradientCheck.tolerance, "\(algorithm)")
                excluded += check.excluded
                rows += check.rows.count
            }
            // Some hundred decisions, each within 1e-5 of a kink with a probability of about 1e-5.
            #expect(rows >= 16 && excluded * 10 <= rows, "\(excluded) of \(rows) left out for kinks")
        }

        /// Every element of every gradient, with dropout and with images that do not count.
        @Test(arguments: testDevices, ConvolutionAlgorithm.allCases) func everyElementWithDropoutAndWeights(
            description: DeviceDescription, algorithm: ConvolutionAlgorithm
        ) throws {
            let device = try open(description)
            let (size, classes, batch, rate) = (7, 5, 4, 0.4)
            let architecture = try Architecture(parsing: "6,M,18,F20,F35")
            let network = try Network(
                architecture, imageSize: size, classes: classes,
                options: .init(
                    maximumBatch: batch + 3, training: true, dropout: rate,
                    convolution: ConvolutionAlgorithms(algorithm)), device: device)
            try network.initialize(seed: 8)
            var numbers = TestNumbers(8)
            for parameter in network.parameters where !parameter.decays {
                try network.load(parameter, numbers.floats(parameter.count, in: -0.1...0.1))
            }
            let images = numbers.floats(batch * network.inputShape.count)
            let labels = numbers.integers(batch, below: classes)
            let weights: [Float] = [1, 0, 0.5, 2]
            let pass = Pass(batch: batch, training: true, seed: 21, step: 4)
            try network.input.write(network.inputShape.stored(images))
            let loss = try SoftmaxCrossEntropy(device: device, classes: classes, maximumBatch: batch)
            let gradients = try ParameterArena(network.parameters, device: device)
            try network.forward(pass)
            try loss.forwardBackward(
                logits: network.logits, labels: Buffer(device, labels.map { Int32($0) }),
                weights: Buffer(device, weights), gradient: #require(network.logitsGradient), scale: 0.25,
                step: 0, addsToStep: false, pass: pass)
            var ready: [String] = []
            try network.backward(pass, gradients: gradients) { ready.append($0.name) }
            // From the last layer to the first, each once.
            #expect(ready.sorted() == network.parameters.map(\.name).sorted())
            #expect(
                ready.first?.hasPrefix("classifier.6") == true && ready.last?.hasPrefix("features.0") == true)

            let key = Philox.key(seed: pass.seed, purpose: .dropout)
            let masks = network.layers.enumerated().compactMap { index, layer -> [Bool]? in
                guard layer is Dropout else { return nil }
                let stored = layer.inputShape.storedCount
                return (0..<batch).flatMap { row in
                    (0..<layer.inputShape.channels).map { channel in
                        let element = row * stored + channel
                        let words = Philox.block(
                            counter: SIMD4(UInt32(element / 4), UInt32(index), UInt32(pass.step), 0), key: key
                        )
                        return Double(words[element % 4]) >= rate * 0x1p32
                    }
                }
            }
            #expect(masks.count == 2)
            let oracle = try OracleNetwork(network.plan)
            let parameters = try network.parameters.map { try network.export($0).doubles }
            let exact = oracle.evaluate(
                .init(
                    images: images.doubles, labels: labels, weights: weights.doubles, scale: 0.25,
                    masks: masks, dropout: rate), parameters: parameters)
            let logits: [Float] = try network.logits.read(batch * network.logitsStride)
            let rows = FeatureShape(height: 1, width: 1, channels: classes).unstored(logits)
            #expect(relativeError(rows, exact.logits) < Tolerance.network)
            for parameter in network.parameters {
                let values: [Float] = try gradients[parameter].read(parameter.storedCount)
                let error = relativeError(parameter.checkedExport(values), exact.gradients[parameter.index])
                #expect(error < Tolerance.network, "\(parameter.name)")
            }
        }

        /// Every element of every gradient with mixed images, weights of classes and label smoothing.
        @Test(arguments: testDevices) func everyElementWithSoftTargets(description: DeviceDescription) throws
        {
            let device = try open(description)
            let (size, classes, batch) = (7, 5, 5)
            let network = try Network(
                Architecture(parsing: "6,M,18,F20"), imageSize: size, classes: classes,
                options: .init(maximumBatch: batch, training: true, dropout: 0), device: device)
            try network.initialize(seed: 8)
            var numbers = TestNumbers(8)
            for parameter in network.parameters where !parameter.decays {
                try network.load(parameter, numbers.floats(parameter.count, in: -0.1...0.1))
            }
            let images = numbers.floats(batch * network.inputShape.count)
            let labels = numbers.integers(batch, below: classes)
            let shares: [Float] = [0.25, 0.875, 1, 0.5, 0.0625]
            let rule = LossRule(smoothing: 0.25, classWeights: [0.5, 1, 2, 0.25, 3], mixup: 1)
            let pass = Pass(batch: batch, training: true)
            try network.input.write(network.inputShape.stored(images))
            let shareBuffer = try Buffer(device, shares)
            try Mixup(alpha: 1, seed: 1, device: device).mix(
                network.input, shares: shareBuffer, pixels: size * size, pass: pass)
            let loss = try SoftmaxCrossEntropy(
                device: device, classes: classes, maximumBatch: batch, rule: rule)
            let gradients = try ParameterArena(network.parameters, device: device)
            try network.forward(pass)
            try loss.forwardBackward(
                logits: network.logits, labels: Buffer(device, labels.map { Int32($0) }),
                weights: Buffer(device, [Float](repeating: 1, count: batch)), shares: shareBuffer,
                gradient: #require(network.logitsGradient), scale: 0.2, step: 0, addsToStep: false, pass: pass
            )
            try network.backward(pass, gradients: gradients)

            let count = network.inputShape.count
            let mixed = images.indices.map { place -> Double in
                let (row, rest) = (place / count, place % count)
                let share = Double(shares[row])
                return share * Double(images[place]) + (1 - share)
                    * Double(images[(batch - 1 - row) * count + rest])
            }
            let targets = Oracle.targets(
                (0..<batch).map { (labels[$0], labels[batch - 1 - $0]) }, shares: shares.doubles,
                classWeights: rule.classWeights?.doubles, smoothing: 0.25, classes: classes)
            let exact = try OracleNetwork(network.plan).evaluate(
                .init(images: mixed, labels: labels, targets: targets, scale: 0.2),
                parameters: network.parameters.map { try network.export($0).doubles })
            for parameter in network.parameters {
                let values: [Float] = try gradients[parameter].read(parameter.storedCount)
                let error = relativeError(parameter.checkedExport(values), exact.gradients[parameter.index])
                #expect(error < Tolerance.network, "\(parameter.name)")
            }
        }

        /// Frozen convolutions take no gradient, and those above them are the same bits.
        @Test(arguments: testDevices) func frozenConvolutions(description: DeviceDescription) throws {
            let device = try open(description)
            let architecture = try Architecture(parsing: "16,M,20,F33,F18")
            var numbers = TestNumbers(6)
            let image = FeatureShape.image(size: 6)
            let images = image.stored(numbers.floats(3 * image.count))
            let scores = try Buffer(
                device, FeatureShape(height: 1, width: 1, channels: 5).stored(numbers.floats(15)))
            func gradients(freezes: Bool) throws -> [String: [Float]] {
                let options = Network.Options(
                    maximumBatch: 3, training: true, dropout: 0, freezesFeatures: freezes)
                let network = try Network(
                    architecture, imageSize: 6, classes: 5, options: options, device: device)
                try network.initialize(seed: 2)
                try network.input.write(images)
                let arena = try ParameterArena(network.trainedParameters, device: device)
                let pass = Pass(batch: 3, training: true)
                try network.forward(pass)
                try #require(network.logitsGradient).copy(from: scores)
                try network.backward(pass, gradients: arena)
                return try Dictionary(
                    uniqueKeysWithValues: network.trainedParameters.map {
                        ($0.name, try arena[$0].read($0.storedCount))
                    })
            }
            let all = try gradients(freezes: false)
            let frozen = try gradients(freezes: true)
            #expect(
                all.count == 10
                    && frozen.keys.sorted() == all.keys.filter { $0.hasPrefix("classifier") }.sorted())
            for (name, values) in frozen {
                #expect(values == all[name] && values.contains { $0 != 0 }, "\(name)")
            }
        }

        /// A network for inference keeps two activations and its transformed weights, and gives the logits of
        /// one for training without dropout.
        @Test(arguments: testDevices) func inferenceEqualsTraining(description: DeviceDescription) throws {
            let device = try open(description)
            let architecture = try Architecture(parsing: "16,20,M,18,F20,F35")
            var logits: [[Float]] = []
            var numbers = TestNumbers(4)
            let image = FeatureShape.image(size: 7)
            let images = image.stored(numbers.floats(2 * image.count))
            for training in [true, false] {
                let network = try Network(
                    architecture, imageSize: 7, classes: 5,
                    options: .init(maximumBatch: 3, training: training, dropout: 0.5), device: device)
                try network.initialize(seed: 2)
                for _ in 0..<2 {
                    try network.input.write(images)
                    try network.forward(Pass(batch: 2, training: false))
                    logits.append(try network.logits.read(2 * network.logitsStride))
                }
                if !training {
                    #expect(throws: NetworkError.self) {
                        try network.backward(
                            Pass(batch: 2, training: true),
                            gradients: ParameterArena(network.parameters, device: device))
                    }
                }
            }
            #expect(logits.allSatisfy { $0 == logits[0] } && logits[0].contains { $0 != 0 })
        }
    }
}
