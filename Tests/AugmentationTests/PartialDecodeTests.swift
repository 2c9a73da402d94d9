@testable import DeviceInput
import Compute
import Foundation
import NeuralNet
import Randomness
import TestSupport
import Testing

@testable import Photographs

/// Photographs of which only what a crop reads is decoded: the same bytes as from whole ones, and the same
/// network inputs.
private struct Photograph: Sendable, CustomTestStringConvertible {
    let name: String
    let stored: JPEGColour
    var chroma = (across: 2, down: 2)
    var isProgressive = false

    var testDescription: String { name }

    static let all = [
        Photograph(name: "4:2:0", stored: .ycc), Photograph(name: "4:2:2", stored: .ycc, chroma: (2, 1)),
        Photograph(name: "4:4:0", stored: .ycc, chroma: (1, 2)),
        Photograph(name: "4:4:4", stored: .ycc, chroma: (1, 1)),
        Photograph(name: "4:1:1", stored: .ycc, chroma: (4, 1)), Photograph(name: "RGB", stored: .rgb),
        Photograph(name: "grey", stored: .grey), Photograph(name: "CMYK", stored: .cmyk),
        Photograph(name: "progressive", stored: .ycc, isProgressive: true),
    ]

    /// Independent bytes: each pixel depends on its neighbours only through interpolated chroma.
    func file(width: Int, height: Int, _ random: inout Philox) throws -> [UInt8] {
        let pixels = (0..<width * height * stored.channels).map { _ in
            UInt8(truncatingIfNeeded: random.nextWord() >> 24)
        }
        return try encodeJPEG(
            pixels, width: width, height: height, stored: stored, chroma: chroma, quality: 85,
            progressive: isProgressive)
    }

    func write(to path: String, width: Int, height: Int, _ random: inout Philox) throws {
        try Data(file(width: width, height: height, &random)).write(to: URL(fileURLWithPath: path))
    }
}

/// A reader whose memory holds something else before each file, so that what is not decoded shows.
private final class Readers {
    private let reader: ImageReader
    private let output = ByteBuffer()
    private let other: ImageSet

    init(folder: String) throws {
        reader = try ImageReader()
        let path = folder + "/other.jpg"
        other = ImageSet(paths: [path], classes: [""])
        let white = [UInt8](repeating: 255, count: 3 * 200 * 200)
        try Data(encodeJPEG(DecodedImage(width: 200, height: 200, pixels: white))).write(
            to: URL(fileURLWithPath: path))
    }

    func read(_ path: String, shortSide: Int, need: PixelNeed? = nil) throws -> (
        width: Int, height: Int, pixels: [UInt8]
    ) {
        _ = try reader.read(other, 0, shortSide: 200, into: output)
        output.bytes.update(repeating: 171, count: 3 * 200 * 200)
        let size = try reader.read(
            ImageSet(paths: [path], classes: [""]), 0, shortSide: shortSide, into: output, need: need)
        return (
            size.width, size.height,
            Array(UnsafeBufferPointer(start: output.bytes, count: 3 * size.width * size.height))
        )
    }
}

@Suite struct PartialDecodeTests {
    private let place: TemporaryFolder
    private var folder: String { place.path }

    init() throws { place = try TemporaryFolder() }

    /// Boxes of any place and size, in photographs of odd sizes: as they are, enlarged, reduced, and decoded
    /// at a fraction of their size.
    @Test(arguments: Photograph.all) private func boxesHaveTheWholesBytes(_ photograph: Photograph) throws {
        var random = Philox(seed: 1, purpose: .benchmark)
        let readers = try Readers(folder: folder)
        let path = folder + "/photograph.jpg"
        for round in 0..<60 {
            let (width, height) = (1 + random.integer(below: 150), 1 + random.integer(below: 150))
            try photograph.write(to: path, width: width, height: height, &random)
            let short = min(width, height)
            let shortSide = [short, max(1, short * 7 / 8), max(1, short / 2), max(1, short / 5), short + 9][
                round % 5]
            let whole = try readers.read(path, shortSide: shortSide)
            for _ in 0..<6 {
                func range(_ side: Int) -> Range<Int> {
                    let first = random.integer(below: side)
                    return first..<first + 1 + random.integer(below: side - first)
                }
                let box = PixelBox(columns: range(whole.width), rows: range(whole.height))
                let part = try readers.read(path, shortSide: shortSide) { width, height in
                    #expect((width, height) == (whole.width, whole.height))
                    return box
                }
                let isEqual = box.rows.allSatisfy { y in
                    let row =
                        3 * (y * whole.width + box.columns.lowerBound)..<3
                        * (y * whole.width + box.columns.upperBound)
                    return whole.pixels[row] == part.pixels[row]
                }
                try #require(isEqual, "\(width) × \(height) to a short side of \(shortSide), \(box)")
            }
        }
    }

    /// Each column and each row by itself, whose neighbours libjpeg must have decoded too.
    @Test(arguments: Photograph.all) private func everyColumnAndRow(_ photograph: Photograph) throws {
        var random = Philox(seed: 6, purpose: .benchmark)
        let readers = try Readers(folder: folder)
        let path = folder + "/photograph.jpg"
        // The last column has chroma of its own where blocks end, and shares it where they do not.
        for (width, height) in [(50, 67), (49, 66)] {
            try photograph.write(to: path, width: width, height: height, &random)
            let whole = try readers.read(path, shortSide: width).pixels
            for column in 0..<width {
                let part = try readers.read(path, shortSide: width) { _, _ in
                    PixelBox(columns: column..<column + 1, rows: 0..<height)
                }.pixels
                let isEqual = (0..<height).allSatisfy { y in
                    (0..<3).allSatisfy {
                        whole[3 * (y * width + column) + $0] == part[3 * (y * width + column) + $0]
                    }
                }
                #expect(isEqual, "column \(column)")
            }
            for row in 0..<height {
                let part = try readers.read(path, shortSide: width) { _, _ in
                    PixelBox(columns: 0..<width, rows: row..<row + 1)
                }.pixels
                #expect(
                    whole[3 * row * width..<3 * (row + 1) * width]
                        == part[3 * row * width..<3 * (row + 1) * width], "row \(row)")
            }
        }
    }

    /// What is not needed is not decoded: else there would be nothing to test here.
    @Test func theRestIsLeftAlone() throws {
        var random = Philox(seed: 2, purpose: .benchmark)
        let path = folder + "/photograph.jpg"
        try Photograph.all[0].write(to: path, width: 150, height: 120, &random)
        for shortSide in [120, 100] {
            let part = try Readers(folder: folder).read(path, shortSide: shortSide) { _, _ in
                PixelBox(columns: 40..<60, rows: 30..<50)
            }
            let untouched = stride(from: 0, to: part.pixels.count, by: 3).filter {
                part.pixels[$0...].prefix(3).allSatisfy { $0 == 171 }
            }
            #expect(untouched.count == part.width * part.height - 400)
        }
    }

    /// Damage is found wherever it is, and whatever is needed of the file.
    @Test func damageOutsideTheBoxIsFound() throws {
        var random = Philox(seed: 3, purpose: .benchmark)
        let file = try Photograph.all[0].file(width: 96, height: 96, &random)
        let path = folder + "/photograph.jpg"
        let readers = try Readers(folder: folder)
        for share in [0.2, 0.5, 0.8, 0.97] {
            try Data(file.prefix(Int(share * Double(file.count)))).write(to: URL(fileURLWithPath: path))
            for rows in [0..<4, 40..<44, 92..<96] {
                let error = #expect(throws: ImageError.self) {
                    try readers.read(path, shortSide: 96) { _, _ in PixelBox(columns: 8..<20, rows: rows) }
                }
                #expect(error?.kind == .truncated, "\(share) of the file, \(rows)")
            }
        }
    }

    @Test func boxesOfPlainCrops() {
        func box(x: Int32, y: Int32) -> PixelBox {
            CropRecord(AugmentationParameters(x: x, y: y), byteOffset: 0, width: 50, height: 40, size: 32)
                .pixelsRead(size: 32)
        }
        #expect(box(x: 7, y: 8) == PixelBox(columns: 7..<39, rows: 8..<40))
        #expect(box(x: -4, y: 4).columns.upperBound >= 28 && box(x: 22, y: 11).rows.contains(11..<40))
    }
}

extension OnDevices {
    @Suite struct PartialInputTests {
        /// All that `paper` draws, and more: the network's input from only the box has the bits of that from
        /// the whole photograph.
        @Test(arguments: Photograph.all) private func inputsAreTheSameBits(_ photograph: Photograph) throws {
            let place = try TemporaryFolder()
            let folder = place.path
            var random = Philox(seed: 4, purpose: .benchmark)
            let readers = try Readers(folder: folder)
            let path = folder + "/photograph.jpg"
            let size = 33
            let devices = try presentDevices.map { try Device($0) }
            let inputs = try devices.map {
                try ImageInput(
                    device: $0, size: size,
                    normalization: Normalization(mean: [0.5, 0.4, 0.3], deviation: [0.2, 0.3, 0.25]))
            }
            let recipes = try [
                "standard", "paper", "paper,literal", "paper,rotation=180@1,barrel=1@1",
                "paper,barrel=0,pincushion=0.15@1",
            ].map { try Augmentation(parsing: $0) }
            for round in 0..<20 {
                let (width, height) = (36 + random.integer(below: 60), 36 + random.integer(below: 60))
                try photograph.write(to: path, width: width, height: height, &random)
                let shortSide = round % 3 == 0 ? min(width, height) : 34 + random.integer(below: 16)
                let whole = try readers.read(path, shortSide: shortSide)
                var records: [CropRecord] = []
                var parts: [UInt8] = []
                for sample in 0..<15 {
                    let parameters = AugmentationParameters.draw(
                        recipes[sample % recipes.count].with(probability: 0.6), width: whole.width,
                        height: whole.height, size: size, seed: 5, epoch: round, sample: sample)
                    let record = CropRecord(
                        parameters, byteOffset: UInt64(parts.count), width: Int32(whole.width),
                        height: Int32(whole.height), size: size)
                    records.append(record)
                    parts += try readers.read(path, shortSide: shortSide) { _, _ in
                        record.pixelsRead(size: size)
                    }.pixels
                }
                let wholes = records.map { record in
                    var record = record
                    record.byteOffset = 0
                    return record
                }
                for (device, input) in zip(devices, inputs) {
                    func run(_ bytes: [UInt8], _ records: [CropRecord]) throws -> [UInt32] {
                        let output = try Buffer(device, floatCount: records.count * size * size * 4)
                        try input.load(
                            bytes: Buffer(
                                device, bytes + [UInt8](repeating: 0, count: ImageInput.bytesReadBehind)),
                            records: Buffer(device, records), output: output,
                            pass: Pass(batch: records.count, training: true))
                        return try output.read(records.count * size * size * 4, as: UInt32.self)
                    }
                    let isEqual = try run(parts, records) == run(whole.pixels, wholes)
                    try #require(isEqual, "round \(round), \(width) × \(height)")
                }
            }
        }
    }
}
