import Basics
import Foundation

/// Identifies one state of a folder's list of entries, to notice that it was changed.
struct FolderStamp: Equatable, Sendable {
    let identity: FileIdentity
    /// When an entry was last added, removed or renamed, in nanoseconds since 1970.
    ///
    /// This is the time of the folder's own change, because programs set the time of its content back.
    let changed: Int

    init(_ status: stat) {
        identity = FileIdentity(status)
        changed = Int(status.st_ctim.tv_sec) * 1_000_000_000 + Int(status.st_ctim.tv_nsec)
    }

    /// Returns the state of what a path leads to; nil if it is no folder.
    init?(path: String) {
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else { return nil }
        self.init(status)
    }

    fileprivate init(_ identity: FileIdentity, changed: Int) {
        (self.identity, self.changed) = (identity, changed)
    }
}

/// Lists photographs in class folders, in the order of their classes, then of their paths.
///
/// A name is stored without its folder, and a million photographs take about 35 bytes each.
final class FileIndex: Sendable {
    /// One folder that was listed.
    struct Listed: Equatable, Sendable {
        /// The path below the root; empty for the root.
        let path: String
        let stamp: FolderStamp
    }

    /// The photographs of one part, such as the one for training.
    struct Part: Equatable, Sendable {
        /// The part's folder below the root; empty for the root.
        let path: String
        let isValidation: Bool
        /// The names of the classes, sorted by their bytes.
        let classes: [String]
        let rows: Range<Int>
    }

    struct Header: Equatable, Sendable {
        var folders: [Listed]
        var parts: [Part] = []
        /// Identifies the list of classes that was read beside the folders.
        var classList = ""
        var unused = UnusedFiles()
        var notes: [String] = []
    }

    let header: Header
    var count: Int { file.count }
    private let file: IndexFile
    /// The folder, the class.
    private static let form = IndexFile.Form(mark: 0x3130_5844_4953_4C46, widths: [4, 4])

    func label(_ row: Int) -> Int { file.number(1, row) }

    /// Returns the path of a photograph's folder below the root.
    private func folder(_ row: Int) -> String { header.folders[file.number(0, row)].path }

    /// Returns a photograph's path below the root.
    func path(_ row: Int) -> String {
        let name = String(decoding: file.name(row), as: UTF8.self)
        let folder = folder(row)
        return folder.isEmpty ? name : folder + "/" + name
    }

    /// Calls `body` with the bytes of a photograph's path, without its first `skipped` ones, in pieces.
    func withPath(_ row: Int, skipping skipped: Int = 0, _ body: (UnsafeRawBufferPointer) -> Void) {
        var folder = folder(row)
        let length = folder.utf8.count
        if skipped < length {
            folder.withUTF8 { body(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer($0)[skipped...])) }
        }
        if length > 0, skipped <= length { slash.withUnsafeBytes(body) }
        let rest = max(0, skipped - (length > 0 ? length + 1 : 0))
        let name = file.name(row)
        body(UnsafeRawBufferPointer(rebasing: name[min(rest, name.count)...]))
    }

    /// One photograph in the making of an index: its folder's number and its name.
    struct Entry {
        let folder: Int
        let name: ArraySlice<UInt8>
        let label: Int
    }

    /// - Parameters:
    ///   - count, nameBytes: the number of entries, and the length of their names.
    ///   - fill: calls its argument with each entry, in order.
    init(_ header: Header, count: Int, nameBytes: Int, fill: ((Entry) -> Void) -> Void) {
        self.header = header
        file = IndexFile(Self.form, header: header.json, count: count, nameBytes: nameBytes) { rows in
            fill { entry in
                entry.name.withUnsafeBytes { rows.add(entry.folder, entry.label, name: $0) }
            }
        }
    }

    /// Takes files in the order given.
    convenience init(classes: [String], files: [ImageFile]) {
        var folders: [String: Int] = [:]
        var list: [Listed] = []
        var entries: [Entry] = []
        for file in files {
            let path = Array(file.path.utf8)
            let slash = path.lastIndex(of: UInt8(ascii: "/"))
            // A file in the system's root keeps its slash.
            let isBelow = slash.map { $0 > 0 } ?? false
            let folder = isBelow ? String(decoding: path[..<(slash ?? 0)], as: UTF8.self) : ""
            let number = folders[folder] ?? list.count
            if number == list.count {
                folders[folder] = number
                list.append(Listed(path: folder, stamp: FolderStamp(FileIdentity(0, 0), changed: 0)))
            }
            let name = isBelow ? path[((slash ?? 0) + 1)...] : path[...]
            entries.append(Entry(folder: number, name: name, label: file.label))
        }
        var header = Header(folders: list)
        header.parts = [Part(path: "", isValidation: false, classes: classes, rows: 0..<files.count)]
        self.init(header, count: files.count, nameBytes: entries.reduce(0) { $0 + $1.name.count }) { add in
            for entry in entries { add(entry) }
        }
    }

    func write(_ path: String) throws { try file.write(path) }

    /// Reads an index file; nil if there is none, or it is not whole.
    init?(path: String) {
        guard let file = IndexFile(Self.form, path: path), let header = Header(file.header) else {
            return nil
        }
        (self.file, self.header) = (file, header)
        var next = 0
        for part in header.parts {
            guard part.rows.lowerBound == next, part.rows.upperBound <= file.count else { return nil }
            next = part.rows.upperBound
            for row in part.rows {
                guard file.number(0, row) < header.folders.count, label(row) < part.classes.count else {
                    return nil
                }
            }
        }
        guard next == file.count else { return nil }
    }
}

private let slash: [UInt8] = [UInt8(ascii: "/")]

extension FileIndex.Header {
    fileprivate var json: JSON {
        let folders = folders.map { folder -> JSON in
            let identity = folder.stamp.identity
            let numbers = [identity.device, identity.inode].map { Int(bitPattern: UInt($0)) }
            return [folder.path, numbers[0], numbers[1], folder.stamp.changed]
        }
        let parts = parts.map { part -> JSON in
            [
                "path": part.path, "validation": part.isValidation, "classes": part.classes,
                "first": part.rows.lowerBound, "end": part.rows.upperBound,
            ]
        }
        return [
            "folders": folders, "parts": parts, "class_list": classList,
            "unused": unused.json, "notes": notes,
        ]
    }

    fileprivate init?(_ json: JSON) {
        guard let folders = json["folders"]?.array, let parts = json["parts"]?.array,
            let classList = json["class_list"]?.string, let unused = UnusedFiles(json["unused"]),
            let notes = json["notes"]?.array?.compactMap(\.string)
        else { return nil }
        self.init(folders: [], classList: classList, unused: unused, notes: notes)
        for folder in folders {
            guard let values = folder.array, values.count == 4, let path = values[0].string,
                let device = values[1].integer, let inode = values[2].integer, let changed = values[3].integer
            else { return nil }
            let identity = FileIdentity(UInt64(bitPattern: Int64(device)), UInt64(bitPattern: Int64(inode)))
            self.folders.append(.init(path: path, stamp: FolderStamp(identity, changed: changed)))
        }
        for part in parts {
            guard let path = part["path"]?.string, let first = part["first"]?.integer,
                let end = part["end"]?.integer, first >= 0, first <= end,
                let classes = part["classes"]?.array?.compactMap(\.string),
                case .bool(let isValidation)? = part["validation"]
            else { return nil }
            self.parts.append(
                .init(path: path, isValidation: isValidation, classes: classes, rows: first..<end))
        }
    }
}

/// Keeps lists of photographs, and what was measured of them, for the next start.
public struct StartCache: Sendable {
    /// The folder of the files; nil keeps nothing.
    var folder: String?
    /// Smaller sets are listed and measured in less time than a file takes to manage.
    var smallestSet = 10_000
    var smallestSample = 1000
    /// A folder that was changed less than this many seconds ago may change again without another time.
    var settlingSeconds = 2.5

    /// Keeps files in the program's cache folder.
    public static var standard: StartCache { StartCache(folder: CacheFolder.path) }

    static let none = StartCache(folder: nil)

    /// Returns where a file is kept that belongs to some text.
    func path(_ kind: String, _ key: String, _ ending: String) -> String? {
        var hash = FNVHash()
        hash.add(key)
        return folder.map { "\($0)/\(kind)-\(String(hash.value, radix: 16)).\(ending)" }
    }

    private func listPath(_ root: String) -> String? {
        path("folders", URL(fileURLWithPath: root).standardizedFileURL.path, "index")
    }

    /// Returns the list of a folder's photographs if no folder has been changed since it was made.
    func list(of root: String, classList: String) -> FileIndex? {
        guard let path = listPath(root), let index = FileIndex(path: path),
            index.header.classList == classList
        else { return nil }
        let isCurrent = index.header.folders.allSatisfy { folder in
            FolderStamp(path: folder.path.isEmpty ? root : root + "/" + folder.path) == folder.stamp
        }
        return isCurrent ? index : nil
    }

    /// Keeps a list; without a place for it, each start lists the folders again.
    ///
    /// - Parameter began: when listing began, in seconds since 1970.
    func keep(_ index: FileIndex, of root: String, began: Double) {
        guard let folder, let path = listPath(root), index.count >= smallestSet else { return }
        let newest = index.header.folders.map(\.stamp.changed).max() ?? 0
        guard Double(newest) * 1e-9 < began - settlingSeconds else { return }
        try? Folder.create(folder)
        try? index.write(path)
    }
}
