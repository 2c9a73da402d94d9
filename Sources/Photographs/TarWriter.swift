import Basics
import Foundation

/// Writes files to a tar archive in the pax format, and adds up its checksum.
///
/// Equal contents give equal bytes: there are no times and no owners in it.
final class TarWriter {
    private let file: FileDescriptor
    private var hash = SHA256()
    private(set) var byteCount = 0

    /// - Parameter path: replaces a file there.
    init(_ path: String) throws { file = try FileDescriptor(path, O_WRONLY | O_CREAT | O_TRUNC) }

    func add(_ name: String, _ content: [UInt8]) throws {
        let name = Array(name.utf8)
        // In ustar the name may also be split at a slash, but some names would not fit even so.
        if name.count > 100 {
            let record = Self.record("path", name)
            try write(Self.header(Array("pax".utf8), size: record.count, type: UInt8(ascii: "x")))
            try writePadded(record)
        }
        try write(Self.header(Array(name.prefix(100)), size: content.count, type: UInt8(ascii: "0")))
        try writePadded(content)
    }

    /// Writes the end mark, and waits until the archive is on the disk.
    ///
    /// - Returns: the SHA-256 of the archive.
    func finish() throws -> String {
        try write([UInt8](repeating: 0, count: 2 * TarReader.block))
        try file.synchronize()
        return hash.text
    }

    private func write(_ bytes: [UInt8]) throws {
        try file.write(bytes)
        hash.add(bytes)
        byteCount += bytes.count
    }

    private func writePadded(_ content: [UInt8]) throws {
        let padding = content.count.roundedUp(to: TarReader.block) - content.count
        try write(content + [UInt8](repeating: 0, count: padding))
    }

    private static func header(_ name: [UInt8], size: Int, type: UInt8) -> [UInt8] {
        var block = [UInt8](repeating: 0, count: TarReader.block)
        func put(_ text: some Collection<UInt8>, at offset: Int) {
            block.replaceSubrange(offset..<offset + text.count, with: text)
        }
        func octal(_ value: Int, digits: Int) -> String.UTF8View {
            let text = String(value, radix: 8)
            return (String(repeating: "0", count: max(0, digits - text.utf8.count)) + text).utf8
        }
        put(name, at: 0)
        put("0000644".utf8, at: 100)
        put("0000000".utf8, at: 108)
        put("0000000".utf8, at: 116)
        put(octal(size, digits: 11), at: 124)
        put("00000000000".utf8, at: 136)
        put("        ".utf8, at: 148)
        block[156] = type
        put("ustar\u{0}00".utf8, at: 257)
        put(octal(block.reduce(0) { $0 + Int($1) }, digits: 6), at: 148)
        block[154] = 0
        return block
    }

    /// Returns a record of a pax header; its length includes its own digits.
    private static func record(_ key: String, _ value: [UInt8]) -> [UInt8] {
        let rest = Array(" \(key)=".utf8) + value + [0x0A]
        var length = rest.count
        while length != rest.count + String(length).utf8.count {
            length = rest.count + String(length).utf8.count
        }
        return Array(String(length).utf8) + rest
    }
}
