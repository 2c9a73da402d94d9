/// What each view adds to the answer, and what it costs.
public struct ViewTable: Sendable {
    /// A mean over some views of one model, or of all.
    public struct Row: Sendable {
        /// Index of the model, or nil for the mean of all.
        public let model: Int?
        /// `single crop`, `dense`, `+ mirror`, `+ scales`.
        public let name: String
        /// Indices of the sources that are averaged.
        public let sources: [Int]
        public let metrics: Metrics
        /// By the device's time alone; nil where it is not known.
        public let imagesPerSecond: Double?
    }

    /// One view more, chosen greedily.
    public struct Step: Sendable {
        public let source: Int
        /// With all views so far.
        public let metrics: Metrics
    }

    public let posteriors: Posteriors
    /// Model after model, each from the single crop to all of its views; then the same of all models' mean, where there are several.
    public let rows: [Row]
    /// The mean of all views asked for.
    public var final: Row { rows[rows.count - 1] }

    /// - Parameter weights: of the models; equal unless given.
    public init(_ posteriors: Posteriors, weights: [Double]? = nil) {
        self.posteriors = posteriors
        func row(_ model: Int?, _ name: String, _ sources: [Int]) -> Row {
            let seconds = sources.reduce(0) { $0 + posteriors.sources[$1].seconds }
            return Row(
                model: model, name: name, sources: sources, metrics: posteriors.metrics(sources, weights: model == nil ? weights : nil),
                imagesPerSecond: seconds > 0 ? Double(posteriors.files.count) / seconds : nil)
        }
        var rows: [Row] = []
        let levels = posteriors.models.indices.map { ViewTable.levels(posteriors.sources, model: $0) }
        for (model, own) in levels.enumerated() { rows += own.map { row(model, $0.name, $0.sources) } }
        if levels.count > 1 {
            // Where one model has fewer steps than another, its last stands for those that it lacks.
            for step in 0..<(levels.map(\.count).max() ?? 0) {
                let own = levels.map { $0[min(step, $0.count - 1)] }
                let longest = levels.first { $0.count > step }?[step].name ?? ""
                rows.append(row(nil, longest, own.flatMap(\.sources)))
            }
        }
        self.rows = rows
    }

    /// The steps from the single crop to all of a model's views: dense, the mirror image, other scales.
    static func levels(_ sources: [Posteriors.Source], model: Int) -> [(name: String, sources: [Int])] {
        let own = sources.indices.filter { sources[$0].model == model }
        guard let crop = own.first else { return [] }
        let asked = own.filter { sources[$0].view.isDense }
        let wanted = asked.isEmpty ? own : asked
        // The step in between is taken at the scale nearest to the model's own.
        let ownSide = sources[crop].view.shortSide
        let sides = Set(wanted.map { sources[$0].view.shortSide })
        let side = sides.min { (abs($0 - ownSide), $0) < (abs($1 - ownSide), $1) } ?? ownSide
        var levels = [(name: "single crop", sources: [crop])]
        func add(_ name: String, _ members: [Int]) {
            if members.count > levels[levels.count - 1].sources.count || levels.count == 1 && members != levels[0].sources {
                levels.append((name, members))
            }
        }
        let base = wanted.filter { sources[$0].view.shortSide == side }
        if !asked.isEmpty { add("dense", base.filter { !sources[$0].view.isMirrored }) }
        add("+ mirror", base)
        add("+ scales", wanted)
        return levels
    }

    /// The views in the order in which each next one helps most: by top-1, then by loss.
    public func greedyOrder() -> [Step] {
        var left = Array(posteriors.sources.indices)
        var sums = [Float](repeating: 0, count: posteriors.files.count * posteriors.classes.count)
        var steps: [Step] = []
        while !left.isEmpty {
            var best: (place: Int, metrics: Metrics)?
            for (place, source) in left.enumerated() {
                let share = 1 / Float(steps.count + 1)
                let mean = zip(sums, posteriors.values[source]).map { ($0 + $1) * share }
                let metrics = Metrics(posteriors: mean, labels: posteriors.labels, classes: posteriors.classes.count)
                if best.map({ (metrics.top1Count, -metrics.loss) > ($0.metrics.top1Count, -$0.metrics.loss) }) ?? true {
                    best = (place, metrics)
                }
            }
            guard let best else { break }
            let source = left.remove(at: best.place)
            for (index, value) in posteriors.values[source].enumerated() { sums[index] += value }
            steps.append(Step(source: source, metrics: best.metrics))
        }
        return steps
    }
}
