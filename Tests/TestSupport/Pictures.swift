import DeviceInput
import Foundation
import Photographs
import Randomness

/// Pictures whose classes differ by their tint under noise: a small network learns them in a dozen steps.
public enum TintedPictures {
    /// Class folders, in the order of their labels.
    public static let classes = ["checkered-square", "ring", "striped-disc"]

    /// Returns the bytes, RGB by pixel, of picture `index`: noise around a tint that its label chooses.
    public static func pixels(label: Int, index: Int, side: Int) -> [UInt8] {
        var random = Philox(seed: UInt64(index), purpose: .scenes)
        // Labels 0, 1 and 2 raise one channel, the next ones lower one.
        return (0..<3 * side * side).map { place in
            let mean = place % 3 != label % 3 ? 120 : label % 6 < 3 ? 190 : 65
            return UInt8(mean - 60 + random.integer(below: 121))
        }
    }

    /// Returns the JPEG files of a set: 48 pictures of 32 × 32 pixels below `train`, 12 below `val`.
    static func files() throws -> [(name: String, content: [UInt8])] {
        try (0..<60).map { index in
            let pixels = pixels(label: index % 3, index: index, side: 32)
            let name = "\(index < 48 ? "train" : "val")/\(classes[index % 3])/\(index).jpg"
            return (name, try encodeJPEG(DecodedImage(width: 32, height: 32, pixels: pixels)))
        }
    }
}

extension DeviceBatch {
    /// Uploads tinted pictures and waits for them; picture `i` has the label `i % classes`.
    ///
    /// - Parameters:
    ///   - side: width and height of the pictures
    ///   - variant: other numbers give other pictures
    ///   - crop: the corner of the network's input in picture `i`, and whether it is mirrored
    ///   - weight: the weight of picture `i` in the loss
    ///   - shares: those of mixed pictures
    public func upload(
        _ images: Range<Int>, classes: Int, side: Int, variant: Int = 0,
        crop: (Int) -> (x: Int32, y: Int32, mirror: Bool) = { _ in (0, 0, false) },
        weight: (Int) -> Float = { _ in 1 }, shares: [Float]? = nil
    ) throws {
        let bytes = images.flatMap {
            TintedPictures.pixels(label: $0 % classes, index: $0 + 1000 * variant, side: side)
        }
        let pixels = NSData(bytes: bytes, length: bytes.count)
        let records = images.enumerated().map { place, image in
            let (x, y, mirror) = crop(image)
            return CropRecord(
                byteOffset: UInt64(3 * side * side * place), width: Int32(side), height: Int32(side),
                x: x, y: y, mirror: mirror)
        }
        try upload(
            pixels: UnsafeRawBufferPointer(start: pixels.bytes, count: pixels.length),
            owner: pixels, records: records, labels: images.map { Int32($0 % classes) },
            weights: images.map(weight), shares: shares)
        try wait()
    }
}

/// Returns smooth colours that differ in all corners, which JPEG keeps within a few levels.
public func smoothPicture(width: Int, height: Int, phase: Double = 0) -> DecodedImage {
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

/// Returns independent bytes, the hardest picture for a resizer.
public func noisePicture(width: Int, height: Int, seed: UInt64 = 1) -> DecodedImage {
    var state = seed
    let pixels = (0..<3 * width * height).map { _ in
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return UInt8(truncatingIfNeeded: state >> 56)
    }
    return DecodedImage(width: width, height: height, pixels: pixels)
}

public func largestDifference(_ left: [UInt8], _ right: [UInt8]) -> Int {
    left.count == right.count ? zip(left, right).map { abs(Int($0) - Int($1)) }.max() ?? 0 : Int.max
}
