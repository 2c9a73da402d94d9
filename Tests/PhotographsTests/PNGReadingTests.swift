import TestSupport
import Testing

@testable import Photographs

/// Describes a kind of PNG file for a test.
private struct Kind: Sendable, CustomTestStringConvertible {
    let colour: PNGFile.Colour
    let depth: Int
    let isInterlaced: Bool

    static let all = PNGFile.Colour.allCases.flatMap { colour in
        colour.depths.flatMap { depth in
            [false, true].map { Kind(colour: colour, depth: depth, isInterlaced: $0) }
        }
    }

    var testDescription: String { "\(colour), \(depth) bits\(isInterlaced ? ", interlaced" : "")" }

    func file(width: Int, height: Int) -> PNGFile {
        var file = PNGFile(width: width, height: height, colour: colour, depth: depth)
        file.isInterlaced = isInterlaced
        return file
    }

    /// A sample that differs between pixels and channels, and takes all values of few bits.
    func sample(_ x: Int, _ y: Int, _ channel: Int) -> Int {
        let mixed = UInt32(truncatingIfNeeded: 7 * x + 31 * y + 113 * channel) &* 2_654_435_761
        return Int(mixed >> 13) & (1 << depth - 1)
    }
}

/// Returns a sample of `depth` bits as one of 8, rounded to the nearest.
private func scaled(_ sample: Int, _ depth: Int) -> Int {
    let most = 1 << depth - 1
    return (2 * sample * 255 + most) / (2 * most)
}

/// Returns the colour on white, both of `depth` bits, rounded to the nearest.
private func onWhite(_ colour: Int, _ alpha: Int, _ depth: Int) -> Int {
    let most = 1 << depth - 1
    return (2 * (colour * alpha + most * (most - alpha)) + most) / (2 * most)
}

@Suite struct PNGReadingTests {
    private func failure(_ file: [UInt8], shortSide: Int? = nil) -> ImageError? {
        #expect(throws: ImageError.self) { try decodeImage(file, shortSide: shortSide, name: "a/b.png") }
    }

    /// Every type of colour with every number of bits, against the format's definition.
    @Test(arguments: Kind.all, [(13, 11), (1, 1), (2, 9)]) private func allKinds(
        kind: Kind, size: (width: Int, height: Int)
    ) throws {
        var file = kind.file(width: size.width, height: size.height)
        if kind.colour == .palette {
            file.palette = (0..<3 << kind.depth).map { UInt8(truncatingIfNeeded: 37 * $0 + 11) }
            // Fewer entries than colours: the others are opaque.
            file.transparency = kind.depth > 1 ? [0, 255, 100] : [100]
        }
        var expected: [Int] = []
        for y in 0..<size.height {
            for x in 0..<size.width {
                let samples = (0..<kind.colour.channels).map { kind.sample(x, y, $0) }
                switch kind.colour {
                case .grey: expected += Array(repeating: scaled(samples[0], kind.depth), count: 3)
                case .rgb: expected += samples.map { scaled($0, kind.depth) }
                case .palette:
                    let entry = file.palette[3 * samples[0]..<3 * samples[0] + 3].map(Int.init)
                    let alpha =
                        samples[0] < file.transparency.count ? Int(file.transparency[samples[0]]) : 255
                    expected += entry.map { onWhite($0, alpha, 8) }
                case .greyAlpha:
                    let light = scaled(onWhite(samples[0], samples[1], kind.depth), kind.depth)
                    expected += [light, light, light]
                case .rgba:
                    expected += samples[..<3].map { scaled(onWhite($0, samples[3], kind.depth), kind.depth) }
                }
            }
        }
        let decoded = try decodeImage(file.bytes(sample: kind.sample))
        #expect((decoded.width, decoded.height) == size)
        #expect(decoded.pixels.map(Int.init) == expected)
    }

    /// One colour of a picture without an alpha channel may be transparent.
    @Test(arguments: [1, 8, 16]) func transparentColour(depth: Int) throws {
        var file = PNGFile(width: 2, height: 1, colour: .grey, depth: depth)
        file.transparency = [0, 0]
        #expect(
            try decodeImage(file.bytes { x, _, _ in x == 0 ? 0 : 1 << depth - 1 }).pixels.allSatisfy {
                $0 == 255
            })
        guard depth > 1 else { return }
        let samples = depth == 8 ? [10, 20, 30] : [0x0A0A, 0x1414, 0x1E1E]
        file = PNGFile(width: 2, height: 1, colour: .rgb, depth: depth)
        file.transparency = samples.flatMap { [UInt8($0 >> 8), UInt8($0 & 255)] }
        let decoded = try decodeImage(
            file.bytes { x, _, channel in samples[channel] + (x == 0 ? 0 : samples[0]) })
        #expect(decoded.pixels == [255, 255, 255, 20, 30, 40])
    }

    /// Rows that libpng has filtered and compressed.
    @Test func compressed() throws {
        for picture in [smoothPicture(width: 67, height: 45), noisePicture(width: 31, height: 8)] {
            #expect(try decodeImage(encodePNG(picture)) == picture)
        }
    }

    /// The eXIf chunk turns the picture, wherever it is in the file.
    @Test(arguments: 1...8, [false, true]) func exifOrientation(orientation: Int, isInterlaced: Bool) throws {
        let upright = noisePicture(width: 12, height: 7)
        let (width, height) = orientation >= 5 ? (7, 12) : (12, 7)
        for (isLast, bigEndian) in [(false, true), (true, false)] {
            var file = PNGFile(width: width, height: height, colour: .rgb)
            file.isInterlaced = isInterlaced
            file.exif = Array(exif(orientation: orientation, bigEndian: bigEndian).dropFirst(6))
            file.exifIsLast = isLast
            let bytes = file.bytes { column, row, channel in
                let (x, y) = uprightPosition(
                    column: column, row: row, orientation: orientation, width: 12, height: 7)
                return Int(upright.pixels[3 * (12 * y + x) + channel])
            }
            #expect(try decodeImage(bytes) == upright)
        }
    }

    /// Damaged EXIF data means orientation 1.
    @Test func exifGarbage() throws {
        let picture = noisePicture(width: 4, height: 3)
        let good = Array(exif(orientation: 6, bigEndian: false).dropFirst(6))
        for garbage in (1..<20).map({ Array(good[..<$0]) }) + [Array(repeating: 0xFF, count: 40)] {
            var file = PNGFile(width: 4, height: 3, colour: .rgb)
            file.exif = garbage
            let bytes = file.bytes { x, y, channel in Int(picture.pixels[3 * (4 * y + x) + channel]) }
            #expect(try decodeImage(bytes) == picture, "\(garbage.count) bytes")
        }
    }

    /// Rows that go straight to the resizer give the bytes of the complete picture.
    @Test(arguments: [5, 20, 31, 64]) func resized(shortSide: Int) throws {
        let picture = noisePicture(width: 50, height: 31)
        let expected = picture.resized(shortSide: shortSide)
        #expect(try decodeImage(encodePNG(picture), shortSide: shortSide) == expected)
        var file = PNGFile(width: 50, height: 31, colour: .rgb)
        file.isInterlaced = true
        let bytes = file.bytes { x, y, channel in Int(picture.pixels[3 * (50 * y + x) + channel]) }
        #expect(try decodeImage(bytes, shortSide: shortSide) == expected)
    }

    /// Of the pixels that are needed, each is that of the complete picture; damage below them is found.
    @Test func partOfThePicture() throws {
        let picture = noisePicture(width: 60, height: 40)
        var file = try encodePNG(picture)
        let expected = picture.resized(shortSide: 20)
        let box = PixelBox(columns: 3..<9, rows: 4..<7)
        let reader = try ImageReader()
        func read() throws -> ByteBuffer {
            let output = ByteBuffer()
            _ = try file.withUnsafeBytes {
                try reader.read($0, name: "a.png", shortSide: 20, into: output) { _, _ in box }
            }
            return output
        }
        let output = try read()
        for y in box.rows {
            for index in 3 * box.columns.lowerBound..<3 * box.columns.upperBound {
                #expect(output.bytes[90 * y + index] == expected.pixels[90 * y + index])
            }
        }
        file[file.count - 30] ^= 0xFF
        #expect(#expect(throws: ImageError.self) { try read() }?.kind == .damaged)
    }

    /// Cut anywhere, a file is refused with its name and the reason.
    @Test(arguments: [false, true]) func truncated(isInterlaced: Bool) throws {
        var file = PNGFile(width: 20, height: 20, colour: .rgb)
        file.isInterlaced = isInterlaced
        let bytes = file.bytes { x, y, _ in x * y & 255 }
        for count in 4..<bytes.count {
            let error = failure(Array(bytes[..<count]), shortSide: count % 2 == 0 ? 9 : nil)
            #expect(error?.kind == .truncated, "\(count) of \(bytes.count) bytes")
            #expect(error?.description.hasPrefix("a/b.png: truncated") == true)
        }
    }

    @Test func damaged() throws {
        let file = PNGFile(width: 20, height: 20, colour: .rgb).bytes { x, y, _ in x * y & 255 }
        // Any changed byte behind the signature breaks a checksum; the name of IEND is not needed.
        for position in 12..<file.count - 12 {
            var changed = file
            changed[position] ^= 0x10
            let error = failure(changed)
            #expect(error != nil && error?.kind != .unknownFormat, "byte \(position)")
        }
        var changed = file
        changed[100] ^= 1
        let error = failure(changed)
        #expect(error?.kind == .damaged)
        #expect(error?.description.hasPrefix("a/b.png: damaged (PNG: IDAT: incorrect data check)") == true)
        // Signatures that a transfer as text has changed.
        changed = file
        changed.remove(at: 4)
        #expect(failure(changed)?.kind == .damaged)
    }

    /// Sizes that a file only claims cost no memory.
    @Test func absurdSizes() throws {
        for (width, height, isInterlaced, kind) in [
            (60_000, 60_000, true, ImageError.Kind.tooLarge), (60_000, 60_000, false, .truncated),
            (2_000_000, 10, false, .tooLarge), (1_000_000, 1_000_000, false, .tooLarge),
        ] {
            var file = PNGFile(width: 1, height: 1, colour: .rgb)
            file.isInterlaced = isInterlaced
            var bytes = file.bytes { _, _, _ in 0 }
            for (place, number) in [(16, width), (20, height)] {
                bytes.replaceSubrange(
                    place..<place + 4,
                    with: [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: number >> $0) })
            }
            // The pixels end too early, which is damage or truncation.
            let found = failure(PNGFile.withChecksums(bytes), shortSide: 1000)?.kind
            #expect(
                found == kind || kind == .truncated && found == .damaged,
                "\(width) x \(height): \(String(describing: found))")
        }
    }

    /// 108 megapixels are read row by row: left half white, right half black.
    @Test func large() throws {
        let file = PNGFile(width: 12_000, height: 9000, colour: .grey, depth: 1)
            .bytes { x, _, _ in x < 6000 ? 1 : 0 }
        let decoded = try decodeImage(file, shortSide: 60)
        #expect((decoded.width, decoded.height) == (80, 60))
        for x in [0, 20, 38, 41, 60, 79] {
            #expect(decoded.pixels[3 * (80 * 30 + x)] == (x < 40 ? 255 : 0), "column \(x)")
        }
    }
}
