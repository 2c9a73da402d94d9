import Basics
import Foundation

/// Describes one entry of a tar archive.
struct TarMember: Equatable {
    enum Kind: Equatable {
        case file, folder
        /// A link to `target`.
        case link
        /// A device, a pipe or another entry without content that can be used.
        case other
    }

    let kind: Kind
    /// The whole name, as it is in the archive.
    let name: [UInt8]
    /// Where the content begins in the file.
    let offset: Int
    let byteCount: Int
    /// What a link leads to.
    let target: [UInt8]

    /// The name as text; bytes that are not UTF-8 become U+FFFD.
    var text: String { String(decoding: name, as: UTF8.self) }
}

/// Reads the entries of a tar archive one after the other, without their contents.
///
/// Reads the formats v7, ustar, GNU (long names, numbers in base 256) and pax. Sparse files are refused.
struct TarReader {
    static let block = 512
    /// The longest name or pax header that is read; longer ones are damage.
    private static let longestExtension = 1 << 20

    private let file: FileDescriptor
    /// How errors name the archive.
    private let path: String
    private let end: Int
    private var position: Int
    /// The bytes of the file from `windowStart` on, so that a run of small members costs one system call.
    private var window: [UInt8] = []
    private var windowStart = 0
    private var globalHeader: [String: [UInt8]] = [:]
    private var isFirst = true

    /// - Parameters:
    ///   - member: the member of another archive that this archive is; nil if it is the whole file.
    init(_ file: FileDescriptor, member: TarMember? = nil) throws {
        self.file = file
        path = file.path + (member.map { ":" + $0.text } ?? "")
        let range = try member.map { $0.offset..<$0.offset + $0.byteCount } ?? 0..<file.size()
        (position, end) = (range.lowerBound, range.upperBound)
    }

    /// Returns the next entry; nil behind the last one.
    ///
    /// - Throws: `DatasetError.badArchive` if this is not a tar archive, or it is damaged or truncated.
    mutating func next() throws -> TarMember? {
        var longName: [UInt8]?
        var longTarget: [UInt8]?
        var header: [String: [UInt8]] = [:]
        while true {
            let start = position
            guard position < end else {
                throw error(
                    .truncated,
                    isFirst ? "an empty file" : "truncated: it ends at byte \(end) without an end mark")
            }
            let block = try bytes(TarReader.block, at: position, of: "the header of a member")
            if block.allSatisfy({ $0 == 0 }) { return nil }
            guard Self.hasChecksum(block) else {
                throw isFirst
                    ? error(.notTar, "not a tar archive" + Self.compression(block))
                    : error(.damaged, "damaged at byte \(start): no header of a member")
            }
            isFirst = false
            guard var size = Self.number(block[124..<136]) else {
                throw error(.damaged, "damaged at byte \(start): the size of a member is not a number")
            }
            let type = block[156]
            let content = position + TarReader.block
            switch type {
            case UInt8(ascii: "L"), UInt8(ascii: "K"):
                let text = try extended(size, at: content, of: start).prefix { $0 != 0 }
                if type == UInt8(ascii: "L") { longName = Array(text) } else { longTarget = Array(text) }
            case UInt8(ascii: "x"), UInt8(ascii: "g"):
                let records = try paxRecords(extended(size, at: content, of: start), at: start)
                if type == UInt8(ascii: "x") {
                    header.merge(records) { $1 }
                } else {
                    globalHeader.merge(records) { $1 }
                }
            default:
                let header = globalHeader.merging(header) { $1 }
                if let text = header["size"] {
                    guard let value = Int(String(decoding: text, as: UTF8.self)), value >= 0 else {
                        throw error(
                            .damaged, "damaged at byte \(start): the size of a member is not a number")
                    }
                    size = value
                }
                let name = header["path"] ?? longName ?? Self.name(block)
                let target = header["linkpath"] ?? longTarget ?? Array(block[157..<257].prefix { $0 != 0 })
                guard type != UInt8(ascii: "S"), !header.keys.contains(where: { $0.hasPrefix("GNU.sparse.") })
                else {
                    throw error(
                        .unsupported,
                        "“\(String(decoding: name, as: UTF8.self))” is stored as a sparse file, which is not "
                            + "read")
                }
                let kind = Self.kind(type, name: name)
                // Links, folders and devices have no content, whatever their size says.
                if kind != .file, !(UInt8(ascii: "7")...UInt8(ascii: "z")).contains(type) { size = 0 }
                try advance(over: size, from: content, name: name)
                return TarMember(kind: kind, name: name, offset: content, byteCount: size, target: target)
            }
            try advance(over: size, from: content, name: nil)
        }
    }

    /// Returns a reader of a member that is an archive.
    func inner(_ member: TarMember) throws -> TarReader { try TarReader(file, member: member) }

    /// Returns the content of a small member.
    mutating func content(_ member: TarMember) throws -> [UInt8] {
        try bytes(member.byteCount, at: member.offset, of: "“\(member.text)”")
    }

    // MARK: - Parts of a header

    private static func kind(_ type: UInt8, name: [UInt8]) -> TarMember.Kind {
        switch type {
        case 0, UInt8(ascii: "0"), UInt8(ascii: "7"):
            // Before ustar, a slash at the end of a name marked a folder.
            name.last == UInt8(ascii: "/") ? .folder : .file
        case UInt8(ascii: "1"), UInt8(ascii: "2"): .link
        case UInt8(ascii: "5"): .folder
        default: .other
        }
    }

    private static func name(_ block: [UInt8]) -> [UInt8] {
        let name = Array(block[0..<100].prefix { $0 != 0 })
        // In GNU's own format, whose mark ends with a space, times are where ustar has the prefix.
        guard block[257..<263].elementsEqual("ustar\0".utf8) else { return name }
        let prefix = block[345..<500].prefix { $0 != 0 }
        return prefix.isEmpty ? name : prefix + [UInt8(ascii: "/")] + name
    }

    /// Reads an octal number, or GNU's number in base 256; nil if it is neither.
    static func number(_ field: ArraySlice<UInt8>) -> Int? {
        if let first = field.first, first & 0x80 != 0 {
            var value = UInt64(first & 0x7F)
            for byte in field.dropFirst() {
                guard value >> 55 == 0 else { return nil }
                value = value << 8 | UInt64(byte)
            }
            return Int(value)
        }
        let digits = field.drop { $0 == 0x20 }.prefix { $0 != 0 && $0 != 0x20 }
        if digits.isEmpty { return 0 }
        return Int(String(decoding: digits, as: UTF8.self), radix: 8).flatMap { $0 >= 0 ? $0 : nil }
    }

    /// Whether the header's checksum is that of its bytes; some old programs added them as signed numbers.
    private static func hasChecksum(_ block: [UInt8]) -> Bool {
        guard let stored = number(block[148..<156]) else { return false }
        var unsigned = 0
        var signed = 0
        for (index, byte) in block.enumerated() {
            let byte = (148..<156).contains(index) ? 0x20 : byte
            unsigned += Int(byte)
            signed += Int(Int8(bitPattern: byte))
        }
        return stored == unsigned || stored == signed
    }

    /// Returns the name of a compression whose mark a file begins with.
    private static func compression(_ block: [UInt8]) -> String {
        let marks: [([UInt8], String)] = [
            ([0x1F, 0x8B], "gzip"), ([0x42, 0x5A, 0x68], "bzip2"), ([0xFD, 0x37, 0x7A, 0x58, 0x5A], "xz"),
            ([0x28, 0xB5, 0x2F, 0xFD], "zstd"), ([0x50, 0x4B, 3, 4], "zip"),
        ]
        return marks.first { block.starts(with: $0.0) }.map { "; it is compressed (\($0.1))" } ?? ""
    }

    /// Returns the records of a pax header, each of which is `LENGTH KEY=VALUE` and a line feed.
    private func paxRecords(_ bytes: [UInt8], at start: Int) throws -> [String: [UInt8]] {
        var records: [String: [UInt8]] = [:]
        var rest = bytes[...]
        while !rest.isEmpty, rest.first != 0 {
            guard let space = rest.firstIndex(of: 0x20),
                let length = Int(String(decoding: rest[..<space], as: UTF8.self)), length > 0,
                length <= rest.count, space < rest.startIndex + length - 1,
                rest[rest.startIndex + length - 1] == 0x0A,
                let equals = rest[space..<rest.startIndex + length].firstIndex(of: UInt8(ascii: "="))
            else { throw error(.damaged, "damaged at byte \(start): a pax header without its form") }
            let key = String(decoding: rest[rest.index(after: space)..<equals], as: UTF8.self)
            records[key] = Array(rest[(equals + 1)..<(rest.startIndex + length - 1)])
            rest = rest.dropFirst(length)
        }
        return records
    }

    // MARK: - Bytes

    private mutating func extended(_ size: Int, at offset: Int, of start: Int) throws -> [UInt8] {
        guard size <= TarReader.longestExtension else {
            throw error(.damaged, "damaged at byte \(start): a name of \(size) bytes")
        }
        return try bytes(size, at: offset, of: "a long name")
    }

    /// Moves behind a member's content, which must be there as a whole.
    private mutating func advance(over size: Int, from content: Int, name: [UInt8]?) throws {
        guard size <= end - content else {
            let member = name.map { "“\(String(decoding: $0, as: UTF8.self))”" } ?? "a header"
            throw error(
                .truncated,
                "truncated: it ends at byte \(end), within \(member), which has \(size) bytes from byte "
                    + "\(content) on")
        }
        position = min(end, content + size.roundedUp(to: TarReader.block))
    }

    private mutating func bytes(_ count: Int, at offset: Int, of what: String) throws -> [UInt8] {
        guard count <= end - offset else {
            throw error(.truncated, "truncated: it ends at byte \(end), within \(what)")
        }
        let first = offset - windowStart
        if first < 0 || first + count > window.count {
            windowStart = offset
            window = try file.bytes(min(end - offset, max(count, 4096)), at: offset)
        }
        return Array(window[offset - windowStart..<offset - windowStart + count])
    }

    private func error(_ problem: DatasetError.ArchiveProblem, _ found: String) -> DatasetError {
        DatasetError(.badArchive(problem), "\(path): \(found)")
    }
}
