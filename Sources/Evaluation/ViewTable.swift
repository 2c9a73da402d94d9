import Basics

/// Lists how accurate each model is as views are added, and at what speed.
public struct ViewTable: Sendable {
    /// Describes the mean over some views of one model, or of all models.
    public struct Row: Sendable {
        /// Index of the model; nil for the mean of all models.
        public let model: Int?
        /// `single crop`, `dense`, `+ mirror`, `+ scales`.
        public let name: String
        public let mixture: Posteriors.Mixture
        public let metrics: Metrics
        /// Throughput by device time, without reading; nil if unknown.
        public let imagesPerSecond: Double?
    }

    public let posteriors: Posteriors
    /// The models' weights; nil for equal weights.
    public let weights: [Double]?
    /// For each model the steps from the central crop to all of its views, then the same steps for the mean
    /// of all models if there are several.
    public let rows: [Row]
    /// The mean of all views of all models.
    public var final: Row { rows[rows.count - 1] }

    /// Returns the row with all views of a model.
    public func best(model: Int) -> Row? { rows.last { $0.model == model } }

    /// Returns the most accurate row and its gain over the final one; nil if the gain may be due to chance.
    public func betterThanAll() -> (row: Row, gain: PairedDifference)? {
        guard let best = rows.max(by: { $0.metrics.total.top1 < $1.metrics.total.top1 }),
            best.metrics.total.top1 > final.metrics.total.top1
        else { return nil }
        var isRight = Array(repeating: [Bool](repeating: false, count: posteriors.files.count), count: 2)
        _ = posteriors.metrics([final.mixture, best.mixture]) { file, mixture, outcome in
            isRight[mixture][file] = outcome.isRight
        }
        let gain = PairedDifference(from: isRight[0], to: isRight[1])
        return gain.difference > gain.halfWidth ? (best, gain) : nil
    }

    /// - Parameter weights: the models' weights; nil for equal weights.
    public init(_ posteriors: Posteriors, weights: [Double]? = nil) {
        self.posteriors = posteriors
        self.weights = weights
        var plan: [(model: Int?, name: String, sources: [Int])] = []
        let levels = posteriors.models.indices.map { ViewTable.levels(posteriors.sources, model: $0) }
        for (model, own) in levels.enumerated() { plan += own.map { (model, $0.name, $0.sources) } }
        if levels.count > 1 {
            // A model with fewer steps than another repeats its last one.
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

    /// Returns the steps from the central crop to all of a model's views: dense, mirrored, other scales.
    static func levels(_ sources: [Posteriors.Source], model: Int) -> [(name: String, sources: [Int])] {
        let own = sources.indices.filter { sources[$0].model == model }
        guard let crop = own.first else { return [] }
        let asked = own.filter { sources[$0].view.isDense }
        let wanted = asked.isEmpty ? own : asked
        // The steps before "+ scales" use the scale nearest to the central crop's.
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
    /// Returns the throughput of some sources by device time; nil if unknown for one of them.
    func imagesPerSecond(_ sources: [Int]) -> Double? {
        guard sources.allSatisfy({ self.sources[$0].seconds > 0 }) else { return nil }
        return Double(files.count) / sources.reduce(0) { $0 + self.sources[$1].seconds }
    }
}
