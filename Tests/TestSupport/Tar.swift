import Foundation

/// Makes tar archives for tests, by plain code of its own.
public struct Tar {
    /// How names are written that do not fit a header.
    public enum Form: Sendable, CaseIterable { case v7, ustar, gnu, pax }

    public private(set) var bytes: [UInt8] = []
    private let form: Form

    public init(_ form: Form = .ustar) { self.form = form }

    /// Adds a file.
    public mutating func add(_ name: String, _ content: [UInt8]) { add(Array(name.utf8), content) }

    public mutating func add(_ name: String, _ content: String) { add(name, Array(content.utf8)) }

    public mutating func add(_ name: [UInt8], _ content: [UInt8]) {
        add(name, content, type: form == .v7 ? 0 : UInt8(ascii: "0"))
    }

    public mutating func addFolder(_ name: String) {
        add(Array(name.utf8), [], type: form == .v7 ? 0 : UInt8(ascii: "5"))
    }

    public mutating func addLink(_ name: String, to target: String, isHard: Bool = false) {
        add(Array(name.utf8), [], type: UInt8(ascii: isHard ? "1" : "2"), target: Array(target.utf8))
    }

    /// Returns the archive with its end mark.
    public func finished() -> [UInt8] { bytes + [UInt8](repeating: 0, count: 1024) }

    /// Adds an entry of any type.
    public mutating func add(_ name: [UInt8], _ content: [UInt8], type: UInt8, target: [UInt8] = []) {
        var (short, prefix) = (name, [UInt8]())
        if name.count > 100 {
            switch form {
            case .v7: preconditionFailure("the name is too long")
            case .ustar:
                let slash = name.indices.last { $0 <= 155 && name[$0] == UInt8(ascii: "/") }!
                (prefix, short) = (Array(name[..<slash]), Array(name[(slash + 1)...]))
            case .gnu:
                header(Array("././@LongLink".utf8), size: name.count + 1, type: UInt8(ascii: "L"))
                append(name + [0])
                short = Array(name.prefix(100))
            case .pax:
                let text = Self.record("path", name) + Self.record("mtime", Array("1.5".utf8))
                header(Array("PaxHeaders/x".utf8), size: text.count, type: UInt8(ascii: "x"))
                append(text)
                short = Array(name.prefix(100))
            }
        }
        header(short, size: content.count, type: type, prefix: prefix, target: target)
        append(content)
    }

    /// Returns a record of a pax header, whose length counts its own digits.
    private static func record(_ key: String, _ value: [UInt8]) -> [UInt8] {
        let rest = Array(" \(key)=".utf8) + value + [0x0A]
        var length = rest.count
        while length != rest.count + "\(length)".utf8.count { length = rest.count + "\(length)".utf8.count }
        return Array("\(length)".utf8) + rest
    }

    private mutating func append(_ content: [UInt8]) {
        bytes += content + [UInt8](repeating: 0, count: (512 - content.count % 512) % 512)
    }

    private mutating func header(
        _ name: [UInt8], size: Int, type: UInt8, prefix: [UInt8] = [], target: [UInt8] = []
    ) {
        var block = [UInt8](repeating: 0, count: 512)
        func put(_ text: [UInt8], _ offset: Int) {
            block.replaceSubrange(offset..<offset + text.count, with: text)
        }
        func octal(_ value: Int, _ digits: Int) -> [UInt8] {
            let text = String(value, radix: 8)
            return Array((String(repeating: "0", count: digits - text.count) + text).utf8)
        }
        put(name, 0)
        put(octal(0o644, 7), 100)
        put(octal(size, 11), 124)
        put([UInt8](repeating: 0x20, count: 8), 148)
        block[156] = type
        put(target, 157)
        switch form {
        case .v7: break
        case .gnu:
            put(Array("ustar  ".utf8), 257)
            // GNU's format has times here, which are no part of a name.
            put(octal(7, 11), 345)
        case .ustar, .pax: put(Array("ustar\u{0}00".utf8), 257)
        }
        put(prefix, 345)
        put(octal(block.reduce(0) { $0 + Int($1) }, 6) + [0, 0x20], 148)
        bytes += block
    }
}
