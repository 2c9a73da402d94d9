import Photographs
import Randomness

/// Reads the list of a tar archive: damaged archives, whose headers' checksums are mostly right.
struct ArchiveTarget: Target {
    private let file = MemoryFile()

    /// One entry of an archive.
    private struct Entry {
        var name: [UInt8]
        var content: [UInt8]
        var type = UInt8(ascii: "0")
        var size: [UInt8]?
    }

    private static let names = [
        "cat/1.jpg", "./dog/2.JPEG", "a.cls", "a.jpg", "a.json", "b.tar", "x/../y.png",
        "/root.jpg", ".hidden.jpg", "", "deep/er/and/deeper/3.webp", "caf\u{E9}/4.jpg",
    ]

    func input(seed: UInt64, index: UInt64) -> [UInt8] {
        var mutation = Mutation(
            seed: seed, index: index,
            words: ["ustar\u{0}00", "ustar  \u{0}", "path=", "size=", "GNU.sparse.", "././@LongLink"])
        var bytes = archive(&mutation, depth: 0)
        let other = archive(&mutation, depth: 1)
        if !mutation.oneIn(4) { mutation.apply(to: &bytes, other: other) }
        return bytes
    }

    private func archive(_ mutation: inout Mutation, depth: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        for _ in 0..<mutation.number(below: 6) {
            for entry in entries(&mutation, depth: depth) {
                var header = Self.header(entry)
                if mutation.oneIn(12) {
                    header[mutation.number(below: 512)] = UInt8(mutation.number(below: 256))
                    if !mutation.oneIn(4) { Self.sign(&header) }
                }
                bytes += header + entry.content
                bytes += [UInt8](repeating: 0, count: (512 - entry.content.count % 512) % 512)
            }
        }
        return bytes + [UInt8](repeating: 0, count: mutation.oneIn(8) ? 0 : 1024)
    }

    /// Returns an entry with the extended headers before it.
    private func entries(_ mutation: inout Mutation, depth: Int) -> [Entry] {
        let name = Array(mutation.choose(Self.names).utf8)
        var entry = Entry(
            name: name, content: (0..<mutation.number(below: 700)).map { UInt8(truncatingIfNeeded: $0) })
        if mutation.oneIn(3) { entry.content = Array("\(mutation.number(below: 5))".utf8) }
        if depth == 0, name.suffix(4).elementsEqual(".tar".utf8) {
            entry.content = archive(&mutation, depth: 1)
        }
        if mutation.oneIn(6) { entry.type = UInt8(mutation.choose(Array("123457LKxgSVD".utf8))) }
        if mutation.oneIn(12) {
            // Numbers beyond the archive, negative ones and those in base 256.
            entry.size = mutation.choose([
                Array("77777777777".utf8), Array("-1".utf8), Array("9".utf8),
                [0x80] + [UInt8](repeating: 0xFF, count: 11),
                [0xFF] + [UInt8](repeating: 0xFF, count: 11), [],
            ])
        }
        switch mutation.number(below: 6) {
        case 0:
            let long = Array(String(repeating: "long/", count: mutation.number(below: 60)).utf8) + name + [0]
            return [Entry(name: Array("././@LongLink".utf8), content: long, type: UInt8(ascii: "L")), entry]
        case 1:
            let key = mutation.choose(["path", "size", "linkpath", "GNU.sparse.major", "mtime"])
            let value = mutation.choose(["9", "99999999999999999999", "-1", "p/5.jpg", "", "\u{0}"])
            let length =
                mutation.oneIn(3) ? mutation.number(below: 100) : key.utf8.count + value.utf8.count + 5
            return [
                Entry(
                    name: Array("pax".utf8), content: Array("\(length) \(key)=\(value)\n".utf8),
                    type: mutation.oneIn(3) ? UInt8(ascii: "g") : UInt8(ascii: "x")), entry,
            ]
        default: return [entry]
        }
    }

    private static func header(_ entry: Entry) -> [UInt8] {
        var block = [UInt8](repeating: 0, count: 512)
        func put(_ text: [UInt8], _ offset: Int, _ limit: Int) {
            block.replaceSubrange(offset..<offset + min(text.count, limit), with: text.prefix(limit))
        }
        let digits = String(entry.content.count, radix: 8)
        put(entry.name, 0, 100)
        put(entry.size ?? Array((String(repeating: "0", count: 11 - digits.count) + digits).utf8), 124, 12)
        block[156] = entry.type
        put(Array("cat/1.jpg".utf8), 157, 100)
        put(Array("ustar\u{0}00".utf8), 257, 8)
        sign(&block)
        return block
    }

    private static func sign(_ block: inout [UInt8]) {
        for place in 148..<156 { block[place] = 0x20 }
        let digits = String(block.reduce(0) { $0 + Int($1) }, radix: 8)
        block.replaceSubrange(
            148..<154, with: (String(repeating: "0", count: 6 - digits.count) + digits).utf8)
        block[154] = 0
    }

    func check(_ bytes: [UInt8]) throws -> Bool {
        file.write(bytes)
        let places: [(offset: Int, byteCount: Int)]
        do { places = try photographsInArchive(file.path) } catch is DatasetError { return false }
        for (offset, byteCount) in places {
            guard offset >= 512, byteCount >= 0, byteCount <= bytes.count - offset else {
                throw Finding(
                    description: "a photograph at byte \(offset) with \(byteCount) bytes of \(bytes.count)")
            }
        }
        return true
    }
}
