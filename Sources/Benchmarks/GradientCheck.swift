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

        var stored = [Float](repeating: 0, count: batch * network.inputShape.storedCount)
        for pixel in 0..<images.count / 3 {
            for channel in 0..<3 { stored[pixel * 4 + channel] = images[pixel * 3 + channel] }
        }
        try network.input.write(stored)
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
        let exact = oracle.evaluate(oracleBatch, parameters: parameters).gradients
        rows = try network.parameters.flatMap { parameter in
            let values: [Float] = try gradients[parameter].read(parameter.storedCount)
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
}

extension OracleNetwork {
    /// Builds the oracle's network of the same layers.
    public init(_ plan: NetworkPlan) throws {
        try self.init(
            plan.layers.map { ($0.spec.kind, $0.output.channels) },
            height: plan.input.height, width: plan.input.width, channels: plan.input.channels)
    }
}
