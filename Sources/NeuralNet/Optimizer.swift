import Basics
import Compute
import Foundation

/// Says how weights follow from gradients.
public struct UpdateRule: Sendable {
    public enum Method: String, CaseIterable, Sendable {
        /// Stochastic gradient descent with momentum, as PyTorch does it:
        /// v ← momentum · v + (g + weightDecay · w), w ← w − learningRate · v.
        case sgd
        /// Adam with decoupled weight decay (Loshchilov and Hutter, 2019); `optimizer.h` has the formula.
        case adamw

        /// The arrays of the parameters' size that the method keeps from step to step.
        public var momentCount: Int { self == .sgd ? 1 : 2 }
    }

    public let method: Method
    /// Momentum of SGD; β₁ of AdamW.
    public let momentum: Float
    /// Biases do not decay.
    public let weightDecay: Float
    /// The largest norm of all gradients together, to which longer ones are scaled down; nil: no clipping.
    public let clipNorm: Float?
    /// The share that an exponential moving average of the weights keeps in each step; nil: no average.
    public let averageDecay: Double?

    public init(
        _ method: Method = .sgd, momentum: Float = 0.9, weightDecay: Float = 0, clipNorm: Float? = nil,
        averageDecay: Double? = nil
    ) {
        self.method = method
        self.momentum = momentum
        self.weightDecay = weightDecay
        self.clipNorm = clipNorm
        self.averageDecay = averageDecay
    }
}

/// Updates weights by their gradients.
public final class Optimizer {
    public let parameters: [Parameter]
    public let rule: UpdateRule
    /// SGD's velocities, or AdamW's first and second moments: what a run must keep to be resumed.
    public let moments: [ParameterArena]
    /// The average of the weights, if the rule asks for one; zero until its `reset`.
    public let average: WeightAverage?
    /// What gradients are multiplied by: it stays on the device, so that the host does not wait for the norm.
    let scale: Buffer
    private let partialSums: Buffer
    private let partialCount: Int
    /// Completes the sums of squares of split layers; nil if no layer is split.
    ///
    /// It is called with all sums, of which those at `held` and those of whole layers are right.
    public var completeSquares: ((_ sums: inout [Float], _ held: [Int]) throws -> Void)?
    private let updateKernel: Kernel
    private let sumOfSquares: Kernel
    private let gradientScale: Kernel
    private let tuning: Tuning
    /// Elements whose squares one work-item adds.
    private let chunk: Int
    /// The step whose update is being queued, counted from 0.
    private var step = 0

    /// - Parameter parameters: those to learn, in the network's order
    public init(_ parameters: [Parameter], _ rule: UpdateRule, device: Device) throws {
        self.parameters = parameters
        self.rule = rule
        moments = try (0..<rule.method.momentCount).map { _ in
            try ParameterArena(parameters, device: device)
        }
        for arena in moments { try arena.clear() }
        average = try rule.averageDecay.map { try WeightAverage(parameters, decay: $0, device: device) }
        scale = try Buffer(device, [Float(1)])
        tuning = device.tuning
        let chunk = device.tuning[KernelFamilies.optimizer.chunk]
        self.chunk = chunk
        partialCount =
            rule.clipNorm == nil ? 0 : parameters.reduce(0) { $0 + $1.chunks(of: chunk).count }
        partialSums = try Buffer(device, floatCount: max(1, partialCount))
        updateKernel = try device.kernel("optimizer", rule.method == .sgd ? "sgd_momentum" : "adamw")
        sumOfSquares = try device.kernel("optimizer", "sum_of_squares")
        gradientScale = try device.kernel("optimizer", "gradient_scale")
    }

    /// Queues the kernel that decides by what a step's gradients are multiplied.
    ///
    /// Called once per step, after its loss and, with clipping, all gradients are queued. Once a loss or norm
    /// is not finite, no step changes a weight, and each step's loss reads as not a number.
    public func beginStep(_ step: Int, loss: SoftmaxCrossEntropy, gradients: ParameterArena) throws {
        self.step = step
        if rule.clipNorm != nil {
            var first = 0
            var heldOfSplit: [Int] = []
            for parameter in parameters {
                let chunks = parameter.chunks(of: chunk)
                for run in chunks.held {
                    let count = run.floats.count.ceilDivided(by: chunk)
                    let start = first + run.first
                    try sumOfSquares.launch(
                        KernelFamilies.optimizer.sums(chunks: count, tuning: tuning),
                        gradients[parameter], partialSums, UInt64(run.floats.lowerBound),
                        UInt64(run.floats.count), UInt64(start))
                    if parameter.isSplit { heldOfSplit += start..<start + count }
                }
                first += chunks.count
            }
            if let completeSquares {
                var sums: [Float] = try partialSums.read(partialCount)
                try completeSquares(&sums, heldOfSplit)
                try partialSums.write(sums)
            }
        }
        try gradientScale.launch(
            KernelFamilies.optimizer.sums(tuning: tuning),
            loss.totals, step % loss.keptSteps, partialSums,
            UInt64(partialCount), rule.clipNorm ?? .infinity, scale)
    }

    /// Queues the update of one parameter, in one pass over weights, gradients and moments; then that of its
    /// average.
    public func update(_ parameter: Parameter, weights: Buffer, gradient: Buffer, learningRate: Float) throws
    {
        let count = parameter.storedCount
        guard count > 0 else { return }
        let decay = parameter.decays ? rule.weightDecay : 0
        switch rule.method {
        case .sgd:
            try updateKernel.launch(
                KernelFamilies.optimizer.values(count, tuning: tuning), weights,
                gradient, moments[0][parameter], UInt64(count),
                [learningRate, rule.momentum, decay], scale)
        case .adamw:
            // PyTorch's defaults.
            let (beta1, beta2, epsilon) = (Double(rule.momentum), 0.999, 1e-8)
            let steps = Double(step + 1)
            let rate = Double(learningRate) / (1 - pow(beta1, steps))
            let correction = 1 / (1 - pow(beta2, steps)).squareRoot()
            let numbers = [
                rate, correction, Double(1 - learningRate * decay),
                beta1, 1 - beta1, beta2, 1 - beta2, epsilon,
            ]
            try updateKernel.launch(
                KernelFamilies.optimizer.values(count, tuning: tuning), weights,
                gradient, moments[0][parameter], moments[1][parameter],
                UInt64(count), numbers.map { Float($0) }, scale)
        }
        try average?.update(parameter, weights: weights, step: step, scale: scale)
    }

    /// Forgets all steps: moments become zero, and a loss that was not finite no longer stops updates.
    public func reset() throws {
        for arena in moments { try arena.clear() }
        try scale.write([Float(1)])
    }
}
