import Foundation

/// Describes a picture whose header has been read.
struct PictureSize: Equatable {
    /// The size of the rows that the decoder gives, upright.
    let width, height: Int
    /// The size of the picture in the file, upright; larger if it is decoded at a reduced scale.
    let fullWidth, fullHeight: Int
}

/// Decodes files of one format on one thread, and keeps memory between them.
///
/// JPEG.swift, PNG.swift and WebP.swift have the decoders.
protocol PictureDecoder: AnyObject {
    /// Reads a file at least as far as its pixels.
    ///
    /// - Parameters:
    ///   - bytes: the file's content; must stay until `finish`.
    ///   - shortSide: if given, the picture may be decoded at a reduced scale, with a shorter side that is
    ///     not below this.
    ///   - name: how errors name the file.
    ///   - need: the pixels of the decoded picture that are needed; the others may hold anything.
    /// - Throws: `ImageError`.
    func open(
        _ bytes: UnsafeRawBufferPointer, shortSide: Int?, name: String, need: ((PictureSize) -> PixelBox)?
    ) throws -> PictureSize

    /// Returns a row of the upright picture as RGB bytes, valid until the next call.
    ///
    /// Rows must be asked for in ascending order.
    func row(_ y: Int) throws -> UnsafePointer<UInt8>

    /// Reads the rest of the file, so that damage is found anywhere in it.
    func finish() throws
}

/// Limits what a file may claim before memory is allocated for it.
enum ImageLimits {
    /// The memory in bytes that reading one photograph may take, beside its file: 1 GiB.
    static let memory = 1 << 30
    /// The largest resized photograph in bytes: 100 megapixels.
    static let resized = 300_000_000
    /// libjpeg's own limit.
    static let jpegSide = 65_500
    /// The largest file in bytes.
    static let fileBytes = 1 << 30

    /// Refuses a picture that needs more memory than the limit.
    static func check(memory: Int, width: Int, height: Int, file: String) throws {
        guard memory > Self.memory else { return }
        let needed = String(format: "%.1f", Double(memory) / Double(1 << 30))
        throw ImageError(
            .tooLarge, file: file,
            detail: "\(width) x \(height) pixels need \(needed) GiB of memory; "
                + "the limit is \(Self.memory >> 30) GiB")
    }
}

/// The length of a resized photograph's shorter side.
public enum ShortSide { public static let largest = 8192 }

/// Says where an EXIF orientation puts a stored picture's pixels.
struct UprightTurn {
    /// The size of the upright picture.
    let width, height: Int
    let isTransposed: Bool
    private let storedWidth: Int
    /// The position of the first stored pixel in the upright picture.
    private let start: Int
    /// The steps there for one stored pixel right and one stored row down.
    private let right, down: Int

    /// - Parameters:
    ///   - width, height: the size as stored.
    ///   - orientation: EXIF's number, 1…8.
    init(width storedWidth: Int, height storedHeight: Int, orientation: Int) {
        self.storedWidth = storedWidth
        isTransposed = orientation >= 5
        (width, height) = isTransposed ? (storedHeight, storedWidth) : (storedWidth, storedHeight)
        let lastColumn = width - 1
        let lastRow = (height - 1) * width
        (start, right, down) =
            switch orientation {
            case 2: (lastColumn, -1, width)
            case 3: (lastRow + lastColumn, -1, -width)
            case 4: (lastRow, 1, -width)
            case 5: (0, width, 1)
            case 6: (lastColumn, width, -1)
            case 7: (lastRow + lastColumn, -width, -1)
            case 8: (lastRow, -width, 1)
            default: (0, 1, width)
            }
    }

    /// Copies the stored row `y` to its place in the upright picture.
    func place(_ row: UnsafePointer<UInt8>, row y: Int, in target: UnsafeMutablePointer<UInt8>) {
        var from = row
        var to = target + 3 * (start + y * down)
        for _ in 0..<storedWidth {
            to[0] = from[0]
            to[1] = from[1]
            to[2] = from[2]
            from += 3
            to += 3 * right
        }
    }
}
