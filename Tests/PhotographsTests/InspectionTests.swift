import Basics
import Foundation
import Randomness
import TestSupport
import Testing

@testable import Photographs

/// Tests what an inspection finds in a set that has one of each problem.
@Suite struct InspectionTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    /// Returns smooth shapes that differ from seed to seed, as photographs do.
    private func picture(_ seed: Int, width: Int = 120, height: Int = 90) -> DecodedImage {
        var random = Philox(seed: UInt64(seed), purpose: .scenes)
        let waves = (0..<12).map { _ in
            (
                x: Double(random.integer(below: 7)), y: Double(random.integer(below: 7)),
                phase: Double(random.integer(below: 628)) / 100, size: Double(random.integer(below: 60)),
                channel: random.integer(below: 3)
            )
        }
        var pixels: [UInt8] = []
        for y in 0..<height {
            for x in 0..<width {
                var colour = [120.0, 120, 120]
                for wave in waves {
                    let angle =
                        wave.x * Double(x) / Double(width) + wave.y * Double(y) / Double(height)
                    colour[wave.channel] += wave.size * cos(3.1416 * angle + wave.phase)
                }
                pixels += colour.map { UInt8(min(max($0, 0), 255)) }
            }
        }
        return DecodedImage(width: width, height: height, pixels: pixels)
    }

    private func inspect(_ fraction: Double = 0.1) throws -> Inspection {
        try Inspection(data: folder.file("set"), validationFraction: fraction, workers: 2)
    }

    @Test func findsEachProblem() throws {
        for number in 0..<20 {
            let part = number % 5 == 4 ? "val" : "train"
            try folder.write(
                encodeJPEG(picture(number)), "set/\(part)/\(["cat", "dog"][number % 2])/\(number).jpg")
        }
        let first = try folder.bytes("set/train/cat/0.jpg")
        // The same file twice, in both parts, and in another class.
        try folder.write(first, "set/train/cat/same.jpg")
        try folder.write(first, "set/val/cat/same.jpg")
        try folder.write(try folder.bytes("set/train/dog/1.jpg"), "set/train/cat/dog.jpg")
        // A smaller copy of lower quality, and as PNG.
        let small = picture(2).resized(width: 80, height: 60)
        try folder.write(encodeJPEG(small, quality: 60), "set/train/cat/small.jpg")
        try folder.write(encodePNG(picture(3)), "set/train/dog/copy.png")
        try folder.write(encodeJPEG(picture(30, width: 300, height: 90)), "set/train/dog/long.jpg")
        let grey = (0..<2000).map { UInt8($0 % 251) }
        try folder.write(
            encodeJPEG(grey, width: 50, height: 40, stored: .grey, quality: 90), "set/train/dog/grey.jpg")
        try folder.write(Array(first.prefix(first.count / 2)), "set/train/dog/half.jpg")
        try folder.write("text", "set/train/dog/notes.txt")

        let found = try inspect()
        #expect(found.count == 28 && found.readableCount == 27)
        #expect(found.parts.map(\.name) == ["train", "val"] && found.parts.map(\.count) == [23, 5])
        #expect(found.classes == ["cat", "dog"] && found.counts == [[11, 12], [3, 2]])
        #expect(found.unreadable.map(\.kind) == [.truncated])
        #expect(found.formats.map(\.name) == ["JPEG", "PNG"] && found.formats.map(\.count) == [26, 1])
        #expect(found.colours.map(\.name) == ["colour", "grey"] && found.colours.map(\.count) == [26, 1])
        #expect(found.stretched.map { found.photograph($0).name } == ["train/dog/long.jpg"])
        #expect(found.shortSides.first == 40 && found.longSides.last == 300)
        #expect(found.remarks.contains { $0.contains(".txt") })
        let groups = Dictionary(
            uniqueKeysWithValues: found.copies.map { group in
                (Set(group.members.map { found.photograph($0).name }), group)
            })
        let same = try #require(groups[["train/cat/0.jpg", "train/cat/same.jpg", "val/cat/same.jpg"]])
        #expect(same.isExact && same.isInBothParts && !same.hasSeveralClasses)
        let classes = try #require(groups[["train/dog/1.jpg", "train/cat/dog.jpg"]])
        #expect(classes.isExact && !classes.isInBothParts && classes.hasSeveralClasses)
        let reduced = try #require(groups[["train/cat/2.jpg", "train/cat/small.jpg"]])
        #expect(!reduced.isExact && !reduced.isInBothParts && !reduced.hasSeveralClasses)
        #expect(groups[["train/dog/3.jpg", "train/dog/copy.png"]]?.isExact == false)
        #expect(groups.count == 4)
        #expect(found.extraCopies == (exact: 3, near: 2) && found.copiesAcrossParts == 1)
        let sheets = try found.contactSheets(workers: 2)
        let drawn = try sheets.compactMap { try $0.map { try decodeJPEG($0) } }
        #expect(drawn.map(\.width) == [1004, 1004])
    }

    /// A set that `train` refuses is inspected all the same, and the error is the same.
    @Test(arguments: [
        (["cat", "dog"], "an empty class"), (["cat"], "only one class"), ([], "no class folders in it"),
    ]) func refusedSets(classes: [String], message: String) throws {
        for number in 0..<3 {
            try folder.write(encodeJPEG(picture(number)), "set/\(classes.first ?? ".")/\(number).jpg")
        }
        for name in classes { try folder.makeFolder("set/" + name) }
        let found = try inspect()
        #expect(found.count == 3 && found.readableCount == 3)
        let error = #expect(throws: DatasetError.self) {
            try Dataset.load(root: folder.file("set"), validationFraction: 0.1)
        }
        #expect(found.refusal == error)
        #expect(found.refusal?.description.contains(message.replacing(" in it", with: "")) == true)
    }

    /// Without a validation part, copies are looked for in what training would hold out.
    @Test func heldOut() throws {
        for number in 0..<8 {
            for copy in 0..<2 {
                try folder.write(
                    encodeJPEG(picture(number)), "set/\(["cat", "dog"][number % 2])/\(number)-\(copy).jpg")
            }
        }
        let found = try inspect(0.25)
        #expect(found.parts.map(\.name) == ["train", "held out"] && found.parts.map(\.count) == [12, 4])
        let split = try Dataset.load(root: folder.file("set"), validationFraction: 0.25)
        let heldOut = Set(split.validation.files.map(\.path))
        let torn = (0..<8).filter { number in
            [0, 1].count { heldOut.contains("\(["cat", "dog"][number % 2])/\(number)-\($0).jpg") } == 1
        }
        #expect(found.copiesAcrossParts == torn.count && found.copies.count == 8)
        #expect(try inspect(0).parts.map(\.count) == [16])
    }

    /// The quick search finds what comparing all pairs finds.
    @Test func searchFindsAllPairs() throws {
        var random = Philox(seed: 9, purpose: .scenes)
        var looks: [PictureLook] = []
        for number in 0..<60 {
            let base = picture(number).resized(width: 32, height: 32).pixels
            looks.append(base.withUnsafeBufferPointer { PictureLook($0.baseAddress!) })
            for strength in [0, 2, 12, 40] where number % 3 == 0 {
                let noisy = base.map {
                    UInt8(clamping: Int($0) + random.integer(below: 2 * strength + 1) - strength)
                }
                looks.append(noisy.withUnsafeBufferPointer { PictureLook($0.baseAddress!) })
            }
        }
        var groups = looks.indices.map { [$0] }
        for left in looks.indices {
            for right in left + 1..<looks.count where looks[left].isNear(looks[right]) {
                let (a, b) = (
                    groups.firstIndex { $0.contains(left) } ?? 0,
                    groups.firstIndex { $0.contains(right) } ?? 0
                )
                if a != b {
                    groups[min(a, b)] += groups[max(a, b)]
                    groups.remove(at: max(a, b))
                }
            }
        }
        let expected = groups.filter { $0.count > 1 }.map { $0.sorted() }.sorted { $0[0] < $1[0] }
        #expect(PictureLook.groups(looks) == expected)
        #expect(expected.count >= 20 && expected.allSatisfy { $0.count <= 5 }, "\(expected)")
    }

    /// Very many equal pictures take no longer than as many different ones.
    @Test(.timeLimit(.minutes(1))) func manyEqualPictures() throws {
        let flat = [UInt8](repeating: 90, count: 3 * 32 * 32)
        let look = flat.withUnsafeBufferPointer { PictureLook($0.baseAddress!) }
        #expect(look.isGrey)
        let groups = PictureLook.groups(Array(repeating: look, count: 200_000))
        #expect(groups.map(\.count) == [200_000])
    }

    /// The kind is read from each format's header.
    @Test func kinds() throws {
        func kind(_ bytes: [UInt8]) -> String? {
            bytes.withUnsafeBytes { PictureKind(content: $0) }.map { $0.formatText + ": " + $0.colourText }
        }
        let rgb = picture(1, width: 16, height: 16)
        let samples = [UInt8](repeating: 70, count: 4 * 256)
        #expect(kind(try encodeJPEG(rgb)) == "JPEG: colour")
        #expect(
            kind(
                try encodeJPEG(Array(samples.prefix(256)), width: 16, height: 16, stored: .grey, quality: 80))
                == "JPEG: grey")
        #expect(
            kind(try encodeJPEG(samples, width: 16, height: 16, stored: .cmyk, quality: 80)) == "JPEG: CMYK")
        let progressive = try encodeJPEG(
            rgb.pixels, width: 16, height: 16, stored: .ycc, quality: 80, progressive: true)
        #expect(
            kind(withSegment(exif(orientation: 6, bigEndian: true), in: progressive))
                == "JPEG, progressive: colour")
        #expect(kind(try encodePNG(rgb)) == "PNG: colour")
        #expect(kind(Array("text of some length".utf8)) == nil)
        // No prefix of a file is read beyond its end.
        for file in [progressive, try encodePNG(rgb)] {
            for length in 0..<file.count { _ = kind(Array(file.prefix(length))) }
        }
    }
}
