/// Encodes a picture as a PNG file: 8 bits a channel, stored without compression (the format's deflate allows
/// it), so a little larger than its pixels.
public func encodePNG(_ image: DecodedImage) -> [UInt8] {
    var rows: [UInt8] = []
    rows.reserveCapacity(image.height * (1 + 3 * image.width))
    for y in 0..<image.height {
        rows.append(0)  // filter: none
        rows += image.pixels[3 * y * image.width..<3 * (y + 1) * image.width]
    }
    var file: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
    // 8 bits, RGB, the one compression and filter method there is, not interlaced
    appendChunk(
        "IHDR", bigEndian(UInt32(image.width)) + bigEndian(UInt32(image.height)) + [8, 2, 0, 0, 0], to: &file)
    appendChunk("IDAT", storedZlib(rows), to: &file)
    appendChunk("IEND", [], to: &file)
    return file
}

private func bigEndian(_ value: UInt32) -> [UInt8] {
    (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * $0)) }
}

private func appendChunk(_ type: String, _ body: [UInt8], to file: inout [UInt8]) {
    file += bigEndian(UInt32(body.count))
    let checked = Array(type.utf8) + body
    file += checked
    file += bigEndian(crc32(checked))
}

/// A zlib stream of stored blocks.
private func storedZlib(_ bytes: [UInt8]) -> [UInt8] {
    var stream: [UInt8] = [0x78, 0x01]
    stream.reserveCapacity(bytes.count + bytes.count / 65_535 * 5 + 16)
    var start = 0
    repeat {
        let end = min(bytes.count, start + 65_535)
        let count = UInt16(end - start)
        stream += [
            end == bytes.count ? 1 : 0, UInt8(count & 255),
            UInt8(count >> 8), UInt8(~count & 255), UInt8(~count >> 8),
        ]
        stream += bytes[start..<end]
        start = end
    } while start < bytes.count
    return stream + bigEndian(adler32(bytes))
}

func adler32(_ bytes: [UInt8]) -> UInt32 {
    var (a, b) = (UInt32(1), UInt32(0))
    for byte in bytes {
        a = (a + UInt32(byte)) % 65_521
        b = (b + a) % 65_521
    }
    return b << 16 | a
}

private let crcTable: [UInt32] = (0..<256).map { index in
    (0..<8).reduce(UInt32(index)) { value, _ in value & 1 == 1 ? 0xEDB8_8320 ^ (value >> 1) : value >> 1 }
}

func crc32(_ bytes: [UInt8]) -> UInt32 {
    ~bytes.reduce(~UInt32(0)) { crcTable[Int(($0 ^ UInt32($1)) & 255)] ^ ($0 >> 8) }
}
