/// Assembles PNG files of every kind, uncompressed: input for tests and for the fuzzer.
package struct PNGFile {
    package enum Colour: UInt8, CaseIterable, Sendable {
        case grey = 0, rgb = 2, palette = 3, greyAlpha = 4, rgba = 6

        package var channels: Int {
            switch self {
            case .grey, .palette: 1
            case .greyAlpha: 2
            case .rgb: 3
            case .rgba: 4
            }
        }

        /// The bits of a sample that the format allows.
        package var depths: [Int] {
            switch self {
            case .grey: [1, 2, 4, 8, 16]
            case .palette: [1, 2, 4, 8]
            default: [8, 16]
            }
        }
    }

    package var width, height: Int
    package var colour: Colour
    package var depth = 8
    package var isInterlaced = false
    /// RGB by entry.
    package var palette: [UInt8] = []
    /// The content of a tRNS chunk, which makes entries or one colour transparent.
    package var transparency: [UInt8] = []
    /// The content of an eXIf chunk.
    package var exif: [UInt8] = []
    /// Whether that chunk follows the pixels.
    package var exifIsLast = false

    package init(width: Int, height: Int, colour: Colour, depth: Int = 8) {
        (self.width, self.height, self.colour, self.depth) = (width, height, colour, depth)
    }

    package static let signature: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]

    /// The columns and rows of each pass: the first, and the distance to the next.
    private static let passes: [(x: Int, y: Int, right: Int, down: Int)] = [
        (x: 0, y: 0, right: 8, down: 8), (4, 0, 8, 8), (0, 4, 4, 8),
        (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
    ]

    /// Returns the file with the samples that `sample` gives, of `depth` bits each.
    package func bytes(sample: (_ x: Int, _ y: Int, _ channel: Int) -> Int) -> [UInt8] {
        var rows: [UInt8] = []
        let passes = isInterlaced ? Self.passes : [(x: 0, y: 0, right: 1, down: 1)]
        for pass in passes where pass.x < width {
            for y in stride(from: pass.y, to: height, by: pass.down) {
                rows.append(0)  // not filtered
                var (packed, bits) = (0, 0)
                for x in stride(from: pass.x, to: width, by: pass.right) {
                    for channel in 0..<colour.channels {
                        packed = packed << depth | sample(x, y, channel)
                        bits += depth
                        while bits >= 8 {
                            bits -= 8
                            rows.append(UInt8(truncatingIfNeeded: packed >> bits))
                        }
                        packed &= 1 << bits - 1
                    }
                }
                if bits > 0 { rows.append(UInt8(truncatingIfNeeded: packed << (8 - bits))) }
            }
        }
        let header =
            Self.number(width) + Self.number(height) + [
                UInt8(depth), colour.rawValue, 0, 0, isInterlaced ? 1 : 0,
            ]
        let exifChunk = exif.isEmpty ? [] : Self.chunk("eXIf", exif)
        return Self.signature + Self.chunk("IHDR", header) + (exifIsLast ? [] : exifChunk)
            + (palette.isEmpty ? [] : Self.chunk("PLTE", palette))
            + (transparency.isEmpty ? [] : Self.chunk("tRNS", transparency))
            + Self.chunk("IDAT", Self.stored(rows)) + (exifIsLast ? exifChunk : []) + Self.chunk("IEND", [])
    }

    private static func number(_ value: Int) -> [UInt8] {
        [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
    }

    package static func chunk(_ type: String, _ content: [UInt8]) -> [UInt8] {
        let checked = Array(type.utf8) + content
        return number(content.count) + checked + number(checksum(checked[...]))
    }

    /// Returns the file with the checksum that each of its chunks should have.
    package static func withChecksums(_ file: [UInt8]) -> [UInt8] {
        var file = file
        var start = signature.count
        while start + 12 <= file.count {
            let length = file[start..<start + 4].reduce(0) { $0 << 8 | Int($1) }
            let end = start + 8 + length
            guard end + 4 <= file.count else { break }
            file.replaceSubrange(end..<end + 4, with: number(checksum(file[start + 4..<end])))
            start = end + 4
        }
        return file
    }

    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { value, _ in value & 1 == 1 ? value >> 1 ^ 0xEDB8_8320 : value >> 1 }
    }

    /// Returns the CRC-32 of bytes.
    private static func checksum(_ bytes: ArraySlice<UInt8>) -> Int {
        Int(~bytes.reduce(~0 as UInt32) { table[Int(UInt8(truncatingIfNeeded: $0) ^ $1)] ^ $0 >> 8 })
    }

    /// Returns zlib's format without compression.
    private static func stored(_ bytes: [UInt8]) -> [UInt8] {
        var output: [UInt8] = [0x78, 0x01]
        var start = 0
        repeat {
            let end = min(bytes.count, start + 65_535)
            let (low, high) = (UInt8((end - start) & 255), UInt8((end - start) >> 8))
            output += [end == bytes.count ? 1 : 0, low, high, ~low, ~high]
            output += bytes[start..<end]
            start = end
        } while start < bytes.count
        var (sum, sums) = (1, 0)
        for byte in bytes {
            sum = (sum + Int(byte)) % 65_521
            sums = (sums + sum) % 65_521
        }
        return output + number(sums << 16 | sum)
    }
}
