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

    /// Performs step `number` (from 1) of AdamW by PyTorch's formula, with its β₂ of 0.999 and ε of 1e-8:
    /// w = w − rate · decay · w, m = β₁ m + (1 − β₁) g, v = β₂ v + (1 − β₂) g²,
    /// w = w − rate · (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε).
    ///
    /// Both moments start as zeros. All arrays have the same length.
    public static func adamw(
        weights: inout [Double], first: inout [Double], second: inout [Double], gradient: [Double],
        number: Int, learningRate: Double, beta1: Double, weightDecay: Double
    ) {
        precondition([first.count, second.count, gradient.count].allSatisfy { $0 == weights.count })
        let (beta2, epsilon) = (0.999, 1e-8)
        func power(_ base: Double) -> Double { (0..<number).reduce(1) { product, _ in product * base } }
        for index in weights.indices {
            let value = gradient[index]
            weights[index] -= learningRate * weightDecay * weights[index]
            first[index] = beta1 * first[index] + (1 - beta1) * value
            second[index] = beta2 * second[index] + (1 - beta2) * value * value
            let mean = first[index] / (1 - power(beta1))
            let deviation = (second[index] / (1 - power(beta2))).squareRoot()
            weights[index] -= learningRate * mean / (deviation + epsilon)
        }
    }

    /// Performs step `number` (from 1) of SGD, which keeps one array of moments, or of AdamW, with two.
    public static func update(
        weights: inout [Double], moments: inout [[Double]], gradient: [Double],
        number: Int, learningRate: Double, momentum: Double, weightDecay: Double
    ) {
        if moments.count == 1 {
            sgd(
                weights: &weights, velocity: &moments[0], gradient: gradient,
                learningRate: learningRate, momentum: momentum, weightDecay: weightDecay)
        } else {
            var (first, second) = (moments[0], moments[1])
            adamw(
                weights: &weights, first: &first, second: &second, gradient: gradient,
                number: number, learningRate: learningRate, beta1: momentum, weightDecay: weightDecay)
            moments = [first, second]
        }
    }
}
