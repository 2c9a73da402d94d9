import Compute

/// Stochastic gradient descent with momentum and weight decay, as PyTorch writes it:
/// v ← momentum · v + (g + weightDecay · w), w ← w − learningRate · v. The decay leaves biases alone.
public final class StochasticGradientDescent {
    public let momentum: Float
    public let weightDecay: Float
    /// One velocity for each weight; part of what a run must keep to be resumed.
    public let velocities: ParameterArena
    private let update: Kernel

    public init(_ parameters: [Parameter], momentum: Float, weightDecay: Float, device: Device) throws {
        self.momentum = momentum
        self.weightDecay = weightDecay
        velocities = try ParameterArena(parameters, device: device)
        try velocities.clear()
        update = try device.kernel("optimizer", "sgd_momentum")
    }

    /// Steps one parameter: one pass over weights, gradients and velocities.
    public func step(_ parameter: Parameter, weights: Buffer, gradient: Buffer, learningRate: Float, gradientScale: Float = 1) throws {
        try update.launch(
            [parameter.storedCount], local: [256], weights, gradient, velocities[parameter], UInt64(parameter.storedCount), learningRate,
            momentum, parameter.decays ? weightDecay : 0, gradientScale)
    }
}
