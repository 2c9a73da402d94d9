import Compute
import Foundation
import ImageData
import ModelFiles
import NeuralNet

/// Several models that look at the same photographs, each in its views. A photograph is read once for each short side that any view needs.
public final class Ensemble {
    public let models: [EvaluatedModel]
    /// The classes that any model knows.
    public let classes: [String]
    private let device: Device

    /// What came of a set of photographs.
    public struct Answer: Sendable {
        /// Of the photographs that could be used.
        public let posteriors: Posteriors
        /// For each photograph of the set its row in `posteriors`, or nil.
        public let rows: [Int?]
        public let failures: [ImageError]
    }

    public init(_ models: [EvaluatedModel], device: Device) {
        self.models = models
        self.device = device
        classes = Posteriors.union(models.map(\.description.classes))
    }

    /// A line for each model that does not know all classes.
    public var classDifferences: [String] {
        models.compactMap { model in
            let missing = Set(classes).subtracting(model.description.classes)
            if missing.isEmpty { return nil }
            let names = classes.filter(missing.contains)
            let shown = names.prefix(5).joined(separator: ", ") + (names.count > 5 ? " and \(names.count - 5) more" : "")
            return "\(model.name) does not know \(shown); it gives \(names.count == 1 ? "it" : "them") 0"
        }
    }

    /// Every view of every model of each photograph in `set`, whose labels are indices into `classes`.
    ///
    /// - Parameter progress: called with the share of the work that is done.
    public func run(_ set: ImageSet, batch: Int, workers: Int, progress: (Double) throws -> Void = { _ in }) throws -> Answer {
        let sources = models.enumerated().flatMap { number, model in
            model.views.indices.map { (model: number, view: $0) }
        }
        var values = sources.map { [Float](repeating: 0, count: set.count * models[$0.model].description.classes.count) }
        var failures = [ImageError?](repeating: nil, count: set.count)
        let sides = Set(sources.map { models[$0.model].views[$0.view].shortSide }).sorted()
        func cost(_ side: Int) -> Double {
            models.reduce(0) { sum, model in
                model.views.reduce(sum) { $0 + ($1.shortSide == side ? model.cost($1) : 0) }
            }
        }
        let total = sides.reduce(0) { $0 + cost($1) } * Double(max(1, set.count))
        var done = 0.0
        for side in sides {
            let plan = try EvaluationPlan(count: set.count, batchSize: batch)
            let loader = BatchLoader(set: set, shortSide: side, workers: workers) { plan.batch($0) }
            defer { loader.stop() }
            while let host = try loader.next() {
                for failure in host.failures where failures[failure.sample] == nil { failures[failure.sample] = failure.error }
                let photographs = try PhotographBatch(host, device: device)
                for (place, source) in sources.enumerated() where models[source.model].views[source.view].shortSide == side {
                    let model = models[source.model]
                    var usable = host.samples.map { failures[$0] == nil }
                    if model.views[source.view].isDense {
                        for (slot, record) in host.records.enumerated()
                        where usable[slot] && !model.fits(width: Int(record.width), height: Int(record.height)) {
                            usable[slot] = false
                            failures[host.samples[slot]] = ImageError(
                                .tooLarge, file: set.absolutePath(host.samples[slot]),
                                detail:
                                    "a view of \(record.width) x \(record.height) pixels needs more memory in one piece than \(model.name) "
                                    + "may have on \(device.description.name)")
                        }
                    }
                    let rows = try model.posteriors(source.view, photographs, isUsable: usable)
                    let classes = model.description.classes.count
                    for (slot, sample) in host.samples.enumerated() {
                        values[place].replaceSubrange(
                            sample * classes..<(sample + 1) * classes, with: rows[slot * classes..<(slot + 1) * classes])
                    }
                }
                done += cost(side) * Double(host.count)
                try progress(done / total)
            }
        }
        let kept = set.files.indices.filter { failures[$0] == nil }
        let posteriors = Posteriors(
            models: models.map(\.name), classes: classes, files: kept.map { set.files[$0].path },
            labels: kept.map { set.files[$0].label },
            sources: sources.map {
                Posteriors.Source(
                    model: $0.model, view: models[$0.model].views[$0.view],
                    seconds: models[$0.model].secondsPerImage($0.view) * Double(kept.count))
            },
            values: zip(sources, values).map { source, all in
                let own = models[source.model].description.classes
                return Posteriors.matched(
                    kept.flatMap { all[$0 * own.count..<($0 + 1) * own.count] }, from: own, to: classes)
            })
        var rows = [Int?](repeating: nil, count: set.count)
        for (row, sample) in kept.enumerated() { rows[sample] = row }
        return Answer(posteriors: posteriors, rows: rows, failures: failures.compactMap { $0 })
    }

    /// The photograph with the models' mean posterior of a class laid over it, window by window.
    ///
    /// - Parameter shortSides: what the photograph is brought to for each model; its own short side where there is none.
    /// - Throws: `EvaluationError` for a class that no model knows, `ImageError`.
    public func heatMap(of name: String, on path: String, shortSide: Int? = nil) throws -> DecodedImage {
        var maps: [ScoreMap] = []
        for model in models {
            guard let label = model.description.classes.firstIndex(of: name) else { continue }
            let side = shortSide ?? model.description.shortSide
            let set = ImageSet(paths: [path], classes: classes)
            let loader = BatchLoader(set: set, shortSide: side, workers: 1) { $0 == 0 ? [0] : nil }
            defer { loader.stop() }
            guard let host = try loader.next() else { continue }
            if let failure = host.failures.first { throw failure.error }
            maps.append(try model.scoreMap(View(shortSide: side, isDense: true), PhotographBatch(host, device: device), label: label))
        }
        guard !maps.isEmpty else {
            let shown = classes.prefix(10).joined(separator: ", ") + (classes.count > 10 ? " and \(classes.count - 10) more" : "")
            throw EvaluationError("--heat \(name): no model has a class of this name; expected one of \(shown)")
        }
        // Large enough to be seen, and as sharp as what the models saw.
        let side = max(maps.map { min($0.pixelWidth, $0.pixelHeight) }.max() ?? 0, 256)
        return ScoreMap.overlay(maps, on: try loadImage(path: path, shortSide: side))
    }
}
