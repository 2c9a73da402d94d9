import Basics
import Foundation

/// Holds a row of numbers and a name for each photograph, in the form of the file that stores them.
///
/// A file is mapped: a million photographs take no time to read, and the ranks of one machine share the
/// memory.
final class IndexFile: @unchecked Sendable {
    /// Says which file it is, and which columns it has.
    struct Form: Sendable {
        /// The first bytes of the file: what it is, and the version of its form.
        let mark: UInt64
        /// The bytes of a number in each column, 8 or 4, the largest first; the ends of names follow.
        let widths: [Int]
    }

    /// What the file says besides the columns.
    let header: JSON
    let count: Int
    private let form: Form
    /// Where each column begins, then the ends of the names, then the names.
    private let starts: [Int]
    // Never written to after `init`, so threads may share it.
    private let memory: UnsafeMutableRawPointer
    private let byteCount: Int
    private let isMapped: Bool

    deinit { if isMapped { munmap(memory, byteCount) } else { memory.deallocate() } }

    /// The bytes before the JSON: mark, checksum, length of the JSON.
    private static let fixed = 24

    private static func starts(_ form: Form, count: Int, behind head: Int) -> [Int] {
        (form.widths + [4]).reduce(into: [head]) { $0.append($0[$0.count - 1] + count * $1) }
    }

    // MARK: - Reading

    /// Returns a number of a row.
    func number(_ column: Int, _ row: Int) -> Int {
        form.widths[column] == 8
            ? Int(truncatingIfNeeded: memory.load(fromByteOffset: starts[column] + 8 * row, as: UInt64.self))
            : Int(memory.load(fromByteOffset: starts[column] + 4 * row, as: UInt32.self))
    }

    /// Returns where the name of a row ends among the bytes of all names.
    private func end(_ row: Int) -> Int {
        Int(memory.load(fromByteOffset: starts[form.widths.count] + 4 * row, as: UInt32.self))
    }

    /// Returns the bytes of a row's name, valid as long as the index.
    func name(_ row: Int) -> UnsafeRawBufferPointer {
        let first = row == 0 ? 0 : end(row - 1)
        return UnsafeRawBufferPointer(
            start: memory + starts[form.widths.count + 1] + first, count: end(row) - first)
    }

    // MARK: - Making

    /// Takes rows one after the other.
    struct Rows {
        private let file: IndexFile
        private var row = 0
        private var end = 0

        fileprivate init(_ file: IndexFile) { self.file = file }

        /// Adds the numbers of all columns, and the name, which may be in parts.
        mutating func add(_ numbers: Int..., name: UnsafeRawBufferPointer) {
            for (column, value) in numbers.enumerated() {
                let start = file.starts[column]
                if file.form.widths[column] == 8 {
                    file.memory.storeBytes(of: UInt64(value), toByteOffset: start + 8 * row, as: UInt64.self)
                } else {
                    file.memory.storeBytes(of: UInt32(value), toByteOffset: start + 4 * row, as: UInt32.self)
                }
            }
            let last = file.form.widths.count
            UnsafeMutableRawBufferPointer(
                start: file.memory + file.starts[last + 1] + end, count: name.count
            ).copyMemory(from: name)
            end += name.count
            file.memory.storeBytes(
                of: UInt32(end), toByteOffset: file.starts[last] + 4 * row, as: UInt32.self)
            row += 1
        }
    }

    /// - Parameters:
    ///   - header: what the file says besides the columns.
    ///   - nameBytes: the length of all names, below 4 GiB.
    ///   - fill: adds `count` rows.
    init(_ form: Form, header: JSON, count: Int, nameBytes: Int, fill: (inout Rows) -> Void) {
        self.form = form
        self.header = header
        self.count = count
        var text = Array((header + ["count": count, "name_bytes": nameBytes]).text.utf8)
        text += [UInt8](repeating: 0x20, count: text.count.roundedUp(to: 8) - text.count)
        starts = Self.starts(form, count: count, behind: Self.fixed + text.count)
        byteCount = starts[starts.count - 1] + nameBytes
        isMapped = false
        memory = .allocate(byteCount: byteCount, alignment: 8)
        memory.storeBytes(of: form.mark, as: UInt64.self)
        memory.storeBytes(of: 0, toByteOffset: 8, as: UInt64.self)
        memory.storeBytes(of: UInt64(text.count), toByteOffset: 16, as: UInt64.self)
        (memory + Self.fixed).copyMemory(from: text, byteCount: text.count)
        var rows = Rows(self)
        fill(&rows)
        memory.storeBytes(of: checksum, toByteOffset: 8, as: UInt64.self)
    }

    // MARK: - The file

    /// Writes the index whole or not at all.
    func write(_ path: String) throws {
        try AtomicFile.write(path) { file in
            try file.write(UnsafeRawBufferPointer(start: memory, count: byteCount))
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
    init?(_ form: Form, path: String) {
        guard let file = try? FileDescriptor(path, O_RDONLY), let size = try? file.size(), size >= Self.fixed,
            let memory = try? file.map(byteCount: size)
        else { return nil }
        self.form = form
        self.memory = memory
        (byteCount, isMapped) = (size, true)
        let length = memory.load(fromByteOffset: 16, as: UInt64.self)
        guard memory.load(as: UInt64.self) == form.mark, length <= UInt64(size - Self.fixed), length % 8 == 0,
            let header = try? JSON.parse(
                Array(UnsafeRawBufferPointer(start: memory + Self.fixed, count: Int(length)))),
            let count = header["count"]?.integer, let nameBytes = header["name_bytes"]?.integer,
            count >= 0, count <= size, nameBytes >= 0, nameBytes <= size
        else {
            munmap(memory, size)
            return nil
        }
        (self.header, self.count) = (header, count)
        starts = Self.starts(form, count: count, behind: Self.fixed + Int(length))
        guard starts[starts.count - 1] + nameBytes == size,
            checksum == memory.load(fromByteOffset: 8, as: UInt64.self)
        else { return nil }
        // A damaged file must not lead outside of the memory.
        var last = 0
        for row in 0..<count {
            let next = end(row)
            guard next >= last, next <= nameBytes else { return nil }
            last = next
        }
        guard last == nameBytes else { return nil }
    }
}
