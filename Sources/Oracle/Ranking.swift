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
            let isEqual = score == own || (score.isNaN && own.isNaN)
            if score > own || (own.isNaN && !score.isNaN) || (isEqual && index < label) { rank += 1 }
        }
        return rank
    }
}
