#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

extension Oracle {
    /// Returns softmax and cross-entropy row by row.
    ///
    /// - Parameters:
    ///   - logits: [rows][classes].
    ///   - labels: the right class of each row.
    ///   - weights: each row's weight in the loss (0: the row does not count); all 1 if nil.
    ///   - scale: the factor of the weighted sum of the rows' losses, usually 1 / rows.
    /// - Returns: `losses`, −log p of each row's label, neither weighted nor scaled; `probabilities`,
    ///   [rows][classes]; `gradient`, [rows][classes], of scale · Σ weight · loss.
    public static func softmaxCrossEntropy(
        _ logits: [Double], rows: Int, classes: Int, labels: [Int], weights: [Double]? = nil, scale: Double
    ) -> (losses: [Double], probabilities: [Double], gradient: [Double]) {
        let weights = weights ?? [Double](repeating: 1, count: rows)
        precondition(logits.count == rows * classes && labels.count == rows && weights.count == rows)
        var losses: [Double] = []
        var probabilities: [Double] = []
        var gradient: [Double] = []
        for row in 0..<rows {
            let values = logits[row * classes..<(row + 1) * classes]
            // The largest logit is taken out first, so that no exponential overflows.
            let largest = values.max() ?? 0
            let logSum = largest + log(values.reduce(0) { $0 + exp($1 - largest) })
            losses.append(logSum - values[values.startIndex + labels[row]])
            for (index, value) in values.enumerated() {
                let probability = exp(value - logSum)
                probabilities.append(probability)
                // A row of weight 0 may hold anything, NaN too, and still adds nothing.
                gradient.append(
                    weights[row] == 0
                        ? 0 : scale * weights[row] * (probability - (index == labels[row] ? 1 : 0)))
            }
        }
        return (losses, probabilities, gradient)
    }
}
