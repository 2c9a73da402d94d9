import Basics
import Foundation
import Randomness
import Synchronization

/// Rewrites photographs as tar archives from which training reads, resized and in shuffled order.
///
/// The archives depend only on the photographs and the options, not on the number of threads or on
/// interruptions. Each archive is written under another name, renamed when it is complete, and recorded. A
/// run that was killed continues behind the last archive that is recorded.
public final class Preparation {
    public struct Options: Sendable, Equatable {
        /// What `openPhotographs` reads.
        public var source: String
        public var labels: String?
        public var out: String
        /// The values that `prepare` has by default.
        public static let usualShortSide = 256
        public static let usualArchiveBytes = 256 << 20

        /// What the shorter side of each photograph becomes at most, one set of archives for each.
        public var shortSides: [Int]
        /// JPEG's quality, one of `JPEGQuality.legal`.
        public var quality: Int
        public var workers: Int
        /// An archive is closed when it has this many bytes.
        public var archiveBytes = usualArchiveBytes

        public init(
            source: String, labels: String? = nil, out: String,
            shortSides: [Int] = [usualShortSide], quality: Int = JPEGQuality.usual, workers: Int
        ) {
            (self.source, self.labels, self.out) = (source, labels, out)
            (self.shortSides, self.quality, self.workers) = (shortSides, quality, workers)
        }
    }

    public struct Progress: Sendable {
        public let done, total: Int
        /// The photographs that an earlier run has finished.
        public let resumed: Int
        public let badFiles: Int
    }

    public struct Summary: Sendable {
        /// The folders that were written, one for each short side.
        public let folders: [String]
        public let photographs: Int
        /// What is wrong with those that could not be read.
        public let badFiles: [String]
        public let archives: Int
        public let byteCount: Int
        /// The photographs that an earlier run had finished.
        public let resumed: Int
        /// The share of the time that the threads decoded, resized and encoded; 1 if nothing held them up.
        public let busy: Double
    }

    /// One part of the photographs, such as the one for training.
    private struct Part: Sendable {
        let name: String
        let source: any PhotographSource
        /// The label of each of the source's classes among all classes.
        let labels: [Int]
        /// The photographs in the order in which they are written.
        let order: [Int]
        let keys: Names
        /// The number of its first photograph among those of all parts.
        let start: Int
    }

    private let options: Options
    private let parts: [Part]
    private let classes: [String]
    private let words: [String: String]
    private let count: Int
    /// Changes with the photographs, and with the options that change the archives.
    private let identity: String
    /// What is not used of the source, and what a user should know about it.
    public let remarks: [String]
    /// The files that are not used.
    public let unused: UnusedFiles

    /// Lists the photographs.
    ///
    /// - Throws: `DatasetError`.
    public init(_ options: Options) throws {
        self.options = options
        let source = options.source
        let found = try openPhotographs(source, labels: options.labels)
        let sources = [(found.training, false), (found.validation, true)].compactMap { source, isValidation in
            source.map { ($0, isValidation) }
        }
        classes = Set(sources.flatMap(\.0.classes)).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        let labels = Dictionary(uniqueKeysWithValues: zip(classes, 0...))
        var hash = FNVHash()
        var start = 0
        var parts: [Part] = []
        for (source, isValidation) in sources {
            var random = Philox(seed: 0, purpose: .shuffle, index: UInt32(parts.count))
            parts.append(
                Part(
                    name: isValidation ? "val" : Self.name(source, isAlone: found.validation == nil),
                    source: source, labels: source.classes.map { labels[$0] ?? 0 },
                    order: random.permutation(source.count), keys: Self.keys(source), start: start))
            start += source.count
            ImageSet(source).addFingerprint(to: &hash)
        }
        guard start > 0 else {
            throw DatasetError.noPhotographs(in: [source])
        }
        (self.parts, count) = (parts, start)
        identity =
            "\(String(hash.value, radix: 16)) quality \(options.quality) archives of \(options.archiveBytes)"
        words = ClassWords.read(near: source)
        remarks = found.notes + found.unused.lines
        unused = found.unused
    }

    /// Returns the name of a part without a validation part beside it: that of its folder, if it has one.
    private static func name(_ source: any PhotographSource, isAlone: Bool) -> String {
        guard isAlone, source.count > 0 else { return "train" }
        let folder = source.name(0).split(separator: "/").first.map(String.init) ?? ""
        return FolderRole(folder) == .training ? "train" : "photographs"
    }

    // MARK: - Names

    /// Returns the key of each photograph: its class, a slash, and its name without its ending.
    ///
    /// WebDataset takes all behind the first dot of a name for its kind, so dots become underscores.
    static func keys(_ source: any PhotographSource) -> Names {
        var keys = Names()
        var known: Set<UInt64> = []
        let classes = source.classes.map { safe($0.replacing("/", with: "_")) }
        for index in 0..<source.count {
            let name = source.nameInClass(index)
            var parts = name.split(separator: "/").map(String.init)
            if let last = parts.popLast() {
                let hasEnding = Array(last.utf8).withUnsafeBytes { isPhotographName($0) }
                let stem = hasEnding ? last[..<(last.lastIndex(of: ".") ?? last.endIndex)] : last[...]
                parts.append(String(stem).replacing(".", with: "_"))
            }
            let key = ([classes[source.label(index)]] + parts.map(safe)).joined(separator: "/")
            var unique = key
            var number = 2
            while !known.insert(nameHash(unique)).inserted {
                unique = "\(key)-\(number)"
                number += 1
            }
            keys.append(unique.utf8)
        }
        return keys
    }

    /// Returns a folder's name that is not left out as one of an operating system.
    private static func safe(_ name: String) -> String {
        let isSystem = Array(name.utf8).withUnsafeBytes { $0.isEmpty || FolderListing.isSystemName($0) }
        return isSystem ? "_" + name : name
    }

    // MARK: - Running

    /// Writes the archives, or those that an interrupted run has not written.
    ///
    /// - Parameter progress: called after each photograph; what it throws ends the run.
    /// - Throws: `DatasetError`, `FileError`.
    public func run(_ progress: (Progress) throws -> Void = { _ in }) throws -> Summary {
        let folders = options.shortSides.map {
            options.shortSides.count == 1 ? options.out : "\(options.out)/\($0)"
        }
        let series = try zip(folders, options.shortSides).map { folder, shortSide in
            try ArchiveSeries(
                folder, identity: "\(identity) short side \(shortSide)",
                archiveBytes: options.archiveBytes, count: count)
        }
        let first = series.map(\.next).min() ?? 0
        let start = ContinuousClock.now
        let work = try work(first)
        defer { work.stop() }
        var badFiles = Set(series.flatMap { $0.badFiles.map(\.item) })
        var item = first
        for part in parts {
            let end = part.start + part.source.count
            while item < end {
                let result = try work.next()
                if result.problem != nil { badFiles.insert(item) }
                for (series, output) in zip(series, result.outputs) {
                    try series.add(
                        item, part: part.name, output, name: part.source.name(part.order[item - part.start]),
                        problem: result.problem)
                }
                item += 1
                try progress(Progress(done: item, total: count, resumed: first, badFiles: badFiles.count))
            }
            for series in series { try series.endPart(at: end) }
        }
        work.stop()
        let seconds = (ContinuousClock.now - start).seconds
        for (series, shortSide) in zip(series, options.shortSides) { try finish(series, shortSide) }
        return Summary(
            folders: folders, photographs: count - badFiles.count,
            badFiles: (series.first?.badFiles ?? []).map(\.problem),
            archives: series.reduce(0) { $0 + $1.records.count },
            byteCount: series.reduce(0) { $0 + $1.records.reduce(0) { $0 + $1.byteCount } }, resumed: first,
            busy: work.workerSeconds / max(seconds * Double(options.workers), 1e-9))
    }

    /// What becomes of one photograph.
    fileprivate struct Result: Sendable {
        /// The members of the sample, for each short side; empty if the photograph cannot be read.
        var outputs: [Output?]
        var problem: String?
    }

    struct Output: Sendable {
        let key: String
        let jpeg, cls, json: [UInt8]
        let sums: ChannelSums
    }

    /// Starts the threads that read, resize and encode.
    private func work(_ first: Int) throws -> OrderedWork<Result> {
        let (parts, options, classes) = (parts, options, classes)
        // Closing an archive waits for the disk, and the threads continue meanwhile.
        return try OrderedWork(first..<count, workers: options.workers, window: 256 * options.workers) {
            let reader = try ImageReader()
            let (file, pixels) = (ByteBuffer(), ByteBuffer())
            return { item in
                let part = parts.last { $0.start <= item } ?? parts[0]
                let index = part.order[item - part.start]
                let label = part.labels[part.source.label(index)]
                do {
                    let bytes = try part.source.bytes(index, buffer: file)
                    let outputs = try options.shortSides.map { shortSide -> Output? in
                        let size = try reader.read(
                            bytes, name: part.source.location(index),
                            shortSide: shortSide, enlarges: false, into: pixels)
                        var sums = ChannelSums()
                        sums.add(pixels.bytes, width: size.width, height: size.height)
                        // A JPEG file that is small enough keeps its bytes, and so its quality.
                        let original = min(reader.lastSize.width, reader.lastSize.height)
                        let keeps = PictureFormat(content: bytes) == .jpeg && original <= shortSide
                        let json: JSON = [
                            "name": part.source.name(index), "class": classes[label],
                            "width": size.width, "height": size.height,
                        ]
                        return Output(
                            key: part.keys.text(index),
                            jpeg: keeps
                                ? Array(bytes)
                                : try encodeJPEG(
                                    DecodedImage(
                                        width: size.width, height: size.height,
                                        pixels: Array(
                                            UnsafeBufferPointer(
                                                start: pixels.bytes, count: 3 * size.width * size.height))),
                                    quality: options.quality),
                            cls: Array(String(label).utf8), json: Array(json.text.utf8), sums: sums)
                    }
                    return Result(outputs: outputs, problem: nil)
                } catch {
                    let error = ImageError(error, file: part.source.location(index))
                    return Result(
                        outputs: options.shortSides.map { _ in nil }, problem: error.description)
                }
            }
        }
    }

    // MARK: - What stands beside the archives

    private func finish(_ series: ArchiveSeries, _ shortSide: Int) throws {
        guard !series.isComplete else { return try clean(series) }
        let bad = Set(series.badFiles.map(\.item))
        let classNames = classes
        var counts = [[Int]](repeating: [Int](repeating: 0, count: parts.count), count: classes.count)
        for (number, part) in parts.enumerated() {
            for place in part.order.indices where !bad.contains(part.start + place) {
                counts[part.labels[part.source.label(part.order[place])]][number] += 1
            }
        }
        guard bad.count < count else {
            throw DatasetError(
                .emptyClass,
                "\(options.source): none of its \(count) photographs can be read: "
                    + (series.badFiles.first?.problem ?? ""))
        }
        let list = classNames.map { name in name + (words[name].map { "\t" + $0 } ?? "") + "\n" }
        try AtomicFile.write(series.folder + "/" + ArchiveSet.classListName, Array(list.joined().utf8))
        if !bad.isEmpty {
            let lines = series.badFiles.map { $0.problem + "\n" }.joined()
            try AtomicFile.write(series.folder + "/bad-files.txt", Array(lines.utf8))
        }
        let sums = series.records.reduce(into: ChannelSums()) { $0.add($1.sums) }
        let described = classNames.indices.map { label -> JSON in
            let numbers = zip(parts, counts[label]).map { JSON.Member($0.name, .integer($1)) }
            let name: JSON = ["name": classNames[label]]
            let words: JSON = words[classNames[label]].map { ["words": $0] } ?? [:]
            return name + words + ["photographs": JSON.object(numbers)]
        }
        let manifest: JSON = [
            "format": Manifest.format, "prepared": series.identity, "short_side": shortSide,
            "quality": options.quality, "photographs": count - bad.count, "bad_files": bad.count,
            "statistics": sums.json, "archives": series.records.map(\.manifestEntry), "classes": described,
        ]
        try AtomicFile.write(
            series.folder + "/" + ArchiveSet.manifestName, Array((manifest.text + "\n").utf8))
        try clean(series)
    }

    /// Removes what only an interrupted run needs, and makes the index.
    private func clean(_ series: ArchiveSeries) throws {
        try series.removeRecords()
        if let set = try ArchiveSet(series.folder) { _ = try ArchivedPhotographs.open(set) }
    }

    /// Compares archives with the checksums of their manifest, and the photographs in them with their number.
    ///
    /// - Parameter progress: called with the archives that were compared and their number.
    /// - Throws: `DatasetError` that names the archives that differ.
    public static func verify(
        _ folder: String, workers: Int, _ progress: @escaping @Sendable (Int, Int) -> Void = { _, _ in }
    ) throws -> (archives: Int, photographs: Int) {
        let path = folder + "/" + ArchiveSet.manifestName
        guard let manifest = try Manifest(path: path, mustBeOne: true) else {
            throw DatasetError(.badArchive(.badManifest), "\(path): not a manifest")
        }
        guard let set = try ArchiveSet(folder) else {
            throw DatasetError(.badArchive(.badManifest), "\(path): lists no archives")
        }
        let archives = manifest.archives
        let problems = archives.indices.map { _ in Outcome() }
        let done = Outcome()
        runWorkers(workers, count: archives.count) { _, number in
            let file = set.file(archives[number].path)
            do {
                if try checksum(file) != archives[number].sha256 {
                    problems[number].text.withLock { $0 = file }
                }
            } catch { problems[number].text.withLock { $0 = "\(error)" } }
            progress(
                done.count.withLock {
                    $0 += 1; return $0
                }, archives.count)
        }
        let wrong = problems.compactMap { $0.text.withLock { $0 } }
        guard wrong.isEmpty else {
            throw DatasetError(
                .badArchive(.damaged),
                "\(wrong.listed(atMost: 5)): the content is not that of \(path)")
        }
        let found = try ArchivedPhotographs.open(set)
        let count = (found.training?.count ?? 0) + (found.validation?.count ?? 0)
        let expected = archives.reduce(0) { $0 + $1.photographs }
        guard count == expected else {
            throw DatasetError(
                .badArchive(.damaged), "\(folder): \(count) photographs, and \(path) says \(expected)")
        }
        return (archives.count, count)
    }

    private final class Outcome: Sendable {
        let text = Mutex<String?>(nil)
        let count = Mutex(0)
    }

    /// Returns the SHA-256 of a file.
    static func checksum(_ path: String) throws -> String {
        let file = try FileDescriptor(path, O_RDONLY)
        let size = try file.size()
        var hash = SHA256()
        let chunk = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 8)
        defer { chunk.deallocate() }
        for start in stride(from: 0, to: size, by: chunk.count) {
            let part = UnsafeMutableRawBufferPointer(rebasing: chunk[..<min(chunk.count, size - start)])
            try file.read(into: part, at: start)
            hash.add(UnsafeRawBufferPointer(part))
        }
        return hash.text
    }
}
