extension Oracle {
    /// The rank of `label` among the scores, 0 for the best: how many classes come before it.
    ///
    /// Of equal scores the class with the lower index comes first, and NaN comes after every number (so a
    /// network that has broken down is not counted as right). A prediction is right in the top k where the
    /// rank is below k.
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

    /// How many rows have their label among the `k` best scores; ties and NaN as in `rank`.
    ///
    /// - Parameter scores: [labels.count][classes].
    public static func topKCorrect(_ scores: [Double], labels: [Int], classes: Int, k: Int) -> Int {
        precondition(scores.count == labels.count * classes)
        return labels.indices.filter {
            rank(of: labels[$0], in: scores[$0 * classes..<($0 + 1) * classes]) < k
        }.count
    }
}
