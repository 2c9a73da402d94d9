import Compute
import NeuralNet
import Randomness

/// One step of synchronous stochastic gradient descent over a mini-batch: the function that `train` runs and `trainer bench step` times.
///
/// A mini-batch of B images is run as S shards of B/S, each a batch of its own, and the shards' gradients are added in a fixed binary tree. On one
/// device that is gradient accumulation.
public final class TrainingStep {
    public let network: Network
    public let optimizer: StochasticGradientDescent
    public let loss: SoftmaxCrossEntropy
    public let shards: Int
    private let input: ImageInput
    private let seed: UInt64
    private let batch: Int
    /// A stack of sums that wait for their sibling in the tree: shard s is computed on top of as many as s has bits set.
    private let sums: [ParameterArena]
    private let addition: Kernel

    /// - Parameters:
    ///   - network: made for training, with `maximumBatch` = batch / shards
    ///   - batch: images of a mini-batch; `shards` is a power of two that divides it
    public init(
        network: Network, normalization: Normalization, batch: Int, shards: Int, momentum: Float, weightDecay: Float,
        clipNorm: Float? = nil, seed: UInt64
    ) throws {
        guard shards > 0, shards & (shards - 1) == 0, batch % shards == 0, network.options.maximumBatch == batch / shards else {
            throw NetworkError("--shards \(shards): expected a power of two that divides --batch \(batch)")
        }
        self.network = network
        self.batch = batch
        self.shards = shards
        self.seed = seed
        input = try ImageInput(device: network.device, size: network.inputShape.width, normalization: normalization)
        loss = try SoftmaxCrossEntropy(device: network.device, classes: network.classes, maximumBatch: batch / shards)
        optimizer = try StochasticGradientDescent(
            network.trainedParameters, momentum: momentum, weightDecay: weightDecay, clipNorm: clipNorm, device: network.device)
        sums = try (0..<TrainingStep.gradientArenas(shards: shards)).map { _ in
            try ParameterArena(network.trainedParameters, device: network.device)
        }
        addition = try network.device.kernel("optimizer", "gradient_add")
    }

    /// Arenas of gradients that the tree of `shards` needs at once: log₂ of them, and one.
    static func gradientArenas(shards: Int) -> Int { shards.trailingZeroBitCount + 1 }

    /// Queues one whole step; nothing here waits for the device.
    ///
    /// - Parameter gradientReady: called from the last layer to the first, once a parameter's gradient of the whole mini-batch is queued.
    public func run(
        _ batchOnDevice: DeviceBatch, step: Int, learningRate: Float, gradientReady: (Parameter) throws -> Void = { _ in }
    ) throws {
        for shard in 0..<shards {
            let pass = pass(step: step, shard: shard)
            try forward(batchOnDevice, pass)
            guard let logitsGradient = network.logitsGradient else { return }
            network.device.profile?.begin("loss")
            // Divided by the whole batch, bad images included: then a shard's gradient does not depend on what is in the others.
            try loss.forwardBackward(
                logits: network.logits, labels: batchOnDevice.labels, weights: batchOnDevice.weights, gradient: logitsGradient,
                scale: 1 / Float(batch), step: step, addsToStep: shard > 0, pass: pass)
            try network.backward(pass, gradients: sums[shard.nonzeroBitCount]) { parameter in
                try merge(parameter, shard: shard)
                if shard == shards - 1 { try gradientReady(parameter) }
            }
        }
        network.device.profile?.begin("update")
        try optimizer.beginStep(step, loss: loss, gradients: gradients)
        for parameter in network.trainedParameters {
            try optimizer.step(
                parameter, weights: network.weights[parameter], gradient: gradients[parameter], learningRate: learningRate)
        }
        network.weightsChanged()
    }

    private func pass(step: Int, shard: Int) -> Pass {
        Pass(batch: batch / shards, training: true, seed: seed, step: UInt64(step), firstImage: shard * (batch / shards))
    }

    private func forward(_ batchOnDevice: DeviceBatch, _ pass: Pass) throws {
        network.device.profile?.begin("input")
        try input.load(
            bytes: batchOnDevice.bytes, cache: batchOnDevice.cache, records: batchOnDevice.records, output: network.input, pass: pass)
        try network.forward(pass)
    }

    /// Runs a step's forward again and searches for what is not finite in it; for a step that has failed, whose weights are still there.
    public func firstNotFinite(_ batchOnDevice: DeviceBatch, step: Int) throws -> String? {
        for shard in 0..<shards {
            let pass = pass(step: step, shard: shard)
            try forward(batchOnDevice, pass)
            if let place = try network.firstNotFinite(pass) { return place }
        }
        return nil
    }

    /// Bytes of device memory for gradients: one arena, and log2 `shards` more.
    public var gradientByteCount: Int { sums.flatMap(\.slabs).reduce(0) { $0 + $1.byteCount } }

    /// The mini-batch's gradient, after the last shard.
    public var gradients: ParameterArena { sums[0] }

    /// Adds a shard's gradient to the sums to its left that are complete with it.
    private func merge(_ parameter: Parameter, shard: Int) throws {
        network.device.profile?.begin("sum of shards")
        var top = shard.nonzeroBitCount
        for _ in 0..<(shard + 1).trailingZeroBitCount where top > 0 {
            try addition.launch(
                [parameter.storedCount], local: [256], sums[top - 1][parameter], sums[top][parameter], UInt64(parameter.storedCount))
            top -= 1
        }
    }
}
