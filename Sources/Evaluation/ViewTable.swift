import Basics

/// What each view adds to the answer, and what it costs.
public struct ViewTable: Sendable {
    /// A mean over some views of one model, or of all.
    public struct Row: Sendable {
        /// Index of the model, or nil for the mean of all.
        public let model: Int?
        /// `single crop`, `dense`, `+ mirror`, `+ scales`.
        public let name: String
        /// What is averaged.
        public let mixture: Posteriors.Mixture
        public let metrics: Metrics
        /// By the device's time alone; nil where it is not known.
        public let imagesPerSecond: Double?
    }

    public let posteriors: Posteriors
    /// Of the models; equal where there are none.
    public let weights: [Double]?
    /// Model after model, each from the single crop to all of its views; then the same of all models' mean,
    /// where there are several.
    public let rows: [Row]
    /// The mean of all views asked for.
    public var final: Row { rows[rows.count - 1] }

    /// The row with all views of a model.
    public func best(model: Int) -> Row? { rows.last { $0.model == model } }

    /// The row that is most often right, and by how much it beats all views together; nil where chance may
    /// have made the difference.
    public func betterThanAll() -> (row: Row, gain: PairedDifference)? {
        guard let best = rows.max(by: { $0.metrics.total.top1 < $1.metrics.total.top1 }),
            best.metrics.total.top1 > final.metrics.total.top1
        else { return nil }
        var isRight = Array(repeating: [Bool](repeating: false, count: posteriors.files.count), count: 2)
        _ = posteriors.metrics([final.mixture, best.mixture]) { file, mixture, verdict in
            isRight[mixture][file] = verdict.isRight
        }
        let gain = PairedDifference(from: isRight[0], to: isRight[1])
        return gain.difference > gain.halfWidth ? (best, gain) : nil
    }

    /// - Parameter weights: of the models; equal unless given.
    public init(_ posteriors: Posteriors, weights: [Double]? = nil) {
        self.posteriors = posteriors
        self.weights = weights
        var plan: [(model: Int?, name: String, sources: [Int])] = []
        let levels = posteriors.models.indices.map { ViewTable.levels(posteriors.sources, model: $0) }
        for (model, own) in levels.enumerated() { plan += own.map { (model, $0.name, $0.sources) } }
        if levels.count > 1 {
            // Where one model has fewer steps than another, its last stands for those that it lacks.
            for step in 0..<(levels.map(\.count).max() ?? 0) {
                let own = levels.map { $0[min(step, $0.count - 1)] }
                let longest = levels.first { $0.count > step }?[step].name ?? ""
                plan.append((nil, longest, own.flatMap(\.sources)))
            }
        }
        let mixtures = plan.map { posteriors.mixture($0.sources, weights: $0.model == nil ? weights : nil) }
        let metrics = posteriors.metrics(mixtures)
        rows = plan.indices.map {
            Row(
                model: plan[$0].model, name: plan[$0].name, mixture: mixtures[$0], metrics: metrics[$0],
                imagesPerSecond: posteriors.imagesPerSecond(mixtures[$0].members.map(\.source)))
        }
    }

    /// The steps from the single crop to all of a model's views: dense, the mirror image, other scales.
    static func levels(_ sources: [Posteriors.Source], model: Int) -> [(name: String, sources: [Int])] {
        let own = sources.indices.filter { sources[$0].model == model }
        guard let crop = own.first else { return [] }
        let asked = own.filter { sources[$0].view.isDense }
        let wanted = asked.isEmpty ? own : asked
        // The step in between is taken at the scale nearest to the first view's, which is the model's own
        // where views are dense.
        let ownSide = sources[crop].view.shortSide
        let sides = Set(wanted.map { sources[$0].view.shortSide })
        let side = sides.min { (abs($0 - ownSide), $0) < (abs($1 - ownSide), $1) } ?? ownSide
        var levels = [(name: "single crop", sources: [crop])]
        func add(_ name: String, _ members: [Int]) {
            if members.count > levels[levels.count - 1].sources.count
                || levels.count == 1 && members != levels[0].sources
            {
                levels.append((name, members))
            }
        }
        let base = wanted.filter { sources[$0].view.shortSide == side }
        if !asked.isEmpty { add("dense", base.filter { !sources[$0].view.isMirrored }) }
        add("+ mirror", base)
        add("+ scales", wanted)
        return levels
    }
}

extension Posteriors {
    /// By the device's time for some sources; nil where it is not known for each.
    func imagesPerSecond(_ sources: [Int]) -> Double? {
        guard sources.allSatisfy({ self.sources[$0].seconds > 0 }) else { return nil }
        return Double(files.count) / sources.reduce(0) { $0 + self.sources[$1].seconds }
    }
}
