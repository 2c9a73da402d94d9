extension Oracle {
    /// Performs one step of SGD with momentum and weight decay by PyTorch's formula:
    /// g = gradient + decay · w, v = momentum · v + g, w = w − rate · v.
    ///
    /// `velocity` starts as zeros. All arrays have the same length.
    public static func sgd(
        weights: inout [Double], velocity: inout [Double], gradient: [Double], learningRate: Double,
        momentum: Double, weightDecay: Double
    ) {
        precondition(weights.count == velocity.count && weights.count == gradient.count)
        for index in weights.indices {
            velocity[index] = momentum * velocity[index] + gradient[index] + weightDecay * weights[index]
            weights[index] -= learningRate * velocity[index]
        }
    }
}
