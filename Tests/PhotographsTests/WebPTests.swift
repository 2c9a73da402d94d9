import TestSupport
import Testing

@testable import Photographs

/// Quality 95 on smooth pictures; chroma is at half size.
private let lossyTolerance = 10

@Suite struct WebPTests {
    private func failure(_ file: [UInt8], shortSide: Int? = nil) -> ImageError? {
        #expect(throws: ImageError.self) { try decodeImage(file, shortSide: shortSide, name: "a/b.webp") }
    }

    private func encoded(_ picture: DecodedImage, quality: Float? = nil) throws -> [UInt8] {
        try WebPFile.encode(picture.pixels, width: picture.width, height: picture.height, quality: quality)
    }

    @Test(arguments: [(1, 1), (33, 20), (200, 3)]) func lossless(width: Int, height: Int) throws {
        let picture = noisePicture(width: width, height: height)
        #expect(try decodeImage(encoded(picture)) == picture)
    }

    @Test func lossy() throws {
        let picture = smoothPicture(width: 67, height: 45)
        let decoded = try decodeImage(encoded(picture, quality: 95))
        #expect((decoded.width, decoded.height) == (67, 45))
        #expect(largestDifference(decoded.pixels, picture.pixels) <= lossyTolerance)
    }

    /// Every transparency of every colour in steps of 5, on white, rounded to the nearest.
    @Test func transparentLossless() throws {
        var samples: [UInt8] = []
        var expected: [UInt8] = []
        for alpha in 0..<256 {
            for light in stride(from: 0, through: 255, by: 5) {
                let colour = [light, 255 - light, light / 2]
                samples += colour.map { UInt8($0) } + [UInt8(alpha)]
                expected += colour.map { UInt8((2 * ($0 * alpha + 255 * (255 - alpha)) + 255) / 510) }
            }
        }
        let file = try WebPFile.encode(samples, width: 52, height: 256, isTransparent: true)
        #expect(try decodeImage(file).pixels == expected)
    }

    @Test func transparentLossy() throws {
        let picture = smoothPicture(width: 64, height: 48)
        let alpha = { (index: Int) in index % 64 < 32 ? 255 : 51 }
        var samples: [UInt8] = []
        for index in 0..<64 * 48 {
            samples += picture.pixels[3 * index..<3 * index + 3]
            samples.append(UInt8(alpha(index)))
        }
        let expected = (0..<3 * 64 * 48).map { index in
            let share = alpha(index / 3)
            return UInt8((Int(picture.pixels[index]) * share + 255 * (255 - share)) / 255)
        }
        let file = try WebPFile.encode(samples, width: 64, height: 48, isTransparent: true, quality: 95)
        #expect(largestDifference(try decodeImage(file).pixels, expected) <= lossyTolerance)
    }

    /// Of an animation the first frame is read.
    @Test func animation() throws {
        let (first, second) = (
            noisePicture(width: 16, height: 10), noisePicture(width: 16, height: 10, seed: 2)
        )
        let file = WebPFile.animation(
            width: 16, height: 10, [(0, 0, 16, 10, try encoded(first)), (0, 0, 16, 10, try encoded(second))])
        #expect(try decodeImage(file) == first)
    }

    /// A first frame smaller than the picture is on white.
    @Test func animationWithMargins() throws {
        let frame = noisePicture(width: 5, height: 4)
        let file = WebPFile.animation(width: 12, height: 9, [(4, 2, 5, 4, try encoded(frame))])
        let decoded = try decodeImage(file)
        #expect((decoded.width, decoded.height) == (12, 9))
        for y in 0..<9 {
            for x in 0..<12 {
                let inside = (4..<9).contains(x) && (2..<6).contains(y)
                for channel in 0..<3 {
                    let expected = inside ? frame.pixels[3 * (5 * (y - 2) + x - 4) + channel] : 255
                    #expect(decoded.pixels[3 * (12 * y + x) + channel] == expected)
                }
            }
        }
    }

    /// The EXIF chunk turns the picture, with and without JPEG's "Exif" at its beginning.
    @Test(arguments: 1...8, [false, true]) func exifOrientation(orientation: Int, isNamed: Bool) throws {
        let upright = noisePicture(width: 12, height: 7)
        let (width, height) = orientation >= 5 ? (7, 12) : (12, 7)
        var stored: [UInt8] = []
        for row in 0..<height {
            for column in 0..<width {
                let (x, y) = uprightPosition(
                    column: column, row: row, orientation: orientation, width: 12, height: 7)
                stored += upright.pixels[3 * (12 * y + x)..<3 * (12 * y + x) + 3]
            }
        }
        let data = Array(exif(orientation: orientation, bigEndian: isNamed).dropFirst(isNamed ? 0 : 6))
        let plain = try WebPFile.encode(stored, width: width, height: height)
        #expect(try decodeImage(WebPFile.withEXIF(data, in: plain, width: width, height: height)) == upright)
    }

    @Test(arguments: [5, 20, 64]) func resized(shortSide: Int) throws {
        let picture = noisePicture(width: 50, height: 31)
        #expect(
            try decodeImage(encoded(picture), shortSide: shortSide) == picture.resized(shortSide: shortSide))
    }

    /// A large picture is decoded at a reduced scale, at least twice as large as it is needed.
    @Test(arguments: [nil, 95] as [Float?]) func reduced(quality: Float?) throws {
        let picture = smoothPicture(width: 400, height: 301)
        let file = try encoded(picture, quality: quality)
        let decoder = WebPDecoder(reducedFrom: 100_000)
        let size = try file.withUnsafeBytes {
            try decoder.open($0, shortSide: 30, name: "large", need: nil)
        }
        #expect(size == PictureSize(width: 100, height: 76, fullWidth: 400, fullHeight: 301))
        let expected = picture.resized(width: 100, height: 76)
        let rows = (0..<76).flatMap { Array(UnsafeBufferPointer(start: decoder.row($0), count: 300)) }
        #expect(largestDifference(rows, expected.pixels) <= lossyTolerance)
        // Below the threshold nothing is reduced.
        let whole = try file.withUnsafeBytes {
            try WebPDecoder().open($0, shortSide: 30, name: "small", need: nil)
        }
        #expect(whole.width == 400)
    }

    /// Cut anywhere, a file is refused with its name and the reason.
    @Test(arguments: [nil, 80] as [Float?]) func truncated(quality: Float?) throws {
        let file = try encoded(noisePicture(width: 20, height: 20), quality: quality)
        for count in 12..<file.count {
            let error = failure(Array(file[..<count]), shortSide: count % 2 == 0 ? 9 : nil)
            #expect(error?.kind == .truncated, "\(count) of \(file.count) bytes")
            #expect(error?.description.hasPrefix("a/b.webp: truncated") == true)
        }
    }

    @Test func damaged() throws {
        let file = try encoded(noisePicture(width: 20, height: 20))
        // The chunk claims more than the file holds.
        var changed = file
        changed[18] = 0xFF
        #expect([.damaged, .truncated].contains(failure(changed)?.kind))
        // The coded data begins with a wrong byte.
        changed = file
        changed[20] ^= 0xFF
        let error = failure(changed)
        #expect(error?.kind == .damaged)
        #expect(error?.description.hasPrefix("a/b.webp: damaged (WebP: ") == true)
        // Random codes: the data ends early or names something that does not exist, but nothing crashes.
        for position in 25..<file.count {
            changed = file
            changed[position] ^= 0xA5
            _ = try? decodeImage(changed)
        }
    }

    /// A canvas that is only claimed costs no memory.
    @Test func absurdSizes() throws {
        let frame = try encoded(noisePicture(width: 4, height: 4))
        let file = WebPFile.animation(width: 1 << 24, height: 200, [(0, 0, 4, 4, frame)])
        #expect(failure(file, shortSide: 64)?.kind == .tooLarge)
    }
}
