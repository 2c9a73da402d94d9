import Basics
import Foundation

/// Identifies one state of a file, to notice that it was changed.
struct FileStamp: Equatable, Sendable {
    let byteCount: Int
    /// When the content was last changed, in nanoseconds since 1970.
    let modified: Int

    /// - Throws: `DatasetError` if the file cannot be read.
    init(path: String) throws {
        var status = stat()
        guard stat(path, &status) == 0 else {
            throw DatasetError(
                .badArchive(.missing), "\(path): \(String(cString: strerror(errno)).lowercased())")
        }
        byteCount = Int(status.st_size)
        modified = Int(status.st_mtim.tv_sec) * 1_000_000_000 + Int(status.st_mtim.tv_nsec)
    }

    init(byteCount: Int, modified: Int) { (self.byteCount, self.modified) = (byteCount, modified) }
}

/// Lists the photographs in a set of tar archives, in the order of their classes, then of their names.
final class ArchiveIndex: Sendable {
    /// One archive of the set.
    struct Archive: Equatable, Sendable {
        /// The path below the set's folder.
        let path: String
        let stamp: FileStamp
    }

    /// What the index file says besides the columns.
    struct Header: Equatable, Sendable {
        var archives: [Archive]
        /// The names of the classes, sorted by their bytes.
        var classes: [String]
        /// Identifies the list of classes by which numbers were read.
        var classList: String
        var unused: UnusedFiles
        var notes: [String]
    }

    let header: Header
    var count: Int { file.count }

    private let file: IndexFile
    private static let form = IndexFile.Form(mark: 0x3130_5844_4947_4D49, widths: [8, 4, 4, 4])

    /// Returns where a photograph's content begins in its archive.
    func offset(_ index: Int) -> Int { file.number(0, index) }
    func byteCount(_ index: Int) -> Int { file.number(1, index) }
    func label(_ index: Int) -> Int { file.number(2, index) }
    func archive(_ index: Int) -> Int { file.number(3, index) }

    /// Returns the bytes of a photograph's name, valid as long as the index.
    func name(_ index: Int) -> UnsafeRawBufferPointer { file.name(index) }

    /// One photograph in the making of an index.
    struct Entry {
        let offset, byteCount, label, archive: Int
    }

    /// - Parameters:
    ///   - names: the name of each entry.
    ///   - order: the numbers of the entries in their final order.
    init(_ header: Header, entries: [Entry], names: Names, order: [Int]) {
        self.header = header
        file = IndexFile(
            Self.form, header: header.json, count: order.count,
            nameBytes: order.reduce(0) { $0 + names.range($1).count }
        ) { rows in
            for index in order {
                let entry = entries[index]
                names[index].withUnsafeBytes {
                    rows.add(entry.offset, entry.byteCount, entry.label, entry.archive, name: $0)
                }
            }
        }
    }

    /// Writes the index whole or not at all.
    func write(_ path: String) throws { try file.write(path) }

    /// Reads an index file; nil if there is none, or it is not whole.
    init?(path: String) {
        guard let file = IndexFile(Self.form, path: path), let header = Header(file.header) else {
            return nil
        }
        (self.file, self.header) = (file, header)
        // A damaged file must not lead outside of an archive.
        for index in 0..<file.count {
            guard label(index) < header.classes.count, archive(index) < header.archives.count,
                offset(index) >= 0,
                byteCount(index) <= header.archives[archive(index)].stamp.byteCount - offset(index)
            else { return nil }
        }
    }
}

extension ArchiveIndex.Header {
    fileprivate var json: JSON {
        let archives = archives.map { archive -> JSON in
            ["path": archive.path, "bytes": archive.stamp.byteCount, "modified": archive.stamp.modified]
        }
        return [
            "archives": archives, "classes": classes, "class_list": classList,
            "unused": unused.json, "notes": notes,
        ]
    }

    fileprivate init?(_ json: JSON) {
        guard let classes = json["classes"]?.array?.compactMap(\.string),
            let classList = json["class_list"]?.string, let unused = UnusedFiles(json["unused"]),
            let notes = json["notes"]?.array?.compactMap(\.string), let archives = json["archives"]?.array
        else { return nil }
        self.init(archives: [], classes: classes, classList: classList, unused: unused, notes: notes)
        for archive in archives {
            guard let path = archive["path"]?.string, let bytes = archive["bytes"]?.integer,
                let modified = archive["modified"]?.integer
            else { return nil }
            self.archives.append(.init(path: path, stamp: FileStamp(byteCount: bytes, modified: modified)))
        }
    }
}
