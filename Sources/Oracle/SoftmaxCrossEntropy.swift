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

    /// Returns what each row's posteriors are trained towards, [rows][classes].
    ///
    /// - Parameters:
    ///   - labels: the class of each row, and that of the image mixed into it.
    ///   - shares: the first label's share of each row; all 1 if nil.
    ///   - classWeights: the factor of each class; all 1 if nil.
    ///   - smoothing: the share of a row's targets that goes to all classes equally.
    public static func targets(
        _ labels: [(Int, Int)], shares: [Double]? = nil, classWeights: [Double]? = nil,
        smoothing: Double = 0, classes: Int
    ) -> [Double] {
        labels.enumerated().flatMap { row, pair in
            var targets = [Double](repeating: 0, count: classes)
            let share = shares?[row] ?? 1
            targets[pair.0] += share * (classWeights?[pair.0] ?? 1)
            targets[pair.1] += (1 - share) * (classWeights?[pair.1] ?? 1)
            let sum = targets.reduce(0, +)
            return targets.map { (1 - smoothing) * $0 + smoothing * sum / Double(classes) }
        }
    }

    /// Returns cross-entropy with any targets, row by row.
    ///
    /// - Parameters:
    ///   - logits: [rows][classes].
    ///   - targets: [rows][classes]; a row's sum may differ from 1.
    ///   - scale: the factor of the sum of the rows' losses.
    /// - Returns: `losses`, −Σ target · log p, not scaled; `gradient`, [rows][classes], of scale · Σ loss.
    public static func crossEntropy(_ logits: [Double], targets: [Double], classes: Int, scale: Double)
        -> (losses: [Double], gradient: [Double])
    {
        precondition(logits.count == targets.count && logits.count % classes == 0)
        var losses: [Double] = []
        var gradient: [Double] = []
        for start in stride(from: 0, to: logits.count, by: classes) {
            let values = logits[start..<start + classes]
            let largest = values.max() ?? 0
            let logSum = largest + log(values.reduce(0) { $0 + exp($1 - largest) })
            let sum = targets[start..<start + classes].reduce(0, +)
            losses.append(zip(values, targets[start...]).reduce(0) { $0 + $1.1 * (logSum - $1.0) })
            gradient += zip(values, targets[start...]).map { scale * (sum * exp($0 - logSum) - $1) }
        }
        return (losses, gradient)
    }
}
