import Foundation
import Photographs
import Randomness

/// Reads pictures of one format: damaged files, of which some were valid.
protocol PictureTarget: Target {
    /// Words of the format.
    static var words: [String] { get }
    var file: MemoryFile { get }
    /// Valid files.
    var seeds: [[UInt8]] { get }
    /// Damages a file, with parts of another one.
    func damage(_ bytes: inout [UInt8], _ other: [UInt8], _ mutation: inout Mutation)
}

extension PictureTarget {
    func input(seed: UInt64, index: UInt64) -> [UInt8] {
        var mutation = Mutation(seed: seed, index: index, words: Self.words)
        var bytes = mutation.choose(seeds)
        let other = mutation.choose(seeds)
        damage(&bytes, other, &mutation)
        return bytes
    }

    func check(_ bytes: [UInt8]) throws -> Bool {
        let first: DecodedImage
        do { first = try decodeImage(bytes) } catch is ImageError { return false }
        guard first.width > 0, first.height > 0, first.pixels.count == 3 * first.width * first.height else {
            throw Finding(
                description: "\(first.width) × \(first.height) pixels in \(first.pixels.count) bytes")
        }
        // Uninitialised memory would differ.
        guard try decodeImage(bytes) == first else {
            throw Finding(description: "decoding twice gives different pixels")
        }
        file.write(bytes)
        // Refusing a strip that would become too large is correct.
        guard let resized = try? loadImage(path: file.path, shortSide: 9) else { return false }
        guard min(resized.width, resized.height) == 9 else {
            throw Finding(description: "\(resized.width) × \(resized.height) pixels for a short side of 9")
        }
        return true
    }
}

/// Returns EXIF data with one entry, the orientation.
func exif(_ orientation: Int) -> [UInt8] {
    [0x4D, 0x4D, 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, UInt8(orientation), 0, 0, 0, 0, 0, 0]
}

struct PNGTarget: PictureTarget {
    static let words = ["IHDR", "PLTE", "tRNS", "IDAT", "IEND", "eXIf", "acTL", "iCCP", "\0\0\0\0IDAT"]
    let file = MemoryFile()
    let seeds: [[UInt8]]

    init() {
        var random = Philox(seed: 2, purpose: .fuzzing)
        var seeds: [[UInt8]] = []
        for colour in PNGFile.Colour.allCases {
            for depth in colour.depths {
                for isInterlaced in [false, true] {
                    var png = PNGFile(width: 19, height: 11, colour: colour, depth: depth)
                    png.isInterlaced = isInterlaced
                    if colour == .palette {
                        png.palette = (0..<3 << depth).map { _ in UInt8(random.integer(below: 256)) }
                        png.transparency = [0, 100]
                    } else if colour.rawValue < 4, random.integer(below: 2) == 0 {
                        png.transparency = Array(repeating: 0, count: 2 * colour.channels)
                    }
                    if random.integer(below: 2) == 0 { png.exif = exif(random.integer(below: 10)) }
                    png.exifIsLast = random.integer(below: 2) == 0
                    seeds.append(png.bytes { _, _, _ in random.integer(below: 1 << depth) })
                }
            }
        }
        let pixels: [UInt8] = (0..<3 * 40 * 30).map { (place: Int) in UInt8(truncatingIfNeeded: place / 7) }
        if let compressed = try? encodePNG(DecodedImage(width: 40, height: 30, pixels: pixels)) {
            seeds += Array(repeating: compressed, count: 8)
        }
        self.seeds = seeds
    }

    func damage(_ bytes: inout [UInt8], _ other: [UInt8], _ mutation: inout Mutation) {
        if mutation.oneIn(3) {
            // Size, depth, colour, interlacing.
            let extremes: [UInt8] = [0, 1, 2, 3, 4, 6, 8, 16, 0x7F, 0xFF]
            bytes[16 + mutation.number(below: 13)] = mutation.choose(extremes)
        } else {
            mutation.apply(to: &bytes, other: other)
        }
        // A wrong checksum alone would hide the rest of the reader.
        if !mutation.oneIn(8) { bytes = PNGFile.withChecksums(bytes) }
    }
}

struct WebPTarget: PictureTarget {
    static let words = ["RIFF", "WEBP", "VP8 ", "VP8L", "VP8X", "ALPH", "ANIM", "ANMF", "EXIF"]
    let file = MemoryFile()
    let seeds: [[UInt8]]

    init() {
        var random = Philox(seed: 3, purpose: .fuzzing)
        let (width, height) = (38, 22)
        var seeds: [[UInt8]] = []
        for quality in [nil, 20, 90] as [Float?] {
            for isTransparent in [false, true] {
                let count = width * height * (isTransparent ? 4 : 3)
                let pixels: [UInt8] = (0..<count).map { (place: Int) in
                    UInt8(truncatingIfNeeded: place * 7 + random.integer(below: 64))
                }
                let encoded = try? WebPFile.encode(
                    pixels, width: width, height: height, isTransparent: isTransparent, quality: quality)
                guard let encoded else { continue }
                let exif = exif(random.integer(below: 10))
                seeds += [
                    encoded, WebPFile.withEXIF(exif, in: encoded, width: width, height: height),
                    WebPFile.animation(width: width, height: height, [(0, 0, width, height, encoded)]),
                    WebPFile.animation(width: 60, height: 40, [(4, 6, width, height, encoded)]),
                ]
            }
        }
        self.seeds = seeds
    }

    func damage(_ bytes: inout [UInt8], _ other: [UInt8], _ mutation: inout Mutation) {
        if mutation.oneIn(3) {
            // The container's chunks and the headers of the coded pictures.
            bytes[12 + mutation.number(below: 60)] = UInt8(mutation.number(below: 256))
        } else {
            mutation.apply(to: &bytes, other: other)
        }
        // A canvas of gigabytes is painted, or refused, at length.
        if bytes.count > 30, bytes[12..<16].elementsEqual("VP8X".utf8), !mutation.oneIn(100) {
            bytes[26] = 0
            bytes[29] = 0
        }
        guard bytes.count >= 8, !mutation.oneIn(8) else { return }
        let size = bytes.count - 8
        bytes.replaceSubrange(4..<8, with: (0..<4).map { UInt8(truncatingIfNeeded: size >> (8 * $0)) })
    }
}
