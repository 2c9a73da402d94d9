import Foundation
import TestSupport
import Testing

@testable import Photographs

/// Quality 95 on smooth pictures: quantisation, chroma at half size and the conversion's rounding stay within
/// this many levels.
private let jpegTolerance = 10

@Suite struct JPEGTests {
    private func failure(_ body: () throws -> DecodedImage) -> ImageError.Kind? {
        #expect(throws: ImageError.self) { try body() }?.kind
    }

    private func encoded(_ picture: DecodedImage, quality: Int, progressive: Bool) throws -> [UInt8] {
        try encodeJPEG(
            picture.pixels, width: picture.width, height: picture.height, stored: .ycc, quality: quality,
            progressive: progressive)
    }

    @Test func roundTrip() throws {
        let picture = smoothPicture(width: 67, height: 45)
        let decoded = try decodeJPEG(encodeJPEG(picture, quality: 95))
        #expect(decoded.width == 67 && decoded.height == 45)
        #expect(largestDifference(decoded.pixels, picture.pixels) <= jpegTolerance)
    }

    @Test func progressive() throws {
        let picture = smoothPicture(width: 64, height: 48)
        let bytes = try encoded(picture, quality: 95, progressive: true)
        #expect(largestDifference(try decodeJPEG(bytes).pixels, picture.pixels) <= jpegTolerance)
    }

    @Test func greyBecomesRGB() throws {
        let grey = (0..<40 * 30).map { UInt8($0 % 40 * 6) }
        let decoded = try decodeJPEG(encodeJPEG(grey, width: 40, height: 30, stored: .grey, quality: 95))
        #expect(largestDifference(decoded.pixels, grey.flatMap { [$0, $0, $0] }) <= jpegTolerance)
    }

    /// Adobe's files hold 255 − ink: RGB = stored colour × stored black ÷ 255.
    @Test(arguments: [JPEGColour.cmyk, .ycck]) func fourChannelsBecomeRGB(stored: JPEGColour) throws {
        let (width, height) = (32, 32)
        var samples: [UInt8] = []
        var expected: [UInt8] = []
        for y in 0..<height {
            for x in 0..<width {
                let colour = [40 + 6 * x, 200 - 5 * y, 100 + 2 * x]
                let black = 255 - 3 * y
                samples += colour.map { UInt8($0) } + [UInt8(black)]
                expected += colour.map { UInt8($0 * black / 255) }
            }
        }
        let bytes = try encodeJPEG(samples, width: width, height: height, stored: stored, quality: 97)
        #expect(largestDifference(try decodeJPEG(bytes).pixels, expected) <= jpegTolerance)
    }

    /// Without Adobe's marker the samples are ink, so the same file comes out inverted.
    @Test func plainCMYK() throws {
        let ink: [UInt8] = (0..<16 * 16).flatMap { _ in [0, 255, 128, 51] }
        var bytes = try encodeJPEG(ink, width: 16, height: 16, stored: .cmyk, quality: 97)
        let adobe = try #require(
            bytes.indices.dropLast().first { bytes[$0] == 0xFF && bytes[$0 + 1] == 0xEE })
        bytes.removeSubrange(adobe..<adobe + 2 + Int(bytes[adobe + 3]))
        let decoded = try decodeJPEG(bytes)
        #expect(largestDifference(Array(decoded.pixels[0..<3]), [204, 0, 102]) <= jpegTolerance)
    }

    /// Every orientation, in both byte orders: the decoded picture is the upright one.
    @Test(arguments: 1...8, [false, true]) func exifOrientation(orientation: Int, bigEndian: Bool) throws {
        let upright = smoothPicture(width: 48, height: 32)
        let (storedWidth, storedHeight) = orientation >= 5 ? (32, 48) : (48, 32)
        var stored: [UInt8] = []
        for row in 0..<storedHeight {
            for column in 0..<storedWidth {
                let (x, y) = uprightPosition(
                    column: column, row: row, orientation: orientation, width: 48, height: 32)
                stored += upright.pixels[3 * (y * 48 + x)..<3 * (y * 48 + x) + 3]
            }
        }
        let plain = try encodeJPEG(
            DecodedImage(width: storedWidth, height: storedHeight, pixels: stored), quality: 95)
        let decoded = try decodeJPEG(
            withSegment(exif(orientation: orientation, bigEndian: bigEndian), in: plain))
        #expect(decoded.width == 48 && decoded.height == 32)
        #expect(largestDifference(decoded.pixels, upright.pixels) <= jpegTolerance)
    }

    /// Nonsense in an EXIF segment means orientation 1, never a crash or an error.
    @Test func exifGarbage() throws {
        let picture = smoothPicture(width: 24, height: 16)
        let plain = try encodeJPEG(picture, quality: 95)
        let expected = try decodeJPEG(plain)
        let good = exif(orientation: 6, bigEndian: false)
        var payloads = (0..<good.count).map { Array(good[0..<$0]) }
        payloads.removeAll { $0.count >= 26 }  // the whole entry is there
        payloads.append(exif(orientation: 9, bigEndian: true))
        payloads.append(exif(orientation: 0, bigEndian: true))
        for at in 6..<18 {  // byte order, magic, offset, count, tag
            var broken = good
            broken[at] = 0xFE
            payloads.append(broken)
        }
        for payload in payloads where payload.count != good.count || payload[14] == 1 || payload[14] == 0xFE {
            let decoded = try decodeJPEG(withSegment(payload, in: plain))
            // The first entry counts even if the number of entries is wrong.
            #expect(decoded == expected || payload[14...15] != [1, 0], "payload of \(payload.count) bytes")
        }
    }

    @Test func scaledDecodingKeepsTheShortSide() throws {
        let bytes = try encodeJPEG(smoothPicture(width: 400, height: 300), quality: 95)
        for (target, expected) in [
            (300, 300), (151, 300), (150, 150), (76, 150), (75, 75), (38, 38), (10, 38), (500, 300),
        ] {
            #expect(try decodeJPEG(bytes, shortSide: target).height == expected, "short side \(target)")
        }
        // The half-size picture is the average of the whole one.
        let half = try decodeJPEG(bytes, shortSide: 150)
        let expected = smoothPicture(width: 400, height: 300).resized(shortSide: 150)
        #expect(largestDifference(half.pixels, expected.pixels) <= jpegTolerance)
    }

    @Test func emptyAndForeignFiles() throws {
        #expect(throws: ImageError(.empty, file: "a.jpg")) { try decodeJPEG([], name: "a.jpg") }
        let png: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
        let error = #expect(throws: ImageError.self) { try decodeJPEG(png, name: "a.jpg") }
        #expect(error?.kind == .unknownFormat)
        #expect(error?.description.hasPrefix("a.jpg: not a JPEG, PNG or WebP file (") == true)
    }

    /// Cut anywhere before the coded data's end, a file is refused; baseline and progressive alike.
    @Test(arguments: [false, true]) func truncated(progressive: Bool) throws {
        let bytes = try encoded(noisePicture(width: 40, height: 40), quality: 80, progressive: progressive)
        for count in stride(from: 3, to: bytes.count - 8, by: 7) {
            let error = #expect(throws: ImageError.self) { try decodeJPEG(Array(bytes[0..<count])) }
            #expect(error?.kind == .truncated, "\(count) of \(bytes.count) bytes")
        }
    }

    /// A missing end marker, bytes behind it or bytes between segments are not damage.
    @Test(arguments: [false, true]) func harmlessWarnings(progressive: Bool) throws {
        let bytes = try encoded(smoothPicture(width: 40, height: 40), quality: 90, progressive: progressive)
        let whole = try decodeJPEG(bytes)
        #expect(try decodeJPEG(bytes.dropLast(2)) == whole)
        #expect(try decodeJPEG(bytes + [1, 2, 3, 0xFF, 0xFF, 0xD8]) == whole)
        let frame = frameHeader(bytes)
        let padded = Array(bytes[0..<frame]) + [1, 2, 3, 4] + Array(bytes[frame...])
        let decoder = try JPEGDecoder()
        _ = try padded.withUnsafeBytes { try decoder.open($0, shortSide: nil, name: "padded", need: nil) }
        #expect(decoder.warnings == 1)
        #expect(try decodeJPEG(padded) == whole)
    }

    @Test func damaged() throws {
        var bytes = try encodeJPEG(noisePicture(width: 64, height: 64), quality: 80)
        let start = scanData(bytes)
        // An end marker is in the middle of the data.
        var early = bytes
        early.replaceSubrange(start + 200..<start + 202, with: [0xFF, 0xD9])
        #expect(failure { try decodeJPEG(early) } == .damaged)
        // A Huffman table does not add up.
        let table = try #require(
            bytes.indices.dropLast().first { bytes[$0] == 0xFF && bytes[$0 + 1] == 0xC4 })
        for at in table + 5..<table + 21 { bytes[at] = 0xFF }
        #expect(failure { try decodeJPEG(bytes) } == .damaged)
    }

    /// Neither time nor memory is spent on a header that claims 60,000 × 60,000.
    @Test(arguments: [false, true]) func absurdSizes(progressive: Bool) throws {
        var bytes = try encoded(
            smoothPicture(width: 16, height: 16), quality: 80, progressive: progressive)
        let frame = frameHeader(bytes)
        bytes.replaceSubrange(frame + 5..<frame + 9, with: [0xEA, 0x60, 0xEA, 0x60])
        let error = #expect(throws: ImageError.self) { try decodeJPEG(bytes) }
        #expect(error?.kind == .tooLarge)
        #expect(error?.description.contains("60000 x 60000 pixels need ") == true)
        #expect(error?.description.contains("the limit is 1 GiB") == true)
        // At an eighth a single scan needs little memory, but the pixels are missing.
        #expect(failure { try decodeJPEG(bytes, shortSide: 64) } == (progressive ? .tooLarge : .damaged))
        bytes.replaceSubrange(frame + 5..<frame + 9, with: [0xFF, 0xFF, 0x00, 0x10])
        #expect(failure { try decodeJPEG(bytes) } == .tooLarge)
        bytes.replaceSubrange(frame + 5..<frame + 9, with: [0x00, 0x00, 0x00, 0x00])
        #expect(failure { try decodeJPEG(bytes) } == .damaged)
    }

    @Test func unsupportedKinds() throws {
        var bytes = try encodeJPEG(smoothPicture(width: 16, height: 16), quality: 80)
        let frame = frameHeader(bytes)
        bytes[frame + 4] = 12  // bits a sample
        #expect(failure { try decodeJPEG(bytes) } == .unsupported)
        bytes[frame + 4] = 8
        bytes[frame + 1] = 0xC3  // lossless
        #expect(failure { try decodeJPEG(bytes) } == .unsupported)
    }

    @Test func filesThatCannotBeRead() throws {
        let folder = try TemporaryFolder()
        func kind(_ name: String) -> ImageError.Kind? {
            failure { try loadImage(path: folder.file(name), shortSide: 224) }
        }
        let good = try encodeJPEG(smoothPicture(width: 20, height: 20))
        #expect(try loadImage(path: folder.write(good, "good.jpg"), shortSide: 20).width == 20)
        #expect(kind("none.jpg") == .missing)
        #expect(kind("") == .isFolder)
        let empty = try folder.write([], "empty.jpg")
        #expect(throws: ImageError(.empty, file: empty)) { try loadImage(path: empty, shortSide: 20) }
        // A pipe must not block the reader.
        mkfifo(folder.file("pipe.jpg"), 0o644)
        #expect(kind("pipe.jpg") == .unreadable)
        // Root may read everything.
        chmod(try folder.write(good, "locked.jpg"), 0)
        if geteuid() != 0 { #expect(kind("locked.jpg") == .noPermission) }
        // A strip that would grow to gigabytes.
        try folder.write(encodeJPEG(smoothPicture(width: 60_000, height: 1)), "strip.jpg")
        #expect(kind("strip.jpg") == .tooLarge)
    }

    @Test(arguments: ImageError.Kind.allCases) func messagesNameTheFileAndWhatToDo(kind: ImageError.Kind) {
        let text = ImageError(kind, file: "a/b.jpg", detail: "detail").description
        #expect(text.hasPrefix("a/b.jpg: "))
        #expect(text.contains(";"))
    }
}
