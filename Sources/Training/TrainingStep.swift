import Configuration
import DeviceInput
import Collectives
import Compute
import NeuralNet

/// One step of synchronous stochastic gradient descent over a mini-batch: the function that `train` runs and
/// `trainer bench step` times.
///
/// A mini-batch of B images is run as S micro-batches of B/S, each a batch of its own, and the micro-batches' gradients are
/// added in a fixed binary tree. One rank runs its micro-batches one after the other, which on one device is
/// gradient accumulation; `GradientExchange` adds what several ranks have.
public final class TrainingStep {
    public let network: Network
    public let optimizer: StochasticGradientDescent
    public let loss: SoftmaxCrossEntropy
    public let microBatches: Int
    /// Set by the caller: whether the step that is run next is to be this run's last; every rank learns of
    /// it.
    public var asksToStop = false
    /// Whether any rank asked so in the last step whose totals were read.
    public private(set) var isAskedToStop = false
    private let span: MicroBatchSpan
    private let exchange: GradientExchange?
    private let policy: ExchangePolicy
    private let input: ImageInput
    private let seed: UInt64
    private let batch: Int
    /// A stack of sums that wait for their sibling in the tree: this rank's micro-batch s is computed on top of as
    /// many as s has bits set.
    private let sums: [ParameterArena]
    private let addition: Kernel
    /// The update of a step whose gradients may be on their way still.
    private var update: Update?
    /// Totals of steps that the host has not asked for yet.
    private var totals: [Int: (memory: UnsafeMutableRawBufferPointer, event: Event)] = [:]

    private struct Update {
        let step: Int
        let learningRate: Float
        var hasBegun = false
        /// In the order in which forward reads them.
        var parameters: ArraySlice<Parameter>
    }

    /// - Parameters:
    ///   - network: made for training, with `maximumBatch` = batch / micro-batches
    ///   - batch: images of a mini-batch; `microBatches` is a power of two that divides it
    ///   - exchange: with the other ranks; nil where this process has all micro-batches. Clipping needs all
    ///     gradients at once, so it is synchronous then
    public init(
        network: Network, normalization: Normalization, batch: Int, microBatches: Int, momentum: Float,
        weightDecay: Float, clipNorm: Float? = nil, seed: UInt64, exchange: GradientExchange? = nil,
        policy: ExchangePolicy = .lazy
    ) throws {
        guard microBatches > 0, microBatches & (microBatches - 1) == 0, batch % microBatches == 0,
            network.options.maximumBatch == batch / microBatches
        else {
            throw NetworkError(
                "--micro-batches \(microBatches): expected a power of two that divides --batch \(batch)")
        }
        self.network = network
        self.batch = batch
        self.microBatches = microBatches
        self.seed = seed
        self.exchange = exchange
        self.policy = exchange == nil || clipNorm != nil ? .synchronous : policy
        let span = exchange?.span ?? MicroBatchSpan(first: 0, count: microBatches)
        self.span = span
        input = try ImageInput(
            device: network.device, size: network.inputShape.width, normalization: normalization)
        loss = try SoftmaxCrossEntropy(
            device: network.device, classes: network.classes, maximumBatch: batch / microBatches)
        optimizer = try StochasticGradientDescent(
            network.trainedParameters, momentum: momentum,
            weightDecay: weightDecay, clipNorm: clipNorm, device: network.device)
        sums = try (0..<TrainingStep.gradientArenas(microBatches: span.count)).map { index in
            if index == 0, let exchange { return exchange.gradients }
            return try ParameterArena(network.trainedParameters, device: network.device)
        }
        addition = try network.device.kernel("optimizer", "gradient_add")
    }

    deinit {
        for total in totals.values {
            try? total.event.wait()
            total.memory.deallocate()
        }
    }

    /// Arenas of gradients that the tree of `microBatches` needs at once: log₂ of them, and one.
    static func gradientArenas(microBatches: Int) -> Int { microBatches.trailingZeroBitCount + 1 }

    /// Queues one step: forward and backward of this rank's micro-batches, and the update. With several ranks and
    /// the lazy policy the update is left for the next step's forward, or for `finishUpdate`.
    ///
    /// - Parameters:
    ///   - batchOnDevice: this rank's images of the mini-batch
    ///   - gradientReady: called from the last layer to the first, once a parameter's gradient of this rank's
    ///     micro-batches is queued.
    public func run(
        _ batchOnDevice: DeviceBatch, step: Int, learningRate: Float,
        gradientReady: (Parameter) throws -> Void = { _ in }
    ) throws {
        for microBatch in 0..<span.count {
            let pass = pass(step: step, microBatch: microBatch)
            try forward(batchOnDevice, pass) { try updateBeforeUse($0) }
            guard let logitsGradient = network.logitsGradient else { return }
            network.device.profile?.begin("loss")
            // Divided by the whole batch, bad images included: then a micro-batch's gradient does not depend on
            // what is in the others.
            try loss.forwardBackward(
                logits: network.logits, labels: batchOnDevice.labels,
                weights: batchOnDevice.weights, gradient: logitsGradient,
                scale: 1 / Float(batch), step: step, addsToStep: microBatch > 0, pass: pass)
            let isLast = microBatch == span.count - 1
            if isLast { try exchange?.startTotals(loss, step: step, flag: asksToStop) }
            try network.backward(pass, gradients: sums[microBatch.nonzeroBitCount]) { parameter in
                try merge(parameter, microBatch: microBatch)
                if isLast {
                    try exchange?.start(parameter)
                    try gradientReady(parameter)
                }
            }
        }
        update = Update(step: step, learningRate: learningRate, parameters: network.trainedParameters[...])
        try exchange?.drain()
        if policy == .synchronous { try finishUpdate() }
    }

    /// Queues what is left of the last step's update: before weights are read for anything but the next step.
    public func finishUpdate() throws {
        guard let pending = update else { return }
        // All of them first: clipping looks at every gradient.
        for parameter in pending.parameters { try exchange?.settle(parameter) }
        for layer in network.layers { try updateBeforeUse(layer) }
        update = nil
    }

    /// Updates a layer's weights with the last step's gradients, which it waits for.
    private func updateBeforeUse(_ layer: any Layer) throws {
        guard var pending = update,
            pending.parameters.first.map({ first in layer.parameters.contains { $0 === first } }) == true
        else { return }
        network.device.profile?.begin("update")
        if !pending.hasBegun {
            pending.hasBegun = true
            if let exchange { isAskedToStop = try exchange.settleTotals(loss, step: pending.step) }
            try optimizer.beginStep(pending.step, loss: loss, gradients: gradients)
            let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 16, alignment: 16)
            if let unread = totals[pending.step] {
                try unread.event.wait()
                unread.memory.deallocate()
            }
            totals[pending.step] = (memory, try loss.readTotals(step: pending.step, into: memory))
        }
        while let parameter = pending.parameters.first, layer.parameters.contains(where: { $0 === parameter })
        {
            try exchange?.settle(parameter)
            try optimizer.step(
                parameter, weights: network.weights[parameter], gradient: gradients[parameter],
                learningRate: pending.learningRate)
            pending.parameters.removeFirst()
        }
        layer.weightsChanged()
        update = pending.parameters.isEmpty ? nil : pending
    }

    /// The sums over a step's images, of all ranks; once a step. Waits for the device, and with several ranks
    /// for them.
    public func takeTotals(of step: Int) throws -> SoftmaxCrossEntropy.Totals {
        if totals[step] == nil { try finishUpdate() }
        guard let found = totals.removeValue(forKey: step) else {
            throw TrainingError("step \(step + 1) has no totals: a mistake in the program")
        }
        defer { found.memory.deallocate() }
        try found.event.wait()
        return found.memory.load(as: SoftmaxCrossEntropy.Totals.self)
    }

    private func pass(step: Int, microBatch: Int) -> Pass {
        let size = batch / microBatches
        return Pass(
            batch: size, training: true, seed: seed, step: UInt64(step),
            firstImage: (span.first + microBatch) * size, firstRecord: microBatch * size)
    }

    private func forward(
        _ batchOnDevice: DeviceBatch, _ pass: Pass, beforeLayer: (any Layer) throws -> Void = { _ in }
    ) throws {
        network.device.profile?.begin("input")
        try input.load(
            bytes: batchOnDevice.bytes, cache: batchOnDevice.cache, records: batchOnDevice.records,
            output: network.input, pass: pass)
        try network.forward(pass, beforeLayer: beforeLayer)
    }

    /// Runs a step's forward again and searches for what is not finite in it; for a step that has failed,
    /// whose weights are still there.
    public func firstNotFinite(_ batchOnDevice: DeviceBatch, step: Int) throws -> String? {
        for microBatch in 0..<span.count {
            let pass = pass(step: step, microBatch: microBatch)
            try forward(batchOnDevice, pass)
            if let place = try network.firstNotFinite(pass) { return place }
        }
        return nil
    }

    /// This rank's gradient after its last micro-batch; all ranks' where it was exchanged.
    public var gradients: ParameterArena { sums[0] }

    /// Adds a micro-batch's gradient to the sums to its left that are complete with it.
    private func merge(_ parameter: Parameter, microBatch: Int) throws {
        network.device.profile?.begin("sum of micro-batches")
        var top = microBatch.nonzeroBitCount
        for _ in 0..<(microBatch + 1).trailingZeroBitCount where top > 0 {
            try addition.launch(
                [parameter.storedCount], local: [256], sums[top - 1][parameter], sums[top][parameter],
                UInt64(parameter.storedCount))
            top -= 1
        }
    }
}
