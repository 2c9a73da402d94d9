import Foundation
import ImageData
import ModelFiles

/// What several models, each in several views, think of the same photographs: mixed at will without running anything again.
public struct Posteriors: Sendable, Equatable {
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

    /// As they were named on the command line.
    public var models: [String]
    /// The classes that any model knows, in the order of the first that does; a model that does not know a class gives it 0.
    public var classes: [String]
    public var files: [String]
    /// For each file an index into `classes`; empty where nobody knows them.
    public var labels: [Int]
    public var sources: [Source]
    /// For each source `[files][classes]`.
    public var values: [[Float]]

    public init(models: [String], classes: [String], files: [String], labels: [Int], sources: [Source], values: [[Float]]) {
        self.models = models
        self.classes = classes
        self.files = files
        self.labels = labels
        self.sources = sources
        self.values = values
    }

    /// All names of several lists, each once, in the order in which they first come.
    public static func union(_ lists: [[String]]) -> [String] {
        var seen = Set<String>()
        return lists.flatMap { $0 }.filter { seen.insert($0).inserted }
    }

    /// Columns of `[rows][from]` brought to the places that their names have in `to`; zeros elsewhere.
    public static func matched(_ values: [Float], from: [String], to: [String]) -> [Float] {
        if from == to { return values }
        let places = Dictionary(to.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
        let targets = from.map { places[$0] ?? -1 }
        let rows = values.count / max(1, from.count)
        var result = [Float](repeating: 0, count: rows * to.count)
        for row in 0..<rows {
            for (column, target) in targets.enumerated() where target >= 0 {
                result[row * to.count + target] = values[row * from.count + column]
            }
        }
        return result
    }

    /// Σ weight · posterior / Σ weight, `[files][classes]`.
    public func mean(_ members: [(source: Int, weight: Double)]) -> [Float] {
        // By the largest first: weights that are very large must not overflow.
        let largest = members.map(\.weight).max() ?? 1
        let total = members.reduce(0) { $0 + $1.weight / largest }
        guard let first = members.first else { return [] }
        if members.count == 1 { return values[first.source] }
        var sums = [Double](repeating: 0, count: values[first.source].count)
        for member in members {
            let weight = member.weight / largest / total
            values[member.source].withUnsafeBufferPointer { source in
                for index in sums.indices { sums[index] += weight * Double(source[index]) }
            }
        }
        return sums.map { Float($0) }
    }

    /// Members for `mean`: the views of each model with equal shares of its weight.
    ///
    /// - Parameter weights: of the models; equal unless given.
    public func members(_ sources: [Int], weights: [Double]?) -> [(source: Int, weight: Double)] {
        let counts = Dictionary(sources.map { (self.sources[$0].model, 1) }, uniquingKeysWith: +)
        return sources.map { index in
            let model = self.sources[index].model
            return (index, (weights?[model] ?? 1) / Double(counts[model] ?? 1))
        }
    }

    /// How the mean of some sources does.
    public func metrics(_ sources: [Int], weights: [Double]? = nil) -> Metrics {
        Metrics(posteriors: mean(members(sources, weights: weights)), labels: labels, classes: classes.count)
    }

    // MARK: - Files

    /// The file beside the array that says what its axes are.
    public static func sidecar(_ path: String) -> String { path + ".json" }

    /// Writes `[sources][files][classes]` in NumPy's format, and beside it the names of all three axes, the labels and the views.
    public func write(_ path: String) throws {
        let isNew = !FileManager.default.fileExists(atPath: path)
        try NPYFile.write(path, shape: [sources.count, files.count, classes.count], slices: values)
        do {
            try writeSidecar(path)
        } catch {
            // An array that nobody can read is no use; one that was there before is noticed by the checksum.
            if isNew { try? FileManager.default.removeItem(atPath: path) }
            throw error
        }
    }

    /// Of the array's bits, so that a sidecar is never taken for another array's.
    private static func checksum(_ values: some Sequence<[Float]>) -> String {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for slice in values { for value in slice { hash = (hash ^ UInt64(value.bitPattern)) &* 0x0000_0100_0000_01B3 } }
        return String(hash, radix: 16)
    }

    private func writeSidecar(_ path: String) throws {
        let strings = { (list: [String]) in JSON.array(list.map { .string($0) }) }
        let head = JSON.object([
            .init("models", strings(models)), .init("classes", strings(classes)), .init("files", strings(files)),
            .init("labels", .array(labels.map { .integer($0) })), .init("checksum", .string(Posteriors.checksum(values))),
            .init(
                "sources",
                .array(
                    sources.map {
                        .object([
                            .init("model", .integer($0.model)), .init("short_side", .integer($0.view.shortSide)),
                            .init("dense", .bool($0.view.isDense)), .init("mirrored", .bool($0.view.isMirrored)),
                            .init("seconds", .number($0.seconds)),
                        ])
                    })),
        ])
        try AtomicFile.write(Posteriors.sidecar(path), Array((head.text + "\n").utf8))
    }

    /// Reads what `write` wrote.
    ///
    /// - Throws: `ModelFileError`.
    public static func read(_ path: String) throws -> Posteriors {
        let array = try NPYFile.read(path)
        let name = sidecar(path)
        guard let bytes = FileManager.default.contents(atPath: name) else {
            throw ModelFileError(
                path: name, found: "no such file", expected: "the names of classes and files, which --save-posteriors puts beside \(path)",
                remedy: "Copy both files together")
        }
        func wrong(_ found: String) -> ModelFileError {
            ModelFileError(
                path: name, found: found, expected: "what --save-posteriors wrote beside an array of shape \(array.shape)",
                remedy: "Copy both files together, or write them again")
        }
        let head: JSON
        do {
            head = try JSON.parse(Array(bytes))
        } catch {
            throw wrong("it is not valid JSON (\(error))")
        }
        func list<Value>(_ key: String, _ value: (JSON) -> Value?) throws -> [Value] {
            guard case .array(let elements)? = head[key] else { throw wrong("no list '\(key)'") }
            return try elements.map {
                guard let value = value($0) else { throw wrong("'\(key)' has an element of another type") }
                return value
            }
        }
        let string = { (value: JSON) -> String? in if case .string(let text) = value { text } else { nil } }
        let integer = { (value: JSON?) -> Int? in if case .integer(let number)? = value { number } else { nil } }
        let models = try list("models", string)
        let classes = try list("classes", string)
        let files = try list("files", string)
        let labels = try list("labels") { integer($0) }
        let sources = try list("sources") { entry -> Source? in
            guard let model = integer(entry["model"]), models.indices.contains(model), let shortSide = integer(entry["short_side"]),
                case .bool(let isDense)? = entry["dense"], case .bool(let isMirrored)? = entry["mirrored"]
            else { return nil }
            let seconds: Double =
                switch entry["seconds"] {
                case .number(let value): value
                case .integer(let value): Double(value)
                default: 0
                }
            return Source(model: model, view: View(shortSide: shortSide, isDense: isDense, isMirrored: isMirrored), seconds: seconds)
        }
        guard array.shape == [sources.count, files.count, classes.count] else {
            throw wrong("\(sources.count) sources, \(files.count) files and \(classes.count) classes")
        }
        guard labels.count == files.count, labels.allSatisfy({ classes.indices.contains($0) }) else {
            throw wrong("labels that are not one class for each file")
        }
        guard Set(classes).count == classes.count, !sources.isEmpty, !files.isEmpty else { throw wrong("a class twice, or nothing at all") }
        guard models.indices.allSatisfy({ model in sources.contains { $0.model == model } }) else { throw wrong("a model without a view") }
        guard case .string(let checksum)? = head["checksum"], checksum == Posteriors.checksum([array.values]) else {
            throw wrong("the names of another array")
        }
        guard array.values.allSatisfy({ $0 >= 0 && $0 <= 1.001 }) else { throw wrong("an array of numbers that are no posteriors") }
        let size = files.count * classes.count
        return Posteriors(
            models: models, classes: classes, files: files, labels: labels, sources: sources,
            values: sources.indices.map { Array(array.values[$0 * size..<($0 + 1) * size]) })
    }

    /// Puts several tables of the same photographs together; classes are matched by name.
    ///
    /// - Parameter names: of the tables, for errors.
    /// - Throws: `EvaluationError` where their photographs or labels differ.
    public static func joined(_ tables: [Posteriors], names: [String]) throws -> Posteriors {
        guard var result = tables.first else { throw EvaluationError("no posteriors were given") }
        let classes = union(tables.map(\.classes))
        result.values = result.values.map { matched($0, from: result.classes, to: classes) }
        // The labels of the first table are right as they are: its classes come first.
        result.classes = classes
        let labels = result.labels.map { classes[$0] }
        for (table, name) in zip(tables, names).dropFirst() {
            guard table.files == result.files else {
                let place = Array(zip(table.files, result.files)).firstIndex { $0 != $1 } ?? min(table.files.count, result.files.count)
                func file(_ table: Posteriors) -> String { place < table.files.count ? table.files[place] : "nothing more" }
                throw EvaluationError(
                    "\(name): other photographs than \(names[0]): file \(place + 1) is \(file(table)) and not \(file(result)); "
                        + "evaluate both on the same ones")
            }
            if let place = table.labels.indices.first(where: { table.classes[table.labels[$0]] != labels[$0] }) {
                throw EvaluationError(
                    "\(name): \(table.files[place]) is labelled \(table.classes[table.labels[place]]), in \(names[0]) \(labels[place])")
            }
            result.sources += table.sources.map {
                Source(model: $0.model + result.models.count, view: $0.view, seconds: $0.seconds)
            }
            result.models += table.models
            result.values += table.values.map { matched($0, from: table.classes, to: classes) }
        }
        return result
    }
}
