import Basics

/// Counts the files of a folder that are not used, by reason, kind and place.
///
/// The counts are exact. The kinds and places that are stored, and the lines that name them, are bounded.
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

    private struct Entry: Sendable, Equatable {
        var kinds = FileKinds()
        /// The first few folders or files.
        var places: [String] = []
        var placeCount = 0
    }

    private static let storedPlaces = 3
    private var entries: [Reason: Entry] = [:]

    public init() {}

    /// How many files are not used for this reason.
    public func count(_ reason: Reason) -> Int { entries[reason]?.kinds.count ?? 0 }

    /// Adds files in one place, which is a folder or, for single files, their own path.
    mutating func add(_ reason: Reason, _ kinds: FileKinds, in place: String) {
        guard kinds.count > 0 else { return }
        entries[reason, default: Entry()].kinds.add(kinds)
        if entries[reason, default: Entry()].places.count < Self.storedPlaces {
            entries[reason, default: Entry()].places.append(place)
        }
        entries[reason, default: Entry()].placeCount += 1
    }

    /// Adds `count` files of one kind.
    mutating func add(_ reason: Reason, _ kind: String = "", count: Int = 1, in place: String) {
        var kinds = FileKinds()
        kinds.add(kind, count: count)
        add(reason, kinds, in: place)
    }

    /// Adds what is not used in another folder.
    public mutating func add(_ other: UnusedFiles) {
        for (reason, entry) in other.entries {
            entries[reason, default: Entry()].kinds.add(entry.kinds)
            let places = entries[reason, default: Entry()].places + entry.places
            entries[reason, default: Entry()].places = Array(places.prefix(Self.storedPlaces))
            entries[reason, default: Entry()].placeCount += entry.placeCount
        }
    }

    /// Returns the same with places that begin with the path of the folder that they are in.
    public func below(_ folder: String) -> UnusedFiles {
        var moved = self
        for (reason, entry) in entries {
            moved.entries[reason]?.places = entry.places.map { $0.isEmpty ? folder : folder + "/" + $0 }
        }
        return moved
    }

    /// One line for each reason: how many files, of which kinds, and where.
    public var lines: [String] {
        Reason.allCases.compactMap { reason in
            guard let entry = entries[reason] else { return nil }
            let count = entry.kinds.count
            func noun(_ one: String, _ many: String) -> String {
                count == 1 ? "1 \(one)" : "\(count) \(many)"
            }
            let places = entry.places.map { $0.isEmpty ? "the folder itself" : $0 }.joined(separator: ", ")
            let more = entry.placeCount - entry.places.count
            let rest = more > 0 ? " and \(more) more" : ""
            let folders = " in \(places)" + (more > 0 ? rest + (more == 1 ? " folder" : " folders") : "")
            let kinds = entry.kinds.text
            return switch reason {
            case .outsideClasses:
                "not used: \(noun("photograph", "photographs")) outside class folders,\(folders)"
            case .otherKind:
                "not used: \(noun("file of a kind that is", "files of kinds that are")) not read (\(kinds)),"
                    + folders
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
    /// The counts and places as JSON, for files that store them.
    var json: JSON {
        .object(
            Reason.allCases.compactMap { reason in
                entries[reason].map { entry in
                    JSON.Member(
                        String(reason.rawValue),
                        [
                            "count": entry.kinds.count, "kinds": entry.kinds.json,
                            "places": entry.places, "place_count": entry.placeCount,
                        ])
                }
            })
    }

    /// Reads what `json` gave; nil if it is something else.
    init?(_ json: JSON?) {
        guard let members = json?.members else { return nil }
        for member in members {
            guard let reason = Int(member.key).flatMap(Reason.init),
                let count = member.value["count"]?.integer,
                let kinds = FileKinds(member.value["kinds"], count: count),
                let places = member.value["places"]?.array?.compactMap(\.string),
                let placeCount = member.value["place_count"]?.integer
            else { return nil }
            entries[reason] = Entry(kinds: kinds, places: places, placeCount: placeCount)
        }
    }
}

/// Counts files by kind, such as `.png`; the number of kinds that are stored is bounded.
struct FileKinds: Sendable, Equatable {
    private static let storedKinds = 100
    private static let shownKinds = 4

    private(set) var count = 0
    private var counts: [String: Int] = [:]

    mutating func add(_ kind: String, count: Int = 1) {
        guard count > 0 else { return }
        self.count += count
        if counts.count < Self.storedKinds || counts[kind] != nil { counts[kind, default: 0] += count }
    }

    mutating func add(_ other: FileKinds) {
        let stored = other.counts.values.reduce(0, +)
        for (kind, count) in other.counts { add(kind, count: count) }
        count += other.count - stored
    }

    /// Takes files of a kind away again; nil takes all of it.
    mutating func remove(_ kind: String, count: Int?) {
        let removed = min(count ?? .max, counts[kind] ?? 0)
        self.count -= removed
        counts[kind] = (counts[kind] ?? 0) - removed
        if counts[kind] == 0 { counts[kind] = nil }
    }

    /// The counts of the kinds that are stored.
    fileprivate var json: JSON {
        .object(counts.sorted { $0.key < $1.key }.map { JSON.Member($0.key, .integer($0.value)) })
    }

    fileprivate init?(_ json: JSON?, count: Int) {
        guard let members = json?.members else { return nil }
        self.count = count
        for member in members {
            guard let number = member.value.integer else { return nil }
            counts[member.key] = number
        }
    }

    init() {}

    /// The most frequent kinds with their counts, such as `20 .png, 4 .txt and 3 more`.
    var text: String {
        let order = counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.prefix(Self.shownKinds)
        let rest = count - order.reduce(0) { $0 + $1.value }
        return order.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
            + (rest > 0 ? " and \(rest) more" : "")
    }
}
