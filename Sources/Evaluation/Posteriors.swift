import Basics
import Foundation

/// What several models, each in several views, think of the same photographs: mixed at will without running
/// anything again.
public struct Posteriors: Sendable {
    /// One view of one model.
    public struct Source: Sendable, Equatable {
        /// Index into `models`.
        public let model: Int
        public let view: View
        /// Spent on the device for all photographs, reading them left out; 0 where it is not known.
        public var seconds: Double

        public init(model: Int, view: View, seconds: Double = 0) {
            self.model = model
            self.view = view
            self.seconds = seconds
        }
    }

    /// Some sources with their shares of a mean, which add up to 1.
    public struct Mixture: Sendable, Equatable {
        public let members: [(source: Int, share: Double)]

        /// - Parameter members: weights of any size.
        init(_ members: [(source: Int, weight: Double)]) {
            // By the largest first: weights that are very large must not overflow.
            let largest = members.map(\.weight).max() ?? 1
            let total = members.reduce(0) { $0 + $1.weight / largest }
            self.members = members.map { ($0.source, $0.weight / largest / total) }
        }

        public static func == (a: Mixture, b: Mixture) -> Bool { a.members.elementsEqual(b.members, by: ==) }
    }

    /// As they were named on the command line.
    public let models: [String]
    /// The classes that any model knows, in the order of the first that does; a model that does not know a
    /// class gives it 0.
    public let classes: [String]
    public let files: [String]
    /// For each file an index into `classes`.
    public let labels: [Int]
    public let sources: [Source]
    /// For each model the classes that it does not know.
    public let unknownClasses: [[String]]
    /// What was wrong with photographs that could not be used.
    public let leftOut: [String]
    /// `[files][sources][classes]`: what is looked at together lies together.
    private let values: SpooledFloats

    /// - Precondition: a value for each file, source and class.
    init(
        models: [String], classes: [String], files: [String], labels: [Int], sources: [Source],
        unknownClasses: [[String]], leftOut: [String], values: SpooledFloats
    ) {
        precondition(
            values.count == files.count * sources.count * classes.count,
            "a number for each file, source and class")
        self.models = models
        self.classes = classes
        self.files = files
        self.labels = labels
        self.sources = sources
        self.unknownClasses = unknownClasses
        self.leftOut = leftOut
        self.values = values
    }

    /// All names of several lists, each once, in the order in which they first come.
    public static func union(_ lists: [[String]]) -> [String] {
        var seen = Set<String>()
        return lists.flatMap { $0 }.filter { seen.insert($0).inserted }
    }

    /// Brings a model's posteriors to the places that their classes have in a longer list.
    struct ClassPlaces {
        private let places: [Int]
        private let count: Int

        init(of own: [String], in all: [String]) {
            let all = Dictionary(all.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
            places = own.compactMap { all[$0] }
            count = all.count
        }

        /// A value for each class of the longer list, 0 where `values`, one for each of the model's own, has
        /// none.
        func spread(_ values: some Collection<Float>) -> [Float] {
            var result = [Float](repeating: 0, count: count)
            for (place, value) in zip(places, values) { result[place] = value }
            return result
        }
    }

    // MARK: - Means

    /// The views of each model with equal shares of its weight.
    ///
    /// - Parameter weights: of the models; equal unless given.
    public func mixture(_ sources: [Int], weights: [Double]? = nil) -> Mixture {
        let counts = Dictionary(sources.map { (self.sources[$0].model, 1) }, uniquingKeysWith: +)
        // What has no weight is no member: it adds nothing, and costs nothing.
        return Mixture(
            sources.map { index in
                let model = self.sources[index].model
                return (index, (weights?[model] ?? 1) / Double(counts[model] ?? 1))
            }.filter { $0.1 > 0 })
    }

    /// Calls `body` with all that is known of one photograph, `[sources][classes]`.
    func withValues<Result>(of file: Int, _ body: (UnsafeBufferPointer<Float>) throws -> Result) rethrows
        -> Result
    {
        let count = sources.count * classes.count
        return try values.withValues(file * count..<(file + 1) * count, body)
    }

    /// What one source says of one photograph, a value for each class.
    public func values(of file: Int, source: Int) -> [Float] {
        withValues(of: file) { Array($0[source * classes.count..<(source + 1) * classes.count]) }
    }

    /// Σ share · posterior for one photograph, a value for each class.
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

    /// How the means of several mixtures do, in one pass over the photographs.
    ///
    /// - Parameter verdict: called for each photograph and mixture.
    public func metrics(
        _ mixtures: [Mixture],
        verdict: (_ file: Int, _ mixture: Int, Metrics.Verdict) -> Void = { _, _, _ in }
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
                    verdict(
                        file, index, mean.withUnsafeBufferPointer { metrics[index].count($0, label: label) })
                }
            }
        }
        return metrics
    }

    /// How one mixture does.
    public func metrics(_ mixture: Mixture) -> Metrics { metrics([mixture])[0] }

    // MARK: - Files

    /// The file beside the array that says what its axes are.
    public static func sidecar(_ path: String) -> String { path + ".json" }

    /// Writes `[sources][files][classes]` in NumPy's format, and beside it the names of all three axes, the
    /// labels and the views.
    ///
    /// - Throws: `FileError`; both files are then as they were before.
    public func write(_ path: String) throws {
        func forEachRow(_ body: ([Float]) throws -> Void) rethrows {
            for source in sources.indices {
                for file in files.indices { try body(values(of: file, source: source)) }
            }
        }
        // Of the array's bits, so that a sidecar is never taken for another array's.
        var checksum = Checksum()
        forEachRow { checksum.add($0) }
        // The names are on the disk, under another name, before the array takes its place.
        try AtomicFile.write(Posteriors.sidecar(path)) { output in
            try output.write(Array((names(checksum).text + "\n").utf8))
            try output.synchronize()
            try NPYFile.write(path, shape: [sources.count, files.count, classes.count]) { append in
                try forEachRow { try append($0) }
            }
        }
    }

    private struct Checksum {
        private var hash: UInt64 = 0xCBF2_9CE4_8422_2325

        mutating func add(_ values: [Float]) {
            for value in values { hash = (hash ^ UInt64(value.bitPattern)) &* 0x0000_0100_0000_01B3 }
        }

        var text: String { String(hash, radix: 16) }
    }

    private func names(_ checksum: Checksum) -> JSON {
        let strings = { (list: [String]) in JSON.array(list.map { .string($0) }) }
        return .object([
            .init("models", strings(models)), .init("classes", strings(classes)),
            .init("files", strings(files)), .init("labels", .array(labels.map { .integer($0) })),
            .init("checksum", .string(checksum.text)),
            .init(
                "sources",
                .array(
                    sources.map {
                        .object([
                            .init("model", .integer($0.model)),
                            .init("short_side", .integer($0.view.shortSide)),
                            .init("dense", .bool($0.view.isDense)),
                            .init("mirrored", .bool($0.view.isMirrored)),
                            .init("seconds", .number($0.seconds)),
                        ])
                    })), .init("unknown_classes", .array(unknownClasses.map(strings))),
            .init("left_out", strings(leftOut)),
        ])
    }

    /// Reads what `write` wrote.
    ///
    /// - Parameter names: the file that says what the axes are; the one beside the array unless given.
    /// - Throws: `FileError`.
    public static func read(_ path: String, names: String? = nil) throws -> Posteriors {
        let array = try NPYFile(path)
        let name = names ?? sidecar(path)
        guard let bytes = FileManager.default.contents(atPath: name) else {
            throw FileError(
                path: name, found: "no such file",
                expected: "the names of classes and files, which --save-posteriors puts beside \(path)",
                remedy: "Copy both files together")
        }
        func wrong(_ found: String) -> FileError {
            FileError(
                path: name, found: found,
                expected: "what --save-posteriors wrote beside an array of shape \(array.shape)",
                remedy: "Copy both files together, or write them again")
        }
        let head: JSON
        do { head = try JSON.parse(Array(bytes)) } catch { throw wrong("it is not valid JSON (\(error))") }
        func list<Value>(_ key: String, _ value: (JSON) -> Value?) throws -> [Value] {
            guard case .array(let elements)? = head[key] else { throw wrong("no list '\(key)'") }
            return try elements.map {
                guard let value = value($0) else {
                    throw wrong("'\(key)' has an element that does not belong there")
                }
                return value
            }
        }
        let string = { (value: JSON) -> String? in if case .string(let text) = value { text } else { nil } }
        let integer = { (value: JSON?) -> Int? in
            if case .integer(let number)? = value { number } else { nil }
        }
        let models = try list("models", string)
        let classes = try list("classes", string)
        let files = try list("files", string)
        let labels = try list("labels") { integer($0) }
        let sources = try list("sources") { entry -> Source? in
            guard let model = integer(entry["model"]), models.indices.contains(model),
                let shortSide = integer(entry["short_side"]), (1...1 << 20).contains(shortSide),
                case .bool(let isDense)? = entry["dense"], case .bool(let isMirrored)? = entry["mirrored"]
            else { return nil }
            let seconds: Double =
                switch entry["seconds"] {
                case .number(let value): value
                case .integer(let value): Double(value)
                default: 0
                }
            guard seconds.isFinite, seconds >= 0 else { return nil }
            return Source(
                model: model, view: View(shortSide: shortSide, isDense: isDense, isMirrored: isMirrored),
                seconds: seconds)
        }
        guard array.shape == [sources.count, files.count, classes.count] else {
            throw wrong("\(sources.count) sources, \(files.count) files and \(classes.count) classes")
        }
        guard labels.count == files.count, labels.allSatisfy({ classes.indices.contains($0) }) else {
            throw wrong("labels that are not one class for each file")
        }
        guard Set(classes).count == classes.count, !sources.isEmpty, !files.isEmpty else {
            throw wrong("a class twice, or nothing at all")
        }
        guard models.indices.allSatisfy({ model in sources.contains { $0.model == model } }) else {
            throw wrong("a model without a view")
        }
        let unknownClasses = try list("unknown_classes") { entry -> [String]? in
            guard case .array(let names) = entry else { return nil }
            let texts = names.compactMap(string)
            return texts.count == names.count ? texts : nil
        }
        let leftOut = try list("left_out", string)
        guard unknownClasses.count == models.count else {
            throw wrong("'unknown_classes' of \(unknownClasses.count) models")
        }
        let (rows, row) = (sources.count * files.count, classes.count)
        // In pieces, since the array may be more than memory holds.
        var checksum = Checksum()
        let some = max(1, (1 << 20) / row)
        for first in stride(from: 0, to: rows, by: some) {
            let piece = try array.values(first * row..<min(rows, first + some) * row)
            guard piece.allSatisfy({ $0 >= 0 && $0 <= 1.001 }) else {
                throw wrong("an array of numbers that are no posteriors")
            }
            checksum.add(piece)
        }
        guard case .string(let kept)? = head["checksum"], kept == checksum.text else {
            throw wrong("the names of another array")
        }
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

    /// Puts several tables of the same photographs together; classes are matched by name.
    ///
    /// - Parameter names: of the tables, for errors.
    /// - Throws: `EvaluationError` where their photographs or labels differ.
    public static func joined(_ tables: [Posteriors], names: [String]) throws -> Posteriors {
        guard let first = tables.first else { throw EvaluationError("no posteriors were given") }
        if tables.count == 1 { return first }
        let classes = union(tables.map(\.classes))
        // The labels of the first table are right as they are: its classes come first.
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
                    "\(name): other photographs than \(names[0]): file \(place + 1) is \(file(table)) and not \(file(first)); "
                        + "evaluate both on the same ones")
            }
            if let place = table.labels.indices.first(where: { table.classes[table.labels[$0]] != labels[$0] }
            ) {
                throw EvaluationError(
                    "\(name): \(table.files[place]) is labelled \(table.classes[table.labels[place]]), in \(names[0]) \(labels[place])"
                )
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
            table.unknownClasses.map { own in
                let known = Set(table.classes).subtracting(own)
                return classes.filter { !known.contains($0) }
            }
        }
        return Posteriors(
            models: tables.flatMap(\.models), classes: classes, files: first.files,
            labels: first.labels, sources: sources, unknownClasses: unknownClasses,
            leftOut: union(tables.map(\.leftOut)), values: values)
    }
}
