import Basics

/// Counts the files of a folder that are not used, by reason, kind and place, and names the first ones.
///
/// The counts are exact. The kinds, places and names that are stored are bounded.
public struct UnusedFiles: Sendable, Equatable {
    /// Why a file is not used.
    public enum Reason: Int, CaseIterable, Sendable {
        /// A photograph that is in no class folder.
        case outsideClasses
        /// A file of a kind that is not read.
        case otherKind
        /// A file in a folder that is no part of the set.
        case otherFolder
        /// A link to a folder or photograph that is listed already.
        case repeated
        /// A link to nothing.
        case brokenLink
        /// A hidden file or folder, or one that an operating system makes.
        case hidden
        /// A photograph that the list of labels does not name.
        case notListed
        /// A name in the list of labels for which there is no photograph.
        case notOnDisk
        /// A line in the list of labels without a class.
        case noClass
    }

    /// A file that is not used, and why.
    public struct File: Sendable, Equatable {
        /// The path below the folder, or what stands for it, such as a line of a list.
        public let path: String
        /// What kind of file it is, such as `.heic`; may be empty.
        public let kind: String
        public let reason: String
    }

    /// What entries are counted by: other formats of photographs have an entry each.
    private struct Cause: Hashable {
        let reason: Reason
        var format: ForeignFormat?
    }

    private struct Entry: Sendable, Equatable {
        var kinds = FileKinds()
        /// The first few folders or files.
        var places: [String] = []
        var placeCount = 0
    }

    private static let storedPlaces = 3
    private var entries: [Cause: Entry] = [:]
    /// The folders that the files are in, as the user named them; empty if they are in archives.
    var roots: [String] = []

    public init() {}

    public var isEmpty: Bool { entries.isEmpty }

    public static func == (left: UnusedFiles, right: UnusedFiles) -> Bool { left.entries == right.entries }

    /// How many files are not used.
    public var count: Int { entries.values.reduce(0) { $0 + $1.kinds.count } }

    /// How many files are not used for this reason.
    public func count(_ reason: Reason) -> Int {
        entries.reduce(0) { $0 + ($1.key.reason == reason ? $1.value.kinds.count : 0) }
    }

    /// Adds files that are in one folder.
    mutating func add(_ reason: Reason, _ kinds: FileKinds, in folder: String) {
        if reason == .otherKind {
            for (format, kinds) in kinds.byFormat {
                add(Cause(reason: reason, format: format), kinds, folder)
            }
        } else {
            add(Cause(reason: reason), kinds, folder)
        }
    }

    private mutating func add(_ cause: Cause, _ kinds: FileKinds, _ folder: String) {
        guard kinds.count > 0 else { return }
        add(cause, kinds.below(folder), place: folder)
    }

    /// Adds one file, whose place is its own path.
    mutating func add(_ reason: Reason, file path: String, _ kind: FileKind = FileKind("")) {
        var kinds = FileKinds()
        kinds.add(kind, name: path)
        add(Cause(reason: reason), kinds, place: path)
    }

    /// Adds one member of an archive, whose place is the archive.
    mutating func add(_ reason: Reason, _ kind: FileKind, member: some Sequence<UInt8>, of archive: String) {
        var kinds = FileKinds()
        kinds.add(kind, name: archive + ":" + String(decoding: Array(member), as: UTF8.self))
        add(Cause(reason: reason, format: reason == .otherKind ? kind.format : nil), kinds, place: archive)
    }

    /// Adds `count` files of one kind whose names are not known.
    mutating func add(_ reason: Reason, _ kind: String, count: Int = 1, in place: String) {
        var kinds = FileKinds()
        kinds.add(FileKind(kind), count: count)
        add(reason, kinds, in: place)
    }

    /// Adds files whose names are whole paths, and which are in one place.
    private mutating func add(_ cause: Cause, _ kinds: FileKinds, place: String) {
        var entry = entries[cause] ?? Entry()
        entry.kinds.add(kinds)
        // Members of one archive come one by one.
        if entry.places.last != place {
            if entry.places.count < Self.storedPlaces { entry.places.append(place) }
            entry.placeCount += 1
        }
        entries[cause] = entry
    }

    /// Takes a file away that is used as something else, such as a list of labels.
    mutating func remove(_ path: String) {
        let cause = Cause(reason: .otherKind)
        guard var entry = entries[cause], entry.kinds.remove(path) else { return }
        entries[cause] = entry.kinds.count == 0 ? nil : entry
    }

    /// Adds what is not used in another folder.
    public mutating func add(_ other: UnusedFiles) {
        roots += other.roots.filter { !roots.contains($0) }
        for (cause, more) in other.entries {
            var entry = entries[cause] ?? Entry()
            entry.kinds.add(more.kinds)
            entry.places = Array((entry.places + more.places).prefix(Self.storedPlaces))
            entry.placeCount += more.placeCount
            entries[cause] = entry
        }
    }

    /// Returns the same with places that begin with the path of the folder that they are in.
    public func below(_ folder: String) -> UnusedFiles {
        var moved = self
        for (cause, entry) in entries {
            moved.entries[cause]?.places = entry.places.map { $0.isEmpty ? folder : folder + "/" + $0 }
            moved.entries[cause]?.kinds = entry.kinds.below(folder)
        }
        return moved
    }

    private var sorted: [(cause: Cause, entry: Entry)] {
        entries.map { ($0.key, $0.value) }.sorted {
            let (left, right) = ($0.cause, $1.cause)
            return (left.reason.rawValue, left.format?.plural ?? "")
                < (right.reason.rawValue, right.format?.plural ?? "")
        }
    }

    /// The files that are stored: by reason in the order of `lines`, then by name.
    public var files: [File] {
        sorted.flatMap { cause, entry in
            entry.kinds.sortedFiles.map { file in
                File(path: file.name, kind: file.kind.text, reason: Self.reason(cause))
            }
        }
    }

    private static func reason(_ cause: Cause) -> String {
        switch cause.reason {
        case .outsideClasses: "a photograph outside class folders"
        case .otherKind:
            cause.format.map { $0.description + ", which is not read" } ?? "of a kind that is not read"
        case .otherFolder: "in a folder that is no part of the set"
        case .repeated: "a link to what is listed already"
        case .brokenLink: "a link to nothing"
        case .hidden: "hidden, or made by an operating system"
        case .notListed: "not in the list of labels"
        case .notOnDisk: "in the list of labels, but not on disk"
        case .noClass: "a line of the list of labels without a class"
        }
    }

    /// Photographs in other formats: how many cannot be read, and the command that converts them.
    public var conversions: [String] {
        sorted.compactMap { cause, entry in
            cause.format.map { format in
                let count = entry.kinds.count
                return "\(format.counted(count)) cannot be read" + conversion(format, entry)
            }
        }
    }

    /// Returns how files of a format are converted, to be put behind their number.
    private func conversion(_ format: ForeignFormat, _ entry: Entry) -> String {
        guard !roots.isEmpty else { return "" }
        let usual = Set(format.endings.map { "." + $0 })
        let endings = Set(entry.kinds.kinds.map(\.text)).intersection(usual).sorted()
        let line =
            endings.isEmpty ? "" : "; convert them: " + format.command(folders: roots, endings: endings)
        // By other endings, or none, photographs that are read would be converted too.
        let others = entry.kinds.files.filter { !usual.contains($0.kind.text) }
        guard let first = others.first?.name else { return line }
        // The names of `below` have their folder already.
        let path = roots.contains { first.hasPrefix($0 + "/") } ? first : roots[0] + "/" + first
        let start = entry.kinds.count == 1 ? "convert it" : "convert each with another name, such as"
        return line + "; \(start): " + format.command(file: path)
    }

    /// One line for each reason: how many files, of which kinds, where, and how they can be used.
    public var lines: [String] {
        sorted.map { cause, entry in
            let count = entry.kinds.count
            func noun(_ one: String, _ many: String) -> String {
                count == 1 ? "1 \(one)" : "\(count) \(many)"
            }
            let places = entry.places.map { $0.isEmpty ? "the folder itself" : $0 }.joined(separator: ", ")
            let more = entry.placeCount - entry.places.count
            let rest = more > 0 ? " and \(more) more" : ""
            let folders = " in \(places)" + (more > 0 ? rest + (more == 1 ? " folder" : " folders") : "")
            let kinds = entry.kinds.text
            return switch cause.reason {
            case .outsideClasses:
                "not used: \(noun("photograph", "photographs")) outside class folders,\(folders)"
            case .otherKind:
                cause.format.map { format in
                    "not used: \(format.counted(count)) cannot be read,\(folders)"
                        + conversion(format, entry)
                }
                    ?? "not used: \(noun("file of a kind that is", "files of kinds that are")) not read "
                    + "(\(kinds)),\(folders)"
            case .otherFolder:
                "not used: \(noun("file", "files")) (\(kinds)) in folders that are no part of the set,"
                    + folders
            case .repeated:
                "not used: \(noun("link", "links")) to what is listed already: \(places)\(rest)"
            case .brokenLink: "not used: \(noun("link", "links")) to nothing: \(places)\(rest)"
            case .hidden:
                "not used: \(noun("hidden or system entry", "hidden or system entries")) (\(kinds)),"
                    + folders
            case .notListed:
                "not used: \(noun("photograph", "photographs")) that the list of labels does not name: "
                    + "\(places)\(rest)"
            case .notOnDisk:
                "not used: \(noun("name", "names")) in the list of labels for which there is no photograph: "
                    + "\(places)\(rest)"
            case .noClass:
                "not used: \(noun("line", "lines")) of the list of labels without a class: \(places)\(rest)"
            }
        }
    }
}

extension UnusedFiles {
    /// The counts, places and names as JSON, for files that store them.
    var json: JSON {
        .array(
            sorted.map { cause, entry in
                [
                    "reason": cause.reason.rawValue, "format": cause.format?.description,
                    "kinds": entry.kinds.json, "places": entry.places, "place_count": entry.placeCount,
                ]
            })
    }

    /// Reads what `json` gave; nil if it is something else.
    init?(_ json: JSON?) {
        guard let values = json?.array else { return nil }
        for value in values {
            guard let reason = value["reason"]?.integer.flatMap(Reason.init),
                let kinds = FileKinds(value["kinds"]),
                let places = value["places"]?.array?.compactMap(\.string),
                let placeCount = value["place_count"]?.integer
            else { return nil }
            let format = value["format"]?.string.flatMap(ForeignFormat.named)
            entries[Cause(reason: reason, format: format)] = Entry(
                kinds: kinds, places: places, placeCount: placeCount)
        }
    }
}

/// What kind of file is not used.
struct FileKind: Hashable, Sendable {
    /// The end of the name, such as `.heic`, or other words for messages.
    let text: String
    /// The format, if it holds photographs.
    var format: ForeignFormat?

    init(_ text: String, _ format: ForeignFormat? = nil) { (self.text, self.format) = (text, format) }
}

/// Counts files by kind, and names the first ones; the numbers of kinds and names are bounded.
struct FileKinds: Sendable, Equatable {
    struct File: Sendable, Equatable {
        let name: String
        let kind: FileKind
    }

    private static let storedKinds = 100
    private static let storedFiles = 2000
    private static let shownKinds = 4

    private(set) var count = 0
    private var counts: [FileKind: Int] = [:]
    private(set) var files: [File] = []

    var kinds: some Sequence<FileKind> { counts.keys }

    /// Whether another file's name would be stored.
    var storesMoreFiles: Bool { files.count < Self.storedFiles }

    mutating func add(_ kind: FileKind, count: Int = 1) {
        guard count > 0 else { return }
        self.count += count
        if counts.count < Self.storedKinds || counts[kind] != nil { counts[kind, default: 0] += count }
    }

    mutating func add(_ kind: FileKind, name: @autoclosure () -> String) {
        add(kind)
        if storesMoreFiles { files.append(File(name: name(), kind: kind)) }
    }

    mutating func add(_ other: FileKinds) {
        let stored = other.counts.values.reduce(0, +)
        for (kind, count) in other.counts { add(kind, count: count) }
        count += other.count - stored
        files += other.files.prefix(Self.storedFiles - files.count)
    }

    /// Takes files of a kind away again; nil takes all of it.
    mutating func remove(_ text: String, count: Int?) {
        let kind = FileKind(text)
        let removed = min(count ?? .max, counts[kind] ?? 0)
        self.count -= removed
        counts[kind] = (counts[kind] ?? 0) - removed
        if counts[kind] == 0 { counts[kind] = nil }
        files.removeAll { $0.kind == kind }
    }

    /// Takes one file away; returns whether its name was stored.
    mutating func remove(_ name: String) -> Bool {
        guard let place = files.firstIndex(where: { $0.name == name }) else { return false }
        let kind = files.remove(at: place).kind
        count -= 1
        counts[kind] = counts[kind].flatMap { $0 > 1 ? $0 - 1 : nil }
        return true
    }

    /// Returns the same files with the path of their folder.
    func below(_ folder: String) -> FileKinds {
        guard !folder.isEmpty else { return self }
        var moved = self
        moved.files = files.map { File(name: folder + "/" + $0.name, kind: $0.kind) }
        return moved
    }

    /// The files of each format; those that are no photographs have none.
    var byFormat: [(format: ForeignFormat?, kinds: FileKinds)] {
        var parts: [ForeignFormat?: FileKinds] = [:]
        for (kind, count) in counts { parts[kind.format, default: FileKinds()].add(kind, count: count) }
        for file in files { parts[file.kind.format, default: FileKinds()].files.append(file) }
        // Kinds that are not stored are no photographs.
        parts[nil, default: FileKinds()].count += count - counts.values.reduce(0, +)
        return parts.filter { $0.value.count > 0 }.map { ($0.key, $0.value) }
    }

    /// The stored names in the order of their bytes.
    var sortedFiles: [File] { files.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) } }

    mutating func sortFiles() { files = sortedFiles }

    fileprivate var json: JSON {
        let order = counts.sorted { ($0.key.text, $0.value) < ($1.key.text, $1.value) }
        return [
            "count": count,
            "counts": order.map { ([$0.key.text, $0.key.format?.description, $0.value]) as JSON },
            "files": files.map { [$0.name, $0.kind.text, $0.kind.format?.description] as JSON },
        ]
    }

    fileprivate init?(_ json: JSON?) {
        func kind(_ text: String?, _ format: JSON?) -> FileKind? {
            text.map { FileKind($0, format?.string.flatMap(ForeignFormat.named)) }
        }
        guard let count = json?["count"]?.integer, let counts = json?["counts"]?.array,
            let files = json?["files"]?.array
        else { return nil }
        self.count = count
        for value in counts {
            guard let value = value.array, value.count == 3, let number = value[2].integer,
                let kind = kind(value[0].string, value[1])
            else { return nil }
            self.counts[kind] = number
        }
        for value in files {
            guard let value = value.array, value.count == 3, let name = value[0].string,
                let kind = kind(value[1].string, value[2])
            else { return nil }
            self.files.append(File(name: name, kind: kind))
        }
    }

    init() {}

    /// The most frequent kinds with their counts, such as `20 .png, 4 .txt and 3 more`.
    var text: String {
        let all = counts.reduce(into: [String: Int]()) { $0[$1.key.text, default: 0] += $1.value }
        let order = all.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.prefix(Self.shownKinds)
        let rest = count - order.reduce(0) { $0 + $1.value }
        return order.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
            + (rest > 0 ? " and \(rest) more" : "")
    }
}
