import Basics
import Collectives
import Compute
import Photographs

/// Runs several models on the same photographs, each in its views.
///
/// A photograph is read once for each short side that any view needs.
public final class Ensemble {
    public let models: [EvaluatedModel]
    /// The classes that at least one model knows.
    public let classes: [String]
    private let device: Device

    /// Requests one class's posterior in each window of the first photograph.
    public struct HeatRequest: Sendable {
        public let className: String
        /// Pixels to which the shorter side is resized; nil for each model's own.
        public let shortSide: Int?

        public init(className: String, shortSide: Int? = nil) {
            self.className = className
            self.shortSide = shortSide
        }
    }

    /// Holds the result for a set of photographs.
    public struct Answer: Sendable {
        /// The posteriors of the usable photographs.
        public let posteriors: Posteriors
        /// Each photograph's row in `posteriors`; nil if it could not be used.
        public let rows: [Int?]
        public let failures: [ImageError]
        /// The first photograph's maps, one for each model that knows the requested class.
        public let heat: [ScoreMap]
    }

    public init(_ models: [EvaluatedModel], device: Device) {
        self.models = models
        self.device = device
        classes = Posteriors.union(models.map(\.description.classes))
    }

    /// Runs every view of every model on each photograph of `set`, whose labels are indices into `classes`.
    ///
    /// All views of a mini-batch run before the next mini-batch, and the results go to a temporary file, so
    /// memory does not grow with the set. Several ranks take the mini-batches in turn, and all get the answer
    /// for all photographs, with the same bits.
    ///
    /// - Parameters:
    ///   - batch: photographs in a mini-batch.
    ///   - workers: threads that read photographs.
    ///   - ranks: the processes that share the work; each calls this.
    ///   - heat: taken from a dense view if the ensemble has it, otherwise computed separately.
    ///   - progress: called with the share of the work that is done.
    /// - Throws: `EvaluationError` for a class that no model knows or scores that are not numbers,
    ///   `FileError` if the temporary file cannot be written.
    public func run(
        _ set: ImageSet, batch: Int, workers: Int, ranks: (any Communicator)? = nil, heat: HeatRequest? = nil,
        progress: (Double) throws -> Void = { _ in }
    ) throws -> Answer {
        let sources = models.enumerated().flatMap { number, model in
            model.views.indices.map { (model: number, view: $0) }
        }
        let watched = try heat.map(watch) ?? []
        let sides = Set(models.flatMap { $0.views.map(\.shortSide) } + watched.map(\.shortSide)).sorted()
        let costs = sides.map { side in
            models.reduce(0) { sum, model in
                model.views.reduce(sum) { $0 + ($1.shortSide == side ? model.cost($1) : 0) }
            }
        }
        let share = EvaluationShare(ranks)
        let total = costs.reduce(0, +) * Double(max(1, set.count)) / Double(share.count)
        var done = 0.0
        var failures = [ImageError?](repeating: nil, count: set.count)
        var kept: [Int] = []
        var maps: [ScoreMap] = []
        /// Whether a mini-batch has the set's first photograph.
        func isFirst(_ host: HostBatch) -> Bool { share.index == 0 && host.index < sides.count }
        let places = models.map { Posteriors.ClassPlaces(of: $0.description.classes, in: classes) }
        let plan = try EvaluationPlan(count: set.count, batchSize: batch)
        // Each mini-batch comes once at every short side, one after the other.
        let (first, stride) = (share.index, share.count)
        let loader = BatchLoader(
            set: set, shortSides: { sides[$0 % sides.count] }, workers: workers, memory: device.batchMemory
        ) {
            plan.batch(first + stride * ($0 / sides.count))
        }
        defer { loader.stop() }
        let values = try SpooledFloats { sink in
            var answers = sources.map { _ in [Float]() }
            /// Appends a round's mini-batches, one of each rank, in their order.
            func append(_ own: EvaluationShare.Part) throws {
                for part in try share.gather(own) {
                    for failure in part.failures { failures[failure.sample] = failure.error }
                    kept += part.kept
                    try sink(part.values)
                }
            }
            while let host = try loader.next() {
                let side = sides[host.index % sides.count]
                for failure in host.failures where failures[failure.sample] == nil {
                    failures[failure.sample] = failure.error
                }
                let photographs = try PhotographBatch(host, device: device)
                for (place, source) in sources.enumerated()
                where models[source.model].views[source.view].shortSide == side {
                    let model = models[source.model]
                    let view = model.views[source.view]
                    if view.isDense { refuseTooLarge(host, model, set, &failures) }
                    // One of the watched maps is this view's.
                    let label = watched.first { $0.model == source.model && $0.source == place }?.label
                    let answer = try model.answer(
                        source.view, photographs, isUsable: host.samples.map { failures[$0] == nil },
                        label: isFirst(host) ? label : nil)
                    answers[place] = answer.posteriors
                    if let map = answer.map { maps.append(map) }
                }
                for request in watched
                where request.source == nil && request.shortSide == side && isFirst(host) {
                    refuseTooLarge(host, models[request.model], set, &failures)
                    if failures[host.samples[0]] != nil { continue }
                    if let map = try models[request.model].map(
                        shortSide: side, photographs, label: request.label)
                    {
                        maps.append(map)
                    }
                }
                if side == sides.last {
                    var part = EvaluationShare.Part()
                    for (position, sample) in host.samples.enumerated() {
                        if let error = failures[sample] {
                            part.failures.append((sample, error))
                            continue
                        }
                        part.kept.append(sample)
                        for (source, answer) in zip(sources, answers) {
                            let model = models[source.model]
                            let count = model.description.classes.count
                            let own = answer[position * count..<(position + 1) * count]
                            guard own.allSatisfy(\.isFinite) else {
                                throw EvaluationError(
                                    "\(model.name): its answer to \(set.location(sample)) is not a number; "
                                        + "its weights are damaged or its training diverged: leave it out")
                            }
                            part.values += places[source.model].spread(own)
                        }
                    }
                    try append(part)
                }
                done += costs[host.index % sides.count] * Double(host.count)
                try progress(min(1, done / total))
            }
            // In the last round there may be no mini-batch for this rank.
            if share.isLeftOut(ofLast: plan.batchCount) { try append(EvaluationShare.Part()) }
        }
        let posteriors = Posteriors(
            models: models.map(\.name), classes: classes, files: kept.map(set.name),
            labels: kept.map(set.label),
            sources: sources.map {
                Posteriors.Source(
                    model: $0.model, view: models[$0.model].views[$0.view],
                    seconds: models[$0.model].secondsPerImage($0.view) * Double(kept.count))
            },
            unknownClasses: models.map { Posteriors.unknown(to: $0.description.classes, of: classes) },
            leftOut: failures.compactMap { $0.map { "\($0)" } }, values: values)
        var rows = [Int?](repeating: nil, count: set.count)
        for (row, sample) in kept.enumerated() { rows[sample] = row }
        return Answer(posteriors: posteriors, rows: rows, failures: failures.compactMap { $0 }, heat: maps)
    }

    /// Describes a requested map of one model.
    ///
    /// `source` is the view that gives it, counted over all models; nil if a view is run only for it.
    private typealias WatchedMap = (model: Int, shortSide: Int, label: Int, source: Int?)

    private func watch(_ request: HeatRequest) throws -> [WatchedMap] {
        var watched: [WatchedMap] = []
        var first = 0
        for (number, model) in models.enumerated() {
            defer { first += model.views.count }
            guard let label = model.description.classes.firstIndex(of: request.className) else { continue }
            let view = View(shortSide: request.shortSide ?? model.description.shortSide, isDense: true)
            guard view.shortSide >= model.dense.smallestSide else {
                throw view.tooSmall(model: model.name, smallest: model.dense.smallestSide)
            }
            let source = model.views.firstIndex(of: view).map { first + $0 }
            watched.append((number, view.shortSide, label, source))
        }
        guard !watched.isEmpty else {
            throw EvaluationError(
                "\(request.className): no model has a class of this name; expected one of "
                    + classes.listed(atMost: 10), kind: .unknownClass)
        }
        return watched
    }

    /// Records a failure for each photograph whose dense view needs a larger buffer than the device allows.
    private func refuseTooLarge(
        _ host: HostBatch, _ model: EvaluatedModel, _ set: ImageSet, _ failures: inout [ImageError?]
    ) {
        for (image, sample) in zip(host.images, host.samples)
        where failures[sample] == nil && !model.fits(width: image.width, height: image.height) {
            failures[sample] = ImageError(
                .tooLarge, file: set.location(sample),
                detail:
                    "a dense view of \(image.width) x \(image.height) pixels needs more memory in one piece "
                    + "than \(model.name) may have on \(device.description.name)")
        }
    }
}
