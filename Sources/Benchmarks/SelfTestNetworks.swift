import Compute
import DeviceInput
import NeuralNet
import Oracle
import Randomness

extension SelfTest {
    /// Whole small networks: odd maps, channels that fill no panel, poolings that lose a row.
    static let networkChecks: [Check] =
        ConvolutionAlgorithm.allCases.map { algorithm in
            gradients("\(algorithm)", "5,20,M,17,F19,F5", imageSize: 7, .init(algorithm))
        } + sampleChecks + [
            gradients("default algorithms", "16,M,M,20,F17", imageSize: 9),
            gradients("pooled image", "M,16,F17", imageSize: 5),
            // Even maps, whose poolings convolutions of CPUs do themselves.
            gradients("even maps", "16,M,20,36,M,F17", imageSize: 12),
            gradients(
                "even maps in chunks", "16,M,20,36,M,F17", imageSize: 12, nil,
                ["winograd.largest-product-at-once": 0, "winograd.chunk-tiles-4": 8]),
            // Deep enough that its products are cut into slots.
            gradients("deep fully connected", "F40,F530,F21", imageSize: 4),
            gradients(
                "winograd in chunks", "16,36,17", imageSize: 7, .init(.winograd4),
                ["winograd.largest-product-at-once": 0, "winograd.chunk-tiles-4": 8]),
            // Products cut along each dimension, the batch of Winograd's included.
            gradients(
                "winograd in parts", "16,36,17", imageSize: 7, .init(.winograd4),
                ["product.largest-operations": 1]),
            gradients(
                "direct, large tiles", "68,132", imageSize: 7, .init(.direct), ["product.wanted-groups": 1]),
            gradients(
                "direct, tall work-items", "68,132", imageSize: 7, .init(.direct),
                ["product.wanted-groups": 1, "product.item-rows": 16]),
            gradients(
                "direct, small work-items", "20,36,F9", imageSize: 7, .init(.direct),
                [
                    "product.item": 4, "product.tile-k": 16, "product.largest-tile-m": 64,
                    "product.largest-tile-n": 64,
                ]),
            Check("dense evaluation", limit: Tolerance.winograd4) {
                try denseEvaluation("16,M,20,M,F33", on: $0)
            },
        ]

    /// Every kind of layer that a token stands for.
    private static let sampleChecks = Architecture.samples.flatMap { model in
        [
            gradients("layers of \(model)", model, imageSize: 9),
            Check("dense evaluation of \(model)", limit: Tolerance.winograd4) {
                try denseEvaluation(model, on: $0)
            },
        ]
    }

    /// Compares each number of a network's gradients.
    ///
    /// - Parameter changes: values of the tuning that reach other kernels; those that the device has not are
    ///   left out
    private static func gradients(
        _ name: String, _ model: String, imageSize: Int, _ convolution: ConvolutionAlgorithms? = nil,
        _ changes: [String: Int] = [:]
    ) -> Check {
        // With F(4×4) in every pass of every layer, the last bits of its transforms add up.
        let limit = convolution == .init(.winograd4) ? Tolerance.winograd4 : Tolerance.network
        return Check("gradients, \(name)", limit: limit) { device in
            try device.tuning.setPresent(changes)
            return try GradientCheck(
                Architecture(parsing: model), imageSize: imageSize, classes: 7, batch: 3, directions: 0,
                seed: 1, convolution: convolution, device: device
            ).elementError
        }
    }

    /// The mean scores of two images' windows, with kernels for the windows, their means and their softmax.
    private static func denseEvaluation(_ model: String, on device: Device) throws -> Double {
        let classes = 7
        let size = 9
        let network = try Network(
            Architecture(parsing: model), imageSize: size, classes: classes,
            options: .init(maximumBatch: 2, training: false), device: device)
        try network.initialize(seed: 1)
        let (height, width) = (size + 5, 2 * size + 3)
        var random = Philox(seed: 2, purpose: .benchmark)
        let images = (0..<2).map { _ in (0..<3 * height * width).map { _ in random.uniform(in: -1...1) } }
        let runs = [DenseNetwork.Run(height: height, width: width, count: images.count)]
        let dense = try DenseNetwork(network)
        let load: DenseNetwork.Load = { buffer, first, part in
            try buffer.write(images[first..<first + part.count].flatMap(\.withFourthChannel))
        }
        let scores = try dense.logits(runs, load: load)
        let posteriors = try dense.posteriors(runs, averaging: .posteriors, load: load).images

        let oracle = try OracleNetwork(network.plan)
        let parameters = try network.parameters.map { try network.export($0).map { Double($0) } }
        return images.enumerated().map { index, image in
            let exact = oracle.denseForward(
                image.map { Double($0) }, height: height, width: width, parameters: parameters)
            let windows = exact.rows * exact.columns
            let softmax = Oracle.softmaxCrossEntropy(
                exact.logits, rows: windows, classes: classes,
                labels: [Int](repeating: 0, count: windows), scale: 1)
            let start = index * network.logitsStride
            return [(scores, exact.logits), (posteriors, softmax.probabilities)].map { own, exact in
                let means = (0..<classes).map { label in
                    stride(from: label, to: exact.count, by: classes).reduce(0) { $0 + exact[$1] }
                        / Double(windows)
                }
                return relativeError(Array(own[start..<start + classes]), means)
            }.reduce(0, max)
        }.reduce(0, max)
    }
}

extension Tuning {
    /// Changes the values of those constants that the device has.
    mutating func setPresent(_ changes: [String: Int]) throws {
        let present = values
        try set(changes.filter { present[$0.key] != nil })
    }
}
