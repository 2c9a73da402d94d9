/// Views in the order in which each next one helps most: by top-1, then by loss.
public struct GreedyOrder: Sendable {
    /// One view more.
    public struct Step: Sendable {
        public let source: Int
        /// With all views so far.
        public let metrics: Metrics
        /// What this view has added to top-1; nil for the first.
        public let gain: PairedDifference?
        /// With all views so far, by the device's time alone; nil where it is not known.
        public let imagesPerSecond: Double?
    }

    public let steps: [Step]

    /// Every view in turn, but those of models whose weight is 0. One pass over the photographs for each, whatever is left being tried side by side.
    ///
    /// - Parameter weights: of the models; equal unless given.
    public init(_ posteriors: Posteriors, weights: [Double]? = nil) {
        var left = posteriors.sources.indices.filter { weights?[posteriors.sources[$0].model] != 0 }
        var chosen: [Int] = []
        var wasRight: [Bool] = []
        var steps: [Step] = []
        while !left.isEmpty {
            let scores = GreedyOrder.scores(posteriors, chosen: chosen, candidates: left, weights: weights)
            // Of equal candidates the first.
            let best = scores.indices.dropFirst().reduce(0) { best, next in
                (scores[next].right, -scores[next].loss) > (scores[best].right, -scores[best].loss) ? next : best
            }
            chosen.append(left.remove(at: best))
            var isRight = [Bool](repeating: false, count: posteriors.files.count)
            let metrics = posteriors.metrics([posteriors.mixture(chosen, weights: weights)]) { file, _, verdict in
                isRight[file] = verdict.isRight
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

    /// For each candidate the right answers and the sum of losses of the mean that it and the chosen ones make.
    private static func scores(
        _ posteriors: Posteriors, chosen: [Int], candidates: [Int], weights: [Double]?
    ) -> [(right: Int, loss: Double)] {
        // The shares in a mean depend on a candidate's model alone, so what the chosen ones say is added up once for all candidates of a model.
        let groups = Dictionary(grouping: candidates.indices) { posteriors.sources[candidates[$0]].model }.sorted { $0.key < $1.key }
            .map { (places: $0.value, mixture: posteriors.mixture(chosen + [candidates[$0.value[0]]], weights: weights)) }
        let classes = posteriors.classes.count
        var scores = candidates.map { _ in (right: 0, loss: 0.0) }
        var base = [Float](repeating: 0, count: classes)
        var mean = [Float](repeating: 0, count: classes)
        for (file, label) in posteriors.labels.enumerated() {
            posteriors.withValues(of: file) { values in
                func add(_ source: Int, _ share: Double, to target: inout [Float]) {
                    let (share, first) = (Float(share), source * classes)
                    for index in target.indices { target[index] += share * values[first + index] }
                }
                for group in groups {
                    for index in base.indices { base[index] = 0 }
                    for member in group.mixture.members.dropLast() { add(member.source, member.share, to: &base) }
                    for place in group.places {
                        for index in base.indices { mean[index] = base[index] }
                        add(candidates[place], group.mixture.members[chosen.count].share, to: &mean)
                        let verdict = mean.withUnsafeBufferPointer { Metrics.verdict($0, label: label) }
                        scores[place].right += verdict.isRight ? 1 : 0
                        scores[place].loss += verdict.loss
                    }
                }
            }
        }
        return scores
    }
}
