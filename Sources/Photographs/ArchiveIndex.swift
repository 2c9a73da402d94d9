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
///
/// The columns are bytes as they are in the index file, which is mapped: a million photographs take no time
/// to read, and the ranks of one machine share the memory.
final class ArchiveIndex: @unchecked Sendable {
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
        var count = 0
        var nameBytes = 0
    }

    let header: Header
    var count: Int { header.count }

    // Never written to after `init`, so threads may share it.
    private let memory: UnsafeMutableRawPointer
    private let byteCount: Int
    private let isMapped: Bool
    private let columns: Int

    deinit { if isMapped { munmap(memory, byteCount) } else { memory.deallocate() } }

    // MARK: - Columns

    /// The bytes of each photograph's row in the four columns before the names.
    private static let widths = [8, 4, 4, 4, 4]

    private func start(_ column: Int) -> Int {
        columns + count * Self.widths[..<column].reduce(0, +)
    }

    private func number(_ column: Int, _ index: Int) -> Int {
        Int(memory.load(fromByteOffset: start(column) + 4 * index, as: UInt32.self))
    }

    /// Returns where a photograph's content begins in its archive.
    func offset(_ index: Int) -> Int {
        Int(truncatingIfNeeded: memory.load(fromByteOffset: columns + 8 * index, as: UInt64.self))
    }
    func byteCount(_ index: Int) -> Int { number(1, index) }
    func label(_ index: Int) -> Int { number(2, index) }
    func archive(_ index: Int) -> Int { number(3, index) }

    /// Returns the bytes of a photograph's name, valid as long as the index.
    func name(_ index: Int) -> UnsafeRawBufferPointer {
        let first = index == 0 ? 0 : number(4, index - 1)
        return UnsafeRawBufferPointer(
            start: memory + start(5) + first, count: number(4, index) - first)
    }

    // MARK: - Making

    /// One photograph in the making of an index.
    struct Entry {
        let offset, byteCount, label, archive: Int
    }

    /// - Parameters:
    ///   - entries: the photographs in their final order.
    ///   - names: the name of each entry.
    init(_ header: Header, entries: [Entry], names: Names, order: [Int]) {
        var header = header
        header.count = order.count
        header.nameBytes = order.reduce(0) { $0 + names.range($1).count }
        self.header = header
        let head = Self.head(header)
        columns = head.count
        isMapped = false
        byteCount = head.count + order.count * Self.widths.reduce(0, +) + header.nameBytes
        memory = .allocate(byteCount: byteCount, alignment: 8)
        memory.copyMemory(from: head, byteCount: head.count)
        var end = 0
        for (place, index) in order.enumerated() {
            let entry = entries[index]
            memory.storeBytes(
                of: UInt64(entry.offset), toByteOffset: columns + 8 * place, as: UInt64.self)
            let name = names[index]
            name.withUnsafeBytes { bytes in
                UnsafeMutableRawBufferPointer(start: memory + start(5) + end, count: bytes.count)
                    .copyMemory(from: bytes)
            }
            end += name.count
            for (column, value) in [entry.byteCount, entry.label, entry.archive, end].enumerated() {
                memory.storeBytes(
                    of: UInt32(value), toByteOffset: start(column + 1) + 4 * place, as: UInt32.self)
            }
        }
    }

    // MARK: - The file

    /// The first bytes: what the file is, and the version of its form.
    private static let mark: UInt64 = 0x3130_5844_4947_4D49

    /// Returns the bytes before the columns: mark, checksum, length of the JSON, JSON.
    private static func head(_ header: Header) -> [UInt8] {
        let archives = header.archives.map { archive -> JSON in
            ["path": archive.path, "bytes": archive.stamp.byteCount, "modified": archive.stamp.modified]
        }
        let json: JSON = [
            "archives": archives, "classes": header.classes,
            "class_list": header.classList, "unused": header.unused.json,
            "notes": header.notes, "count": header.count,
            "name_bytes": header.nameBytes,
        ]
        var text = Array(json.text.utf8)
        text += [UInt8](repeating: 0x20, count: text.count.roundedUp(to: 8) - text.count)
        var head = [UInt8](repeating: 0, count: 24)
        head.withUnsafeMutableBytes {
            $0.storeBytes(of: mark, as: UInt64.self)
            $0.storeBytes(of: UInt64(text.count), toByteOffset: 16, as: UInt64.self)
        }
        return head + text
    }

    /// Writes the index whole or not at all.
    func write(_ path: String) throws {
        try AtomicFile.write(path) { file in
            var head = [UInt8](UnsafeRawBufferPointer(start: memory, count: columns))
            head.withUnsafeMutableBytes {
                $0.storeBytes(of: checksum, toByteOffset: 8, as: UInt64.self)
            }
            try file.write(head)
            try file.write(UnsafeRawBufferPointer(start: memory + columns, count: byteCount - columns))
        }
    }

    /// A hash of everything behind the checksum, word by word.
    private var checksum: UInt64 {
        var hash = FNVHash()
        let words = (byteCount - 16) / 8
        for word in 0..<words { hash.add(memory.load(fromByteOffset: 16 + 8 * word, as: UInt64.self)) }
        for byte in 16 + 8 * words..<byteCount {
            hash.add(UInt64(memory.load(fromByteOffset: byte, as: UInt8.self)))
        }
        return hash.value
    }

    /// Reads an index file; nil if there is none, or it is not whole.
    init?(path: String) {
        guard let file = try? FileDescriptor(path, O_RDONLY), let size = try? file.size(), size >= 24,
            let memory = try? file.map(byteCount: size)
        else { return nil }
        self.memory = memory
        (byteCount, isMapped) = (size, true)
        let length = memory.load(fromByteOffset: 16, as: UInt64.self)
        guard memory.load(as: UInt64.self) == Self.mark, length <= UInt64(size - 24), length % 8 == 0,
            let header = Header(UnsafeRawBufferPointer(start: memory + 24, count: Int(length)))
        else {
            munmap(memory, size)
            return nil
        }
        self.header = header
        columns = 24 + Int(length)
        let rows = header.count.multipliedReportingOverflow(by: Self.widths.reduce(0, +))
        let isWhole =
            !rows.overflow && rows.partialValue <= size
            && columns + rows.partialValue + header.nameBytes == size
        guard isWhole, checksum == memory.load(fromByteOffset: 8, as: UInt64.self), isConsistent else {
            return nil
        }
    }

    /// Whether all numbers are in their ranges, so that a damaged file cannot lead outside of the memory.
    private var isConsistent: Bool {
        var end = 0
        for index in 0..<count {
            let next = number(4, index)
            guard next >= end, next <= header.nameBytes, label(index) < header.classes.count,
                archive(index) < header.archives.count, offset(index) >= 0,
                byteCount(index) <= header.archives[archive(index)].stamp.byteCount - offset(index)
            else { return false }
            end = next
        }
        return end == header.nameBytes
    }
}

extension ArchiveIndex.Header {
    fileprivate init?(_ text: UnsafeRawBufferPointer) {
        guard let json = try? JSON.parse(Array(text)),
            let classes = json["classes"]?.array?.compactMap(\.string),
            let classList = json["class_list"]?.string, let unused = UnusedFiles(json["unused"]),
            let notes = json["notes"]?.array?.compactMap(\.string), let count = json["count"]?.integer,
            let nameBytes = json["name_bytes"]?.integer, count >= 0, nameBytes >= 0, nameBytes < 1 << 32,
            let archives = json["archives"]?.array
        else { return nil }
        self.init(archives: [], classes: classes, classList: classList, unused: unused, notes: notes)
        (self.count, self.nameBytes) = (count, nameBytes)
        for archive in archives {
            guard let path = archive["path"]?.string, let bytes = archive["bytes"]?.integer,
                let modified = archive["modified"]?.integer
            else { return nil }
            self.archives.append(.init(path: path, stamp: FileStamp(byteCount: bytes, modified: modified)))
        }
    }
}
