/// Orders views so that each next one improves the mean most: by top-1 accuracy, then by loss.
public struct GreedyOrder: Sendable {
    /// Describes one added view.
    public struct Step: Sendable {
        public let source: Int
        /// The metrics of the mean of all views so far.
        public let metrics: Metrics
        /// This view's gain in top-1 accuracy; nil for the first.
        public let gain: PairedDifference?
        /// Throughput of all views so far by device time; nil if unknown.
        public let imagesPerSecond: Double?
    }

    public let steps: [Step]

    /// Orders the views of all models whose weight is above 0.
    ///
    /// A view has the share that views of its model have in the table's final row. Each step makes one pass
    /// over the photographs for all remaining candidates.
    public init(_ table: ViewTable) {
        let posteriors = table.posteriors
        let shares = Dictionary(
            table.final.mixture.members.map { (posteriors.sources[$0.source].model, $0.share) },
            uniquingKeysWith: { first, _ in first })
        func members(_ sources: [Int]) -> [(source: Int, weight: Double)] {
            sources.map { ($0, shares[posteriors.sources[$0].model] ?? 0) }
        }
        var left = members(Array(posteriors.sources.indices)).filter { $0.weight > 0 }.map(\.source)
        var chosen: [Int] = []
        var wasRight: [Bool] = []
        var steps: [Step] = []
        while !left.isEmpty {
            let scores = GreedyOrder.scores(posteriors, chosen: members(chosen), candidates: members(left))
            // The first of equal candidates wins.
            let best = scores.indices.dropFirst().reduce(0) { best, next in
                (scores[next].right, -scores[next].loss) > (scores[best].right, -scores[best].loss)
                    ? next : best
            }
            chosen.append(left.remove(at: best))
            var isRight = [Bool](repeating: false, count: posteriors.files.count)
            let metrics = posteriors.metrics([Posteriors.Mixture(members(chosen))]) { file, _, outcome in
                isRight[file] = outcome.isRight
            }[0]
            steps.append(
                Step(
                    source: chosen[chosen.count - 1], metrics: metrics,
                    gain: wasRight.isEmpty ? nil : PairedDifference(from: wasRight, to: isRight),
                    imagesPerSecond: posteriors.imagesPerSecond(chosen)))
            wasRight = isRight
        }
        self.steps = steps
    }

    /// Returns each candidate's right answers and sum of losses when averaged with the chosen views.
    private static func scores(
        _ posteriors: Posteriors, chosen: [(source: Int, weight: Double)],
        candidates: [(source: Int, weight: Double)]
    ) -> [(right: Int, loss: Double)] {
        let classes = posteriors.classes.count
        let sum = chosen.reduce(0) { $0 + $1.weight }
        var scores = candidates.map { _ in (right: 0, loss: 0.0) }
        // Arrays check bounds at each element, which keeps these hot loops from being vectorised.
        let base = UnsafeMutableBufferPointer<Float>.allocate(capacity: classes)
        let mean = UnsafeMutableBufferPointer<Float>.allocate(capacity: classes)
        defer {
            base.deallocate()
            mean.deallocate()
        }
        for (file, label) in posteriors.labels.enumerated() {
            posteriors.withValues(of: file) { values in
                base.update(repeating: 0)
                for (source, weight) in chosen {
                    let (own, weight) = (
                        UnsafeBufferPointer(rebasing: values[source * classes..<(source + 1) * classes]),
                        Float(weight)
                    )
                    for index in 0..<classes { base[index] += weight * own[index] }
                }
                for (place, (source, weight)) in candidates.enumerated() {
                    let own = UnsafeBufferPointer(rebasing: values[source * classes..<(source + 1) * classes])
                    let (old, new) = (Float(1 / (sum + weight)), Float(weight / (sum + weight)))
                    for index in 0..<classes { mean[index] = old * base[index] + new * own[index] }
                    let outcome = Metrics.Outcome(posteriors: UnsafeBufferPointer(mean), label: label)
                    scores[place].right += outcome.isRight ? 1 : 0
                    scores[place].loss += outcome.loss
                }
            }
        }
        return scores
    }
}
