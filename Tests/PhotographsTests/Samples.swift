import Foundation

@testable import Photographs

extension ImageSet {
    /// Names and labels of all photographs.
    var files: [ImageFile] { (0..<count).map { ImageFile(path: name($0), label: label($0)) } }
}

/// A folder that is removed when the test ends.
final class TemporaryFolder {
    let path: String

    init() throws {
        path = FileManager.default.temporaryDirectory.path + "/imagedata-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit {
        // a test may have taken permissions away
        chmod(path + "/locked", 0o755)
        try? FileManager.default.removeItem(atPath: path)
    }

    @discardableResult func write(_ bytes: [UInt8], _ name: String) throws -> String {
        let file = path + "/" + name
        try FileManager.default.createDirectory(
            atPath: (file as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
        try Data(bytes).write(to: URL(fileURLWithPath: file))
        return file
    }

    func folder(_ name: String) throws {
        try FileManager.default.createDirectory(atPath: path + "/" + name, withIntermediateDirectories: true)
    }
}

/// Smooth colours that differ in all corners, so that JPEG keeps them within a few levels.
func smoothPicture(width: Int, height: Int, phase: Double = 0) -> DecodedImage {
    var pixels: [UInt8] = []
    for y in 0..<height {
        for x in 0..<width {
            let (u, v) = (Double(x) / Double(width), Double(y) / Double(height))
            pixels.append(UInt8(20 + 200 * u))
            pixels.append(UInt8(20 + 200 * v))
            pixels.append(UInt8(128 + 100 * cos(3 * (u + v) + phase)))
        }
    }
    return DecodedImage(width: width, height: height, pixels: pixels)
}

/// Independent bytes: the hardest picture for a resizer.
func noisePicture(width: Int, height: Int, seed: UInt64 = 1) -> DecodedImage {
    var state = seed
    let pixels = (0..<3 * width * height).map { _ in
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return UInt8(truncatingIfNeeded: state >> 56)
    }
    return DecodedImage(width: width, height: height, pixels: pixels)
}

func largestDifference(_ left: [UInt8], _ right: [UInt8]) -> Int {
    left.count == right.count ? zip(left, right).map { abs(Int($0) - Int($1)) }.max() ?? 0 : Int.max
}

func meanDifference(_ left: [UInt8], _ right: [UInt8]) -> Double {
    Double(zip(left, right).map { abs(Int($0) - Int($1)) }.reduce(0, +)) / Double(max(1, left.count))
}

/// A file with an APP1 segment put right behind the start marker.
func withSegment(_ payload: [UInt8], in file: [UInt8], marker: UInt8 = 0xE1) -> [UInt8] {
    let length = payload.count + 2
    return Array(file[0..<2]) + [0xFF, marker, UInt8(length >> 8), UInt8(length & 255)] + payload
        + Array(file[2...])
}

/// An EXIF payload with one entry, the orientation.
func exif(orientation: Int, bigEndian: Bool) -> [UInt8] {
    func number(_ value: Int, _ count: Int) -> [UInt8] {
        let big = (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * (count - 1 - $0))) }
        return bigEndian ? big : big.reversed()
    }
    let order = [UInt8](bigEndian ? "MM".utf8 : "II".utf8)
    let entry = number(0x0112, 2) + number(3, 2) + number(1, 4) + number(orientation, 2) + [0, 0]
    return [UInt8]("Exif".utf8) + [0, 0] + order + number(42, 2) + number(8, 4) + number(1, 2) + entry
        + number(0, 4)
}

/// Where the frame header (SOF0 or SOF2) begins.
func frameHeader(_ file: [UInt8]) -> Int {
    file.indices.dropLast().first { file[$0] == 0xFF && (file[$0 + 1] == 0xC0 || file[$0 + 1] == 0xC2) } ?? 0
}

/// Where the coded data of the last scan begins.
func scanData(_ file: [UInt8]) -> Int {
    let start = file.indices.dropLast().last { file[$0] == 0xFF && file[$0 + 1] == 0xDA } ?? 0
    return start + 2 + Int(file[start + 2]) << 8 + Int(file[start + 3])
}
