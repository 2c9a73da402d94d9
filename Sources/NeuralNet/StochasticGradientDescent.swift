import Basics
import Compute

/// Updates weights by stochastic gradient descent with momentum and weight decay, as PyTorch does.
///
/// v ← momentum · v + (g + weightDecay · w), w ← w − learningRate · v. Biases do not decay.
public final class StochasticGradientDescent {
    public let parameters: [Parameter]
    public let momentum: Float
    public let weightDecay: Float
    /// The largest norm of all gradients together, to which longer ones are scaled down; nil: no clipping.
    public let clipNorm: Float?
    /// One velocity for each weight; part of what a run must keep to be resumed.
    public let velocities: ParameterArena
    /// What gradients are multiplied by: it stays on the device, so that the host does not wait for the norm.
    let scale: Buffer
    private let partialSums: Buffer
    private let partialCount: Int
    private let updateKernel: Kernel
    private let sumOfSquares: Kernel
    private let gradientScale: Kernel
    private let tuning: Tuning
    /// Elements whose squares one work-item adds.
    private let chunk: Int

    /// - Parameter parameters: those to learn, one after the other in the network's order.
    public init(
        _ parameters: [Parameter], momentum: Float, weightDecay: Float, clipNorm: Float? = nil, device: Device
    ) throws {
        self.parameters = parameters
        self.momentum = momentum
        self.weightDecay = weightDecay
        self.clipNorm = clipNorm
        velocities = try ParameterArena(parameters, device: device)
        try velocities.clear()
        scale = try Buffer(device, [Float(1)])
        tuning = device.tuning
        let chunk = device.tuning[KernelFamilies.optimizer.chunk]
        self.chunk = chunk
        partialCount =
            clipNorm == nil ? 0 : parameters.reduce(0) { $0 + $1.storedCount.ceilDivided(by: chunk) }
        partialSums = try Buffer(device, floatCount: max(1, partialCount))
        updateKernel = try device.kernel("optimizer", "sgd_momentum")
        sumOfSquares = try device.kernel("optimizer", "sum_of_squares")
        gradientScale = try device.kernel("optimizer", "gradient_scale")
    }

    /// Queues the kernel that decides by what a step's gradients are multiplied.
    ///
    /// Called once per step, after its loss and, with clipping, all gradients are queued. Once a loss or norm
    /// is not finite, no step changes a weight, and each step's loss reads as not a number.
    public func beginStep(_ step: Int, loss: SoftmaxCrossEntropy, gradients: ParameterArena) throws {
        if clipNorm != nil {
            var first = 0
            for parameter in parameters {
                let chunks = parameter.storedCount.ceilDivided(by: chunk)
                try sumOfSquares.launch(
                    KernelFamilies.optimizer.sums(chunks: chunks, tuning: tuning),
                    gradients[parameter], partialSums,
                    UInt64(parameter.storedCount), UInt64(first))
                first += chunks
            }
        }
        try gradientScale.launch(
            KernelFamilies.optimizer.sums(tuning: tuning),
            loss.totals, step % loss.slots, partialSums,
            UInt64(partialCount), clipNorm ?? .infinity, scale)
    }

    /// Queues the update of one parameter: one pass over weights, gradients and velocities.
    public func update(_ parameter: Parameter, weights: Buffer, gradient: Buffer, learningRate: Float) throws
    {
        try updateKernel.launch(
            [parameter.storedCount], local: [256], weights, gradient, velocities[parameter],
            UInt64(parameter.storedCount), [learningRate, momentum, parameter.decays ? weightDecay : 0], scale
        )
    }
}
