extension Oracle {
    /// Returns the rank of `label` among the scores: the number of classes before it, 0 for the best.
    ///
    /// Of equal scores the class with the lower index comes first. NaN comes after every number, so that a
    /// network that has diverged is never right. A prediction is right in the top k if the rank is below k.
    public static func rank(of label: Int, in scores: some RandomAccessCollection<Double>) -> Int {
        let scores = Array(scores)
        let own = scores[label]
        var rank = 0
        for (index, score) in scores.enumerated() where index != label {
            if score > own || (own.isNaN && !score.isNaN)
                || ((score == own || (score.isNaN && own.isNaN)) && index < label)
            {
                rank += 1
            }
        }
        return rank
    }

    /// Returns how many rows have their label among the `k` best scores, with ties and NaN as in `rank`.
    ///
    /// - Parameter scores: [labels.count][classes].
    public static func topKCorrect(_ scores: [Double], labels: [Int], classes: Int, k: Int) -> Int {
        precondition(scores.count == labels.count * classes)
        return labels.indices.filter {
            rank(of: labels[$0], in: scores[$0 * classes..<($0 + 1) * classes]) < k
        }.count
    }
}
