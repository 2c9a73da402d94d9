import TestSupport

@testable import Photographs

extension ImageSet {
    /// Names and labels of all photographs.
    var files: [ImageFile] { (0..<count).map { ImageFile(path: name($0), label: label($0)) } }
}

extension DecodedImage {
    func resized(shortSide: Int, by resizer: Resizer = Resizer()) -> DecodedImage {
        let size = Resizer.size(width: width, height: height, shortSide: shortSide)
        return resized(width: size.width, height: size.height, by: resizer)
    }

    func resized(width newWidth: Int, height newHeight: Int, by resizer: Resizer = Resizer()) -> DecodedImage
    {
        var output = [UInt8](repeating: 0, count: 3 * newWidth * newHeight)
        resizer.resize(
            pixels, width: width, height: height, into: &output, newWidth: newWidth, newHeight: newHeight)
        return DecodedImage(width: newWidth, height: newHeight, pixels: output)
    }
}

/// Returns the picture that libjpeg makes of a file's bytes, without the choice of a format.
///
/// - Parameter shortSide: if given, the picture may be decoded at 1/2, 1/4 or 1/8 of its size, with a shorter
///   side that is not below this.
func decodeJPEG(_ bytes: [UInt8], shortSide: Int? = nil, name: String = "image") throws
    -> DecodedImage
{
    let decoder = try JPEGDecoder()
    let size = try bytes.withUnsafeBytes { try decoder.open($0, shortSide: shortSide, name: name, need: nil) }
    return DecodedImage(
        width: size.width, height: size.height,
        pixels: Array(UnsafeBufferPointer(start: decoder.pixels, count: 3 * size.width * size.height)))
}

/// Returns a file with an APP1 segment right behind the start marker.
func withSegment(_ payload: [UInt8], in file: [UInt8], marker: UInt8 = 0xE1) -> [UInt8] {
    let length = payload.count + 2
    return Array(file[0..<2]) + [0xFF, marker, UInt8(length >> 8), UInt8(length & 255)] + payload
        + Array(file[2...])
}

/// Returns an EXIF payload with one entry, the orientation.
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

/// Returns where a stored pixel is in the upright picture, by EXIF's definition of row 0 and column 0.
///
/// - Parameters:
///   - width, height: the size of the upright picture.
func uprightPosition(column: Int, row: Int, orientation: Int, width: Int, height: Int) -> (x: Int, y: Int) {
    switch orientation {
    case 2: (width - 1 - column, row)
    case 3: (width - 1 - column, height - 1 - row)
    case 4: (column, height - 1 - row)
    case 5: (row, column)
    case 6: (width - 1 - row, column)
    case 7: (width - 1 - row, height - 1 - column)
    case 8: (row, height - 1 - column)
    default: (column, row)
    }
}

/// Returns where the frame header (SOF0 or SOF2) begins.
func frameHeader(_ file: [UInt8]) -> Int {
    file.indices.dropLast().first { file[$0] == 0xFF && (file[$0 + 1] == 0xC0 || file[$0 + 1] == 0xC2) } ?? 0
}

/// Returns where the coded data of the last scan begins.
func scanData(_ file: [UInt8]) -> Int {
    let start = file.indices.dropLast().last { file[$0] == 0xFF && file[$0 + 1] == 0xDA } ?? 0
    return start + 2 + Int(file[start + 2]) << 8 + Int(file[start + 3])
}
