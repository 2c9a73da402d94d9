import Compute

/// Keeps an exponential moving average of the weights on the device.
///
/// The averaged weights usually generalise better than those of the last step (Polyak and Juditsky, 1992).
public final class WeightAverage {
    private let parameters: [Parameter]
    private let decay: Double
    private let values: ParameterArena
    private let averageKernel: Kernel
    private let swapKernel: Kernel
    private let tuning: Tuning

    /// - Parameters:
    ///   - parameters: those to average, one after the other in the network's order
    ///   - decay: the share that the average keeps in each step, below 1
    init(_ parameters: [Parameter], decay: Double, device: Device) throws {
        self.parameters = parameters
        self.decay = decay
        tuning = device.tuning
        values = try ParameterArena(parameters, device: device)
        try values.clear()
        averageKernel = try device.kernel("optimizer", "average_weights")
        swapKernel = try device.kernel("optimizer", "swap_values")
    }

    /// Sets the average to a network's weights.
    public func reset(to network: Network) throws {
        for parameter in parameters { try values[parameter].copy(from: network.weights[parameter]) }
    }

    /// Queues a step of the average of one parameter.
    func update(_ parameter: Parameter, weights: Buffer, step: Int, scale: Buffer) throws {
        guard parameter.storedCount > 0 else { return }
        try averageKernel.launch(
            KernelFamilies.optimizer.values(parameter.storedCount, tuning: tuning),
            values[parameter], weights, UInt64(parameter.storedCount),
            Float(WeightAverage.rate(decay: decay, step: step)), scale)
    }

    /// Returns the share of the weights after a step, counted from 0, in the average.
    ///
    /// In the first steps it is 9 / (step + 11), so that the average does not remember the initial weights.
    static func rate(decay: Double, step: Int) -> Double {
        1 - min(decay, Double(step + 2) / Double(step + 11))
    }

    /// Exchanges a network's weights with the averaged ones; a second call exchanges them back.
    public func swap(with network: Network) throws {
        for parameter in parameters where parameter.storedCount > 0 {
            try swapKernel.launch(
                KernelFamilies.optimizer.values(parameter.storedCount, tuning: tuning),
                network.weights[parameter], values[parameter],
                UInt64(parameter.storedCount))
        }
        network.weightsChanged()
    }
}
