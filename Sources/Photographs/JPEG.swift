import Basics
import CJPEG

/// Names how a JPEG file stores colours.
package enum JPEGColour: UInt32, CaseIterable {
    case grey, rgb, ycc, cmyk, ycck
    package var channels: Int { self == .grey ? 1 : self == .cmyk || self == .ycck ? 4 : 3 }
}

/// The quality of JPEG files on libjpeg's scale.
public enum JPEGQuality {
    public static let legal = 1...100
    /// The quality of the files that are written for training.
    public static let usual = 90
}

/// Encodes an RGB picture as a JPEG file with chroma at half size.
///
/// - Parameter quality: one of `JPEGQuality.legal`.
/// - Throws: `ImageError` if a side is above 65,500 or memory is short.
public func encodeJPEG(_ image: DecodedImage, quality: Int = JPEGQuality.usual) throws -> [UInt8] {
    try encodeJPEG(image.pixels, width: image.width, height: image.height, stored: .ycc, quality: quality)
}

/// Encodes samples of any kind of colour.
///
/// CMYK is written as given, in Adobe's form, where 255 means no ink.
/// - Parameter chroma: pixels across and down that share a sample of chroma, in YCC: 1, 2 or 4.
package func encodeJPEG(
    _ pixels: [UInt8], width: Int, height: Int, stored: JPEGColour, chroma: (across: Int, down: Int) = (2, 2),
    quality: Int, progressive: Bool = false
) throws -> [UInt8] {
    precondition(pixels.count == width * height * stored.channels, "pixels do not match the size")
    var output: UnsafeMutablePointer<UInt8>?
    var count = 0
    var message = [CChar](repeating: 0, count: 200)
    let encoding = cjpeg_encoding(
        width: UInt32(width), height: UInt32(height), stored: cjpeg_colour(rawValue: stored.rawValue),
        across: Int32(chroma.across), down: Int32(chroma.down),
        quality: Int32(min(max(quality, JPEGQuality.legal.lowerBound), JPEGQuality.legal.upperBound)),
        progressive: progressive)
    let status = cjpeg_encode(pixels, encoding, &output, &count, &message)
    defer { cjpeg_free(output) }
    guard status == CJPEG_OK, let output else {
        let text = String(decoding: message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        throw JPEGDecoder.error(status, file: "image to be written", detail: text)
    }
    return Array(UnsafeBufferPointer(start: output, count: count))
}

/// Decodes pictures on one thread to upright RGB, and keeps libjpeg's state and the output's memory between
/// them.
///
/// Grey, CMYK and YCCK are converted, and the EXIF orientation is applied.
final class JPEGDecoder: PictureDecoder {
    private let decoder: OpaquePointer
    private var decoded = ByteBuffer()
    private var turned = ByteBuffer()
    private var width = 0

    init() throws {
        guard let created = cjpeg_decoder_create() else {
            throw ImageError(.unreadable, file: "libjpeg", detail: "out of memory")
        }
        decoder = created
    }

    deinit { cjpeg_decoder_destroy(decoder) }

    /// The last picture: RGB, upright; valid until the next `open`.
    var pixels: UnsafeMutablePointer<UInt8> { decoded.bytes }

    /// The number of libjpeg's warnings about the last picture, harmless ones included.
    var warnings: Int { Int(cjpeg_decoder_warnings(decoder)) }

    /// Decodes a file to `pixels`.
    ///
    /// - Parameter need: the pixels of the decoded picture that are needed; the others may hold anything.
    ///   Damage outside of them is found too.
    func open(
        _ bytes: UnsafeRawBufferPointer, shortSide: Int?, name: String, need: ((PictureSize) -> PixelBox)?
    ) throws -> PictureSize {
        guard let base = bytes.baseAddress, !bytes.isEmpty else { throw ImageError(.empty, file: name) }
        var header = cjpeg_header()
        try check(
            cjpeg_decoder_open(decoder, base, bytes.count, UInt32(ImageLimits.jpegSide), &header), name)
        let (storedWidth, storedHeight) = (Int(header.width), Int(header.height))
        let numerator = Self.scaleNumerator(short: min(storedWidth, storedHeight), target: shortSide)
        let upright = header.orientation == 1
        let count =
            (storedWidth * numerator).ceilDivided(by: 8) * (storedHeight * numerator).ceilDivided(by: 8)
        try ImageLimits.check(
            memory: Int(header.coefficient_bytes) + 3 * count * (upright ? 1 : 2),
            width: storedWidth, height: storedHeight, file: name)
        var width: UInt32 = 0
        var height: UInt32 = 0
        try check(cjpeg_decoder_start(decoder, Int32(numerator), &width, &height), name)
        let turn = UprightTurn(
            width: Int(width), height: Int(height), orientation: Int(header.orientation))
        let size = PictureSize(
            width: turn.width, height: turn.height,
            fullWidth: turn.isTransposed ? storedHeight : storedWidth,
            fullHeight: turn.isTransposed ? storedWidth : storedHeight)
        self.width = size.width
        decoded.reserve(3 * size.width * size.height)
        // Turned pictures are rare. A file of many scans is read completely before its first row, which takes
        // most of the time.
        if let need, upright, !header.many_scans {
            try read(need(size), width: size.width, height: size.height, name)
            return size
        }
        try check(cjpeg_decoder_read(decoder, decoded.bytes, 3 * Int(width), height), name)
        guard !upright else { return size }
        turned.reserve(3 * size.width * size.height)
        for y in 0..<Int(height) { turn.place(decoded.bytes + 3 * Int(width) * y, row: y, in: turned.bytes) }
        swap(&decoded, &turned)
        return size
    }

    func row(_ y: Int) -> UnsafePointer<UInt8> { UnsafePointer(decoded.bytes + 3 * width * y) }

    func finish() {}

    /// The number of columns beside the box that are decoded too.
    ///
    /// libjpeg interpolates chroma from the neighbour on each side. It has none at the edge, and does not
    /// interpolate a single column of chroma.
    private static let margin = 2

    /// Decodes the pixels in `box` to their positions in the complete picture.
    private func read(_ box: PixelBox, width: Int, height: Int, _ name: String) throws {
        var first = UInt32(max(0, box.columns.lowerBound - Self.margin))
        var columns = UInt32(min(width, box.columns.upperBound + Self.margin)) - first
        try check(cjpeg_decoder_crop(decoder, &first, &columns), name)
        let stride = 3 * width
        let target = decoded.bytes + 3 * Int(first)
        let above = box.rows.lowerBound
        if above > 0 { try check(cjpeg_decoder_skip(decoder, UInt32(above)), name) }
        try check(cjpeg_decoder_read(decoder, target + above * stride, stride, UInt32(box.rows.count)), name)
        // The data below is read too, so that damage is found anywhere in the file: libjpeg does not read it
        // if the last row is skipped.
        let below = height - box.rows.upperBound
        if below > 1 { try check(cjpeg_decoder_skip(decoder, UInt32(below - 1)), name) }
        if below > 0 {
            try check(cjpeg_decoder_read(decoder, target + (height - 1) * stride, stride, 1), name)
        }
    }

    /// Returns the eighths of the size to decode at.
    ///
    /// libjpeg has vector code only for 1/1, 1/2 and 1/4: 5/8 or 6/8 would take longer than 1/1.
    static func scaleNumerator(short: Int, target: Int?) -> Int {
        guard let target else { return 8 }
        return [1, 2, 4].first { (short * $0 + 7) / 8 >= target } ?? 8
    }

    private func check(_ status: cjpeg_status, _ name: String) throws {
        guard status != CJPEG_OK else { return }
        throw Self.error(status, file: name, detail: String(cString: cjpeg_decoder_message(decoder)))
    }

    static func error(_ status: cjpeg_status, file: String, detail: String) -> ImageError {
        let kind: ImageError.Kind =
            switch status {
            case CJPEG_NOT_JPEG: .unknownFormat
            case CJPEG_TRUNCATED: .truncated
            case CJPEG_TOO_LARGE: .tooLarge
            case CJPEG_UNSUPPORTED: .unsupported
            case CJPEG_OUT_OF_MEMORY: .unreadable
            default: .damaged
            }
        let limit = kind == .tooLarge ? "; the limit is a side of \(ImageLimits.jpegSide)" : ""
        return ImageError(kind, file: file, detail: detail + limit)
    }
}
