import Compute
import NeuralNet
import Oracle
import Randomness

/// Compares the device's gradient of each parameter with central differences of the double-precision oracle.
public struct GradientCheck: Sendable {
    /// One parameter in one direction.
    public struct Row: Sendable {
        public let parameter: String
        /// The slope that the device's gradient predicts.
        public let device: Double
        /// The slope measured on the oracle.
        public let oracle: Double
        /// ReLU and pooling decisions that changed between the two measurements; unless 0, slopes may differ.
        public let kinks: Int
        /// |device − oracle| relative to the largest slope, the length of the oracle's gradient.
        public let error: Double
    }

    public let rows: [Row]
    /// The largest error of any number of a gradient or of the class scores (`relativeError`).
    ///
    /// It is infinite if a padding lane is not zero.
    public let elementError: Double
    /// The largest error of the rows without kinks.
    public var largestError: Double { rows.filter { $0.kinks == 0 }.map(\.error).max() ?? .nan }
    /// The number of rows left out for their kinks.
    public var excluded: Int { rows.count { $0.kinks > 0 } }
    /// The largest error of a right gradient.
    ///
    /// float32 rounds at 6e-8; sums of some hundred terms through a few layers take twenty times that,
    /// Winograd's transforms five times more. Measured errors are below 2e-6; a wrong gradient gives 1e-2.
    public static let tolerance = 1e-5

    /// Runs one batch of random images through the network and back.
    ///
    /// - Parameter directions: random directions for each parameter
    public init(
        _ architecture: Architecture, imageSize: Int, classes: Int, batch: Int, directions: Int = 2,
        seed: UInt64, convolution: ConvolutionAlgorithms?, device: Device
    ) throws {
        let network = try Network(
            architecture, imageSize: imageSize, classes: classes,
            options: Network.Options(
                maximumBatch: batch, training: true, dropout: 0, convolution: convolution), device: device)
        try network.initialize(seed: seed)
        var random = Philox(seed: seed, purpose: .benchmark)
        for parameter in network.parameters where !parameter.decays {
            // Biases of zero would hide a layer that forgets them.
            try network.load(parameter, (0..<parameter.count).map { _ in random.uniform(in: -0.1...0.1) })
        }
        let images = (0..<batch * network.inputShape.count).map { _ in random.uniform(in: -1...1) }
        let labels = (0..<batch).map { _ in random.integer(below: classes) }

        try network.input.write(images.withFourthChannel)
        let loss = try SoftmaxCrossEntropy(device: device, classes: classes, maximumBatch: batch)
        let gradients = try ParameterArena(network.parameters, device: device)
        let pass = Pass(batch: batch, training: true)
        try network.forward(pass)
        guard let logitsGradient = network.logitsGradient else {
            preconditionFailure("a network for training has memory for gradients")
        }
        try loss.forwardBackward(
            logits: network.logits, labels: Buffer(device, labels.map { Int32($0) }),
            weights: Buffer(device, [Float](repeating: 1, count: batch)), gradient: logitsGradient,
            scale: 1 / Float(batch), step: 0, addsToStep: false, pass: pass)
        try network.backward(pass, gradients: gradients)

        let oracle = try OracleNetwork(network.plan)
        let oracleBatch = OracleNetwork.Batch(images: images.map { Double($0) }, labels: labels)
        let parameters = try network.parameters.map { try network.export($0).map { Double($0) } }
        let result = oracle.evaluate(oracleBatch, parameters: parameters)
        let exact = result.gradients
        let stored: [[Float]] = try network.parameters.map { try gradients[$0].read($0.storedCount) }
        elementError = try GradientCheck.elementError(network, gradients: stored, batch: batch, result)
        rows = zip(network.parameters, stored).flatMap { parameter, values in
            let gradient = parameter.exported(values).map { Double($0) }
            let length = exact[parameter.index].reduce(0) { $0 + $1 * $1 }.squareRoot()
            return (0..<directions).map { _ in
                var direction = parameters.map { [Double](repeating: 0, count: $0.count) }
                let own = CentralDifference.direction(like: [gradient], using: &random)[0]
                direction[parameter.index] = own
                let measured = oracle.centralDifference(
                    oracleBatch, parameters: parameters, direction: direction)
                let predicted = zip(gradient, own).reduce(0) { $0 + $1.0 * $1.1 }
                return Row(
                    parameter: parameter.name, device: predicted, oracle: measured.slope,
                    kinks: measured.kinks, error: abs(predicted - measured.slope) / max(length, 1e-12))
            }
        }
    }

    private static func elementError(
        _ network: Network, gradients: [[Float]], batch: Int, _ exact: OracleNetwork.Result
    ) throws -> Double {
        let scores: [Float] = try network.logits.read(batch * network.logitsStride)
        let rows = stride(from: 0, to: scores.count, by: network.logitsStride).flatMap {
            scores[$0..<$0 + network.classes]
        }
        let errors = zip(network.parameters, gradients).map { parameter, values in
            let exported = parameter.exported(values)
            return parameter.stored(exported) == values
                ? relativeError(exported, exact.gradients[parameter.index]) : .infinity
        }
        return errors.reduce(relativeError(rows, exact.logits), max)
    }
}

extension [Float] {
    /// Pixels of three channels, with a fourth of zeros.
    var withFourthChannel: [Float] {
        var stored = [Float](repeating: 0, count: count / 3 * 4)
        for pixel in 0..<count / 3 {
            for channel in 0..<3 { stored[pixel * 4 + channel] = self[pixel * 3 + channel] }
        }
        return stored
    }
}

extension OracleNetwork {
    /// Builds the oracle's network of the same layers.
    public init(_ plan: NetworkPlan) throws {
        try self.init(
            plan.layers.map { ($0.spec.kind, $0.output.channels) },
            height: plan.input.height, width: plan.input.width, channels: plan.input.channels)
    }
}
