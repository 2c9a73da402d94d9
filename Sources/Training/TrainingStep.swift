import Collectives
import Compute
import Configuration
import DeviceInput
import NeuralNet

/// Runs steps of synchronous gradient descent; `trainer bench step` times it.
///
/// It runs a mini-batch of B images as S micro-batches of B/S images, whose gradients are added in a fixed
/// binary tree. A rank runs its micro-batches one after the other (gradient accumulation), and
/// `GradientExchange` adds the gradients of several ranks.
public final class TrainingStep {
    public let network: Network
    public let optimizer: Optimizer
    public let loss: SoftmaxCrossEntropy
    public let microBatches: Int
    /// Whether this rank asks all ranks to stop after the next step; set by the caller.
    var asksToStop = false
    /// Whether any rank asked to stop in the last step whose update has begun.
    private(set) var isAskedToStop = false
    private let span: MicroBatchSpan
    private let exchange: GradientExchange?
    /// Runs the layers that are split over the ranks; nil if none is.
    private let hybrid: HybridLayers?
    private let policy: ExchangePolicy
    private let input: ImageInput
    private let mixup: Mixup?
    private let seed: UInt64
    private let batch: Int
    /// A stack of gradient sums that wait for their sibling in the tree.
    ///
    /// Micro-batch s is computed at the height that is the number of bits set in s.
    ///
    /// They hold the gradients of all parameters that every rank holds.
    private let sums: [ParameterArena]
    /// This rank's gradients after its last micro-batch; those of all ranks after an exchange.
    public let gradients: ParameterArena
    private let addition: Kernel
    /// The update of a step whose gradients may still be under way.
    private var update: Update?
    /// The totals of steps that the caller has not taken yet.
    private var totals: [Int: Event] = [:]
    /// Where the host receives totals: one place for each that the loss keeps.
    private let totalsMemory: HostMemory

    private struct Update {
        let step: Int
        let learningRate: Float
        var hasBegun = false
        /// The parameters that are not updated yet, in the order in which forward reads them.
        var parameters: ArraySlice<Parameter>
    }

    /// Allocates the gradients and the optimiser's state.
    ///
    /// - Parameters:
    ///   - network: made for training, with `maximumBatch` = batch / micro-batches
    ///   - batch: images of a mini-batch; `microBatches` is a power of two that divides it
    ///   - lossRule: what the network is trained towards
    ///   - exchange: with the other ranks; nil if this process has all micro-batches
    ///   - hybrid: runs the network's split layers, with the other ranks; nil if it has none
    ///   - policy: when the step waits for the exchange; clipping, which needs all gradients at once, makes
    ///     it synchronous
    public init(
        network: Network, normalization: Normalization, batch: Int, microBatches: Int, rule: UpdateRule,
        lossRule: LossRule = LossRule(), seed: UInt64, exchange: GradientExchange? = nil,
        hybrid: HybridLayers? = nil, policy: ExchangePolicy = .lazy
    ) throws {
        precondition(
            microBatches > 0 && microBatches & (microBatches - 1) == 0 && batch % microBatches == 0
                && network.options.maximumBatch == batch / microBatches,
            "\(microBatches) micro-batches of a batch of \(batch)")
        self.network = network
        self.batch = batch
        self.microBatches = microBatches
        self.seed = seed
        self.exchange = exchange
        self.hybrid = hybrid
        self.policy = exchange == nil || rule.clipNorm != nil ? .synchronous : policy
        let span = exchange?.span ?? MicroBatchSpan(first: 0, count: microBatches)
        self.span = span
        input = try ImageInput(
            device: network.device, size: network.inputShape.width, normalization: normalization)
        loss = try SoftmaxCrossEntropy(
            device: network.device, classes: network.classes,
            maximumBatch: batch / microBatches, rule: lossRule, stepImages: batch)
        mixup = try lossRule.mixup.map { try Mixup(alpha: $0, seed: seed, device: network.device) }
        optimizer = try Optimizer(network.trainedParameters, rule, device: network.device)
        try optimizer.average?.reset(to: network)
        let parameters = network.trainedParameters.filter { !$0.isSplit }
        let sums = try (0..<TrainingStep.gradientArenas(microBatches: span.count)).map { index in
            if index == 0, let exchange { return exchange.gradients }
            return try ParameterArena(parameters, device: network.device)
        }
        self.sums = sums
        let split = network.trainedParameters.filter(\.isSplit)
        gradients =
            split.isEmpty
            ? sums[0] : ParameterArena(sums[0], try ParameterArena(split, device: network.device))
        optimizer.completeSquares = hybrid.map { hybrid in
            { try hybrid.completeSquares(&$0, held: $1) }
        }
        addition = try network.device.kernel("optimizer", "gradient_add")
        totalsMemory = network.device.hostMemory.allocate(
            byteCount: loss.keptSteps * MemoryLayout<SoftmaxCrossEntropy.Totals>.size)
    }

    deinit {
        // A copy under way still writes to the memory.
        for event in totals.values { try? event.wait() }
    }

    private func totalsPlace(of step: Int) -> UnsafeMutableRawBufferPointer {
        let size = MemoryLayout<SoftmaxCrossEntropy.Totals>.size
        let start = step % loss.keptSteps * size
        return UnsafeMutableRawBufferPointer(rebasing: totalsMemory.bytes[start..<(start + size)])
    }

    /// Returns the number of gradient arenas that a tree of `microBatches` needs at once.
    static func gradientArenas(microBatches: Int) -> Int { microBatches.trailingZeroBitCount + 1 }

    /// Enqueues one step: forward and backward of this rank's micro-batches, and the update.
    ///
    /// With several ranks and the lazy policy, the next step's forward or `finishUpdate` does the update.
    ///
    /// - Parameters:
    ///   - batchOnDevice: this rank's images of the mini-batch
    ///   - gradientReady: called from the last layer to the first, when this rank's gradient of a parameter
    ///     is enqueued
    public func run(
        _ batchOnDevice: DeviceBatch, step: Int, learningRate: Float,
        gradientReady: (Parameter) throws -> Void = { _ in }
    ) throws {
        guard let logitsGradient = network.logitsGradient else {
            preconditionFailure("the network was not made for training: it has no gradient of the logits")
        }
        let (before, behind) = network.wholeLayers
        for turn in 0..<(hybrid?.schedule.turns ?? span.count) {
            // In the last turns of split layers, this rank may have no images.
            let pass = turn < span.count ? pass(step: step, microBatch: turn) : nil
            let isLast = turn == span.count - 1
            func isReady(_ parameter: Parameter) throws {
                try merge(parameter, microBatch: turn)
                if isLast {
                    try exchange?.start(parameter)
                    try gradientReady(parameter)
                }
            }
            if let pass { try forward(batchOnDevice, pass, layers: before) { try updateBeforeUse($0) } }
            try forwardHybrid(turn, step: step) { try updateBeforeUse($0) }
            var gradient: Buffer?
            if let pass {
                try network.forward(pass, layers: behind) { try updateBeforeUse($0) }
                network.device.profile?.begin("loss")
                // The divisor is the whole batch, including bad images, so that a micro-batch's gradient does
                // not depend on the other micro-batches.
                try loss.forwardBackward(
                    logits: network.logits, labels: batchOnDevice.labels, weights: batchOnDevice.weights,
                    shares: mixup == nil ? nil : batchOnDevice.shares, gradient: logitsGradient,
                    scale: 1 / Float(batch), step: step, addsToStep: turn > 0, pass: pass)
                if isLast { try exchange?.startTotals(loss, step: step, asksToStop: asksToStop) }
                gradient = try network.backward(
                    pass, layers: behind, gradients: sums[turn.nonzeroBitCount], gradientReady: isReady)
            }
            try hybrid?.backward(turn: turn, gradient: gradient, features: logitsGradient)
            if let pass {
                try network.backward(
                    pass, layers: before, gradients: sums[turn.nonzeroBitCount], gradientReady: isReady)
            }
        }
        if let hybrid {
            try hybrid.backwardWeights(gradients)
            for parameter in network.trainedParameters.reversed() where parameter.isSplit {
                try gradientReady(parameter)
            }
        }
        update = Update(step: step, learningRate: learningRate, parameters: network.trainedParameters[...])
        try exchange?.drain()
        if policy == .synchronous { try finishUpdate() }
    }

    /// Runs the split layers on the images of a turn, if there are any.
    private func forwardHybrid(
        _ turn: Int, step: Int, beforeLayer: (any Layer) throws -> Void = { _ in }
    ) throws {
        guard let hybrid else { return }
        let size = batch / microBatches
        try hybrid.forward(
            turn: turn, counts: hybrid.schedule.rows(turn: turn),
            pass: { rank, images in
                Pass(
                    batch: images, training: true, seed: seed, step: UInt64(step),
                    firstImage: (hybrid.schedule.spans[rank].first + turn) * size)
            }, beforeLayer: beforeLayer)
    }

    /// Runs the network outside of training; with split layers, all ranks at the same time.
    ///
    /// - Parameter ranks: those that hold the split layers
    func evaluate(_ pass: Pass, ranks: Ranks) throws {
        let (before, behind) = network.wholeLayers
        if pass.batch > 0 { try network.forward(pass, layers: before) }
        try hybrid?.forward(
            turn: 0, counts: try ranks.gather([pass.batch]).map { $0[0] },
            pass: { _, images in Pass(batch: images, training: false) })
        if pass.batch > 0 { try network.forward(pass, layers: behind) }
    }

    /// Returns the shares by which mixup mixes this rank's images of a step; nil without mixup.
    ///
    /// - Parameter weights: those of the images
    public func shares(step: Int, weights: [Float]) -> [Float]? {
        mixup.map { mixup in
            (0..<span.count).flatMap { microBatch in
                let pass = pass(step: step, microBatch: microBatch)
                let own = weights[pass.firstRecord..<pass.firstRecord + pass.batch]
                return mixup.shares(step: step, firstImage: pass.firstImage, weights: own)
            }
        }
    }

    /// Enqueues the rest of the last step's update, before any reader of weights except the next step.
    func finishUpdate() throws {
        guard let pending = update else { return }
        // Waits for all of them first, because clipping reads every gradient.
        for parameter in pending.parameters where !parameter.isSplit { try exchange?.settle(parameter) }
        for layer in network.layers { try updateBeforeUse(layer) }
        update = nil
    }

    /// Calls `body` with the averaged weights in the network, if there is an average.
    func withAveragedWeights<Result>(_ body: () throws -> Result) throws -> Result {
        guard let average = optimizer.average else { return try body() }
        try finishUpdate()
        try average.swap(with: network)
        let result: Result
        do { result = try body() } catch {
            // The first error is the one to report.
            try? average.swap(with: network)
            throw error
        }
        try average.swap(with: network)
        return result
    }

    /// Waits for the last step's gradients of a layer, and enqueues the update of its weights.
    private func updateBeforeUse(_ layer: any Layer) throws {
        guard var pending = update,
            let first = pending.parameters.first, layer.parameters.contains(where: { $0 === first })
        else { return }
        network.device.profile?.begin("update")
        if !pending.hasBegun {
            pending.hasBegun = true
            try beginUpdate(step: pending.step)
        }
        while let parameter = pending.parameters.first, layer.parameters.contains(where: { $0 === parameter })
        {
            if !parameter.isSplit { try exchange?.settle(parameter) }
            try optimizer.update(
                parameter, weights: network.weights[parameter], gradient: gradients[parameter],
                learningRate: pending.learningRate)
            pending.parameters.removeFirst()
        }
        layer.weightsChanged()
        update = pending.parameters.isEmpty ? nil : pending
    }

    /// Waits for all ranks' totals of a step, and starts to read them; prepares the optimiser.
    private func beginUpdate(step: Int) throws {
        if let exchange { isAskedToStop = try exchange.settleTotals(loss, step: step) }
        try optimizer.beginStep(step, loss: loss, gradients: gradients)
        // The place of an older step's totals, which may not have been taken.
        totals[step - loss.keptSteps] = nil
        totals[step] = try loss.readTotals(step: step, into: totalsPlace(of: step))
    }

    /// Returns a step's sums over the images of all ranks, once; waits for the device and the other ranks.
    public func takeTotals(of step: Int) throws -> SoftmaxCrossEntropy.Totals {
        if totals[step] == nil { try finishUpdate() }
        guard let event = totals.removeValue(forKey: step) else {
            preconditionFailure("step \(step + 1) has not run, or its totals were taken before")
        }
        try event.wait()
        return totalsPlace(of: step).load(as: SoftmaxCrossEntropy.Totals.self)
    }

    private func pass(step: Int, microBatch: Int) -> Pass {
        let size = batch / microBatches
        return Pass(
            batch: size, training: true, seed: seed, step: UInt64(step),
            firstImage: (span.first + microBatch) * size, firstRecord: microBatch * size)
    }

    private func forward(
        _ batchOnDevice: DeviceBatch, _ pass: Pass, layers: Range<Int>,
        beforeLayer: (any Layer) throws -> Void = { _ in }
    ) throws {
        network.device.profile?.begin("input")
        try input.load(
            bytes: batchOnDevice.bytes, cache: batchOnDevice.cache, records: batchOnDevice.records,
            output: network.input, pass: pass)
        let (width, height) = (network.inputShape.width, network.inputShape.height)
        try mixup?.mix(network.input, shares: batchOnDevice.shares, pixels: width * height, pass: pass)
        try network.forward(pass, layers: layers, beforeLayer: beforeLayer)
    }

    /// Runs a failed step's forward again, with the weights that it had, and returns where it is not finite.
    public func firstNotFinite(_ batchOnDevice: DeviceBatch, step: Int) throws -> String? {
        var found: String?
        let (before, behind) = network.wholeLayers
        for turn in 0..<(hybrid?.schedule.turns ?? span.count) {
            let pass = turn < span.count ? pass(step: step, microBatch: turn) : nil
            if let pass { try forward(batchOnDevice, pass, layers: before) }
            try forwardHybrid(turn, step: step)
            if let pass {
                try network.forward(pass, layers: behind)
                found = try found ?? network.firstNotFinite(pass)
            }
            // The ranks run split layers together, whatever one of them has found.
            if hybrid == nil, found != nil { break }
        }
        return found
    }

    /// Adds a micro-batch's gradient to the sums to its left that it completes.
    private func merge(_ parameter: Parameter, microBatch: Int) throws {
        network.device.profile?.begin("sum of micro-batches")
        var top = microBatch.nonzeroBitCount
        for _ in 0..<(microBatch + 1).trailingZeroBitCount where top > 0 {
            try addition.launch(
                KernelFamilies.optimizer.values(parameter.storedCount, tuning: network.device.tuning),
                sums[top - 1][parameter], sums[top][parameter],
                UInt64(parameter.storedCount))
            top -= 1
        }
    }
}
