import Basics
import Foundation

/// Holds the posteriors of several models, each in several views, for the same photographs.
///
/// Any weighted mean of them can be computed without running the models again.
public struct Posteriors: Sendable {
    /// Describes one view of one model.
    public struct Source: Sendable, Equatable {
        /// Index into `models`.
        public let model: Int
        public let view: View
        /// Device time for all photographs in seconds, without reading; 0 if unknown.
        public var seconds = 0.0
    }

    /// Lists the sources of a mean with their shares, which add up to 1.
    public struct Mixture: Sendable, Equatable {
        public let members: [(source: Int, share: Double)]

        /// - Parameter members: weights above 0, in any unit.
        init(_ members: [(source: Int, weight: Double)]) {
            // Dividing by the largest weight first avoids overflow.
            let largest = members.map(\.weight).max() ?? 1
            let total = members.reduce(0) { $0 + $1.weight / largest }
            self.members = members.map { ($0.source, $0.weight / largest / total) }
        }

        public static func == (a: Mixture, b: Mixture) -> Bool { a.members.elementsEqual(b.members, by: ==) }
    }

    /// The models' names, such as their checkpoints' paths.
    public let models: [String]
    /// The classes that at least one model knows, in the order in which the models list them.
    ///
    /// A model's posterior of a class that it does not know is 0.
    public let classes: [String]
    public let files: [String]
    /// Each file's index into `classes`.
    public let labels: [Int]
    public let sources: [Source]
    /// The classes that each model does not know.
    public let unknownClasses: [[String]]
    /// Descriptions of the photographs that could not be used.
    public let leftOut: [String]
    /// The posteriors, `[files][sources][classes]`.
    let values: SpooledFloats

    /// Returns the names of several lists without repetition, in order of first appearance.
    public static func union(_ lists: [[String]]) -> [String] {
        var seen = Set<String>()
        return lists.flatMap { $0 }.filter { seen.insert($0).inserted }
    }

    /// Returns the classes that are not among a model's own.
    static func unknown(to own: some Sequence<String>, of classes: [String]) -> [String] {
        let known = Set(own)
        return classes.filter { !known.contains($0) }
    }

    /// Maps a model's posteriors to a longer list of classes.
    struct ClassPlaces {
        private let places: [Int]
        private let count: Int

        init(of own: [String], in all: [String]) {
            let all = Dictionary(all.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
            places = own.compactMap { all[$0] }
            count = all.count
        }

        /// Returns a value for each class of the longer list; 0 for classes that the model does not know.
        ///
        /// - Parameter values: one for each of the model's classes.
        func spread(_ values: some Collection<Float>) -> [Float] {
            var result = [Float](repeating: 0, count: count)
            for (place, value) in zip(places, values) { result[place] = value }
            return result
        }
    }

    // MARK: - Means

    /// Returns a mixture in which the views of each model share its weight equally.
    ///
    /// - Parameter weights: the models' weights; nil for equal weights.
    public func mixture(_ sources: [Int], weights: [Double]? = nil) -> Mixture {
        let counts = Dictionary(sources.map { (self.sources[$0].model, 1) }, uniquingKeysWith: +)
        // Members without weight would only cost time.
        return Mixture(
            sources.map { index in
                let model = self.sources[index].model
                return (index, (weights?[model] ?? 1) / Double(counts[model] ?? 1))
            }.filter { $0.1 > 0 })
    }

    /// Calls `body` with the posteriors of one photograph, `[sources][classes]`.
    func withValues<Result>(of file: Int, _ body: (UnsafeBufferPointer<Float>) throws -> Result) rethrows
        -> Result
    {
        let count = sources.count * classes.count
        return try values.withValues(file * count..<(file + 1) * count, body)
    }

    /// Returns one source's posteriors of one photograph, one for each class.
    public func values(of file: Int, source: Int) -> [Float] {
        withValues(of: file) { Array($0[source * classes.count..<(source + 1) * classes.count]) }
    }

    /// Returns Σ share · posterior for one photograph, one value for each class.
    public func mean(_ mixture: Mixture, of file: Int) -> [Float] {
        withValues(of: file) { values in
            var sums = [Double](repeating: 0, count: classes.count)
            Posteriors.add(mixture, values, to: &sums)
            return sums.map { Float($0) }
        }
    }

    private static func add(_ mixture: Mixture, _ values: UnsafeBufferPointer<Float>, to sums: inout [Double])
    {
        let classes = sums.count
        sums.withUnsafeMutableBufferPointer { sums in
            for member in mixture.members {
                let own = UnsafeBufferPointer(
                    rebasing: values[member.source * classes..<(member.source + 1) * classes])
                for (index, value) in own.enumerated() { sums[index] += member.share * Double(value) }
            }
        }
    }

    /// Returns the metrics of several mixtures' means, in one pass over the photographs.
    ///
    /// - Parameter outcome: called for each photograph and mixture.
    public func metrics(
        _ mixtures: [Mixture],
        outcome: (_ file: Int, _ mixture: Int, Metrics.Outcome) -> Void = { _, _, _ in }
    ) -> [Metrics] {
        var metrics = mixtures.map { _ in Metrics(classes: classes.count) }
        var sums = [Double](repeating: 0, count: classes.count)
        var mean = [Float](repeating: 0, count: classes.count)
        for (file, label) in labels.enumerated() {
            withValues(of: file) { values in
                for (index, mixture) in mixtures.enumerated() {
                    for place in sums.indices { sums[place] = 0 }
                    Posteriors.add(mixture, values, to: &sums)
                    for place in sums.indices { mean[place] = Float(sums[place]) }
                    let own = mean.withUnsafeBufferPointer { Metrics.Outcome(posteriors: $0, label: label) }
                    metrics[index].count(own)
                    outcome(file, index, own)
                }
            }
        }
        return metrics
    }

    /// Returns the metrics of one mixture's mean.
    public func metrics(_ mixture: Mixture) -> Metrics { metrics([mixture])[0] }

    // MARK: - Files

    /// Returns the path of the file that describes an array's axes.
    public static func sidecar(_ path: String) -> String { path + ".json" }

    /// Writes `[sources][files][classes]` in NumPy's format, and a JSON file beside it with the names along
    /// all three axes, the labels and the views.
    ///
    /// - Throws: `FileError`; existing files are then unchanged.
    public func write(_ path: String) throws {
        func forEachRow(_ body: ([Float]) throws -> Void) rethrows {
            for source in sources.indices {
                for file in files.indices { try body(values(of: file, source: source)) }
            }
        }
        // The checksum of the array's bits ties the JSON file to this array.
        var checksum = FNVHash()
        forEachRow { Posteriors.add($0, to: &checksum) }
        // The names are on the disk under a temporary name before the array is renamed.
        try AtomicFile.write(Posteriors.sidecar(path)) { output in
            try output.write(Array((names(checksum).text + "\n").utf8))
            try output.synchronize()
            try NPYFile.write(path, shape: [sources.count, files.count, classes.count]) { append in
                try forEachRow { try append($0) }
            }
        }
    }

    private static func add(_ values: [Float], to checksum: inout FNVHash) {
        for value in values { checksum.add(UInt64(value.bitPattern)) }
    }

    private func names(_ checksum: FNVHash) -> JSON {
        [
            "models": models, "classes": classes, "files": files, "labels": labels,
            "checksum": String(checksum.value, radix: 16),
            "sources": sources.map { source -> JSON in
                ["model": source.model] + source.view.json + ["seconds": source.seconds]
            }, "unknown_classes": unknownClasses, "left_out": leftOut,
        ]
    }

    /// Reads the files that `write` has written.
    ///
    /// - Parameter names: the file that describes the axes; the one beside the array by default.
    /// - Throws: `FileError`.
    public static func read(_ path: String, names: String? = nil) throws -> Posteriors {
        let array = try NPYFile(path)
        let name = names ?? sidecar(path)
        guard let bytes = FileManager.default.contents(atPath: name) else {
            throw FileError(
                path: name, found: "no such file",
                expected: "the names of classes and files, which were written beside \(path)",
                remedy: "Copy both files together")
        }
        func wrong(_ found: String) -> FileError {
            FileError(
                path: name, found: found,
                expected: "the names that were written beside an array of shape \(array.shape)",
                remedy: "Copy both files together, or write them again")
        }
        func require(_ condition: Bool, else found: @autoclosure () -> String) throws {
            if !condition { throw wrong(found()) }
        }
        let head: JSON
        do { head = try JSON.parse(Array(bytes)) } catch { throw wrong("it is not valid JSON (\(error))") }
        func list<Value>(_ key: String, _ value: (JSON) -> Value?) throws -> [Value] {
            guard let elements = head[key]?.array else { throw wrong("no list '\(key)'") }
            return try elements.map {
                guard let value = value($0) else {
                    throw wrong("'\(key)' has an element that does not belong there")
                }
                return value
            }
        }
        let models = try list("models", \.string)
        let classes = try list("classes", \.string)
        let files = try list("files", \.string)
        let labels = try list("labels", \.integer)
        let sources = try list("sources") { entry -> Source? in
            guard let model = entry["model"]?.integer, models.indices.contains(model),
                let shortSide = entry["short_side"]?.integer, (1...1 << 20).contains(shortSide),
                case .bool(let isDense)? = entry["dense"], case .bool(let isMirrored)? = entry["mirrored"]
            else { return nil }
            let seconds = entry["seconds"]?.double ?? 0
            guard seconds.isFinite, seconds >= 0 else { return nil }
            let view = View(shortSide: shortSide, isDense: isDense, isMirrored: isMirrored)
            return Source(model: model, view: view, seconds: seconds)
        }
        try require(
            array.shape == [sources.count, files.count, classes.count],
            else: "\(sources.count) sources, \(files.count) files and \(classes.count) classes")
        try require(
            labels.count == files.count && labels.allSatisfy { classes.indices.contains($0) },
            else: "labels that are not one class for each file")
        try require(
            Set(classes).count == classes.count && !sources.isEmpty && !files.isEmpty,
            else: "a class twice, or nothing at all")
        try require(Set(sources.map(\.model)).count == models.count, else: "a model without a view")
        let unknownClasses = try list("unknown_classes") { entry -> [String]? in
            let names = entry.array?.compactMap(\.string)
            return names?.count == entry.array?.count ? names : nil
        }
        let leftOut = try list("left_out", \.string)
        try require(
            unknownClasses.count == models.count,
            else: "'unknown_classes' of \(unknownClasses.count) models")
        let (rows, row) = (sources.count * files.count, classes.count)
        // The array may be larger than memory, so it is read in pieces.
        var checksum = FNVHash()
        let some = max(1, (1 << 20) / row)
        for first in stride(from: 0, to: rows, by: some) {
            let piece = try array.values(first * row..<min(rows, first + some) * row)
            try require(
                piece.allSatisfy { (0...1.001).contains($0) },
                else: "an array of numbers that are no posteriors")
            add(piece, to: &checksum)
        }
        try require(
            head["checksum"] == .string(String(checksum.value, radix: 16)),
            else: "the names of another array")
        let values = try SpooledFloats { append in
            for file in files.indices {
                for source in sources.indices {
                    let start = (source * files.count + file) * row
                    try append(try array.values(start..<start + row))
                }
            }
        }
        return Posteriors(
            models: models, classes: classes, files: files, labels: labels, sources: sources,
            unknownClasses: unknownClasses, leftOut: leftOut, values: values)
    }

    /// Joins several tables of the same photographs; classes are matched by name.
    ///
    /// - Parameter names: the tables' names for errors.
    /// - Throws: `EvaluationError` if their photographs or labels differ.
    public static func joined(_ tables: [Posteriors], names: [String]) throws -> Posteriors {
        guard let first = tables.first else { throw EvaluationError("no posteriors were given") }
        if tables.count == 1 { return first }
        let classes = union(tables.map(\.classes))
        // The first table's classes come first, so its labels stay valid.
        let labels = first.labels.map { classes[$0] }
        for (table, name) in zip(tables, names).dropFirst() {
            guard table.files == first.files else {
                let place =
                    Array(zip(table.files, first.files)).firstIndex { $0 != $1 }
                    ?? min(table.files.count, first.files.count)
                func file(_ table: Posteriors) -> String {
                    place < table.files.count ? table.files[place] : "nothing more"
                }
                throw EvaluationError(
                    "\(name): other photographs than \(names[0]): file \(place + 1) is \(file(table)) and "
                        + "not \(file(first)); evaluate both on the same photographs")
            }
            if let place = table.labels.indices.first(where: { table.classes[table.labels[$0]] != labels[$0] }
            ) {
                throw EvaluationError(
                    "\(name): \(table.files[place]) is labelled \(table.classes[table.labels[place]]), "
                        + "in \(names[0]) \(labels[place])")
            }
        }
        let places = tables.map { ClassPlaces(of: $0.classes, in: classes) }
        let values = try SpooledFloats { append in
            for file in first.files.indices {
                for (table, places) in zip(tables, places) {
                    for source in table.sources.indices {
                        try append(places.spread(table.values(of: file, source: source)))
                    }
                }
            }
        }
        var models = 0
        var sources: [Source] = []
        for table in tables {
            sources += table.sources.map {
                Source(model: $0.model + models, view: $0.view, seconds: $0.seconds)
            }
            models += table.models.count
        }
        let unknownClasses = tables.flatMap { table in
            table.unknownClasses.map { unknown(to: Set(table.classes).subtracting($0), of: classes) }
        }
        return Posteriors(
            models: tables.flatMap(\.models), classes: classes, files: first.files,
            labels: first.labels, sources: sources, unknownClasses: unknownClasses,
            leftOut: union(tables.map(\.leftOut)), values: values)
    }
}
