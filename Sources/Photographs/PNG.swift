import CJPEG
import CLibPNG
import CPNG

/// Encodes a picture as a PNG file of 8 bits a channel.
///
/// - Throws: `ImageError` if libpng has too little memory or the picture is larger than the format allows.
public func encodePNG(_ picture: DecodedImage) throws -> [UInt8] {
    var image = png_image()
    image.version = png_uint_32(PNG_IMAGE_VERSION)
    image.width = png_uint_32(picture.width)
    image.height = png_uint_32(picture.height)
    image.format = png_uint_32(PNG_FORMAT_FLAG_COLOR)
    // Data that cannot be compressed grows by less than this.
    var count = picture.pixels.count + picture.pixels.count / 4 + picture.height + 4096
    var file = [UInt8](repeating: 0, count: count)
    guard png_image_write_to_memory(&image, &file, &count, 0, picture.pixels, 0, nil) != 0 else {
        let message = withUnsafeBytes(of: image.message) {
            String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
        }
        throw ImageError(.unreadable, file: "picture to be written as PNG", detail: message)
    }
    return Array(file[..<count])
}

/// Decodes PNG files to RGB of 8 bits; transparent pixels are put on white.
///
/// Rows are decoded when they are asked for. Only interlaced and turned pictures are held in memory.
final class PNGDecoder: PictureDecoder {
    private let decoder: OpaquePointer
    private let line = ByteBuffer()
    private var pixels = ByteBuffer()
    private var turned = ByteBuffer()
    private var name = ""
    private var size = PictureSize(width: 0, height: 0, fullWidth: 0, fullHeight: 0)
    private var isStreamed = false
    /// How many rows have been read to `line`.
    private var rowsRead = 0

    init() throws {
        guard let created = cpng_decoder_create() else {
            throw ImageError(.unreadable, file: "libpng", detail: "out of memory")
        }
        decoder = created
    }

    deinit { cpng_decoder_destroy(decoder) }

    func open(
        _ bytes: UnsafeRawBufferPointer, shortSide: Int?, name: String, need: ((PictureSize) -> PixelBox)?
    ) throws -> PictureSize {
        self.name = name
        guard let base = bytes.baseAddress, !bytes.isEmpty else { throw ImageError(.empty, file: name) }
        var header = cpng_header()
        try check(cpng_decoder_open(decoder, base, bytes.count, &header))
        let (width, height) = (Int(header.width), Int(header.height))
        let orientation = Self.orientation(bytes)
        let turn = UprightTurn(width: width, height: height, orientation: orientation)
        size = PictureSize(
            width: turn.width, height: turn.height, fullWidth: turn.width, fullHeight: turn.height)
        isStreamed = !header.interlaced && orientation == 1
        rowsRead = 0
        if isStreamed {
            line.reserve(3 * width)
            return size
        }
        let copies = (header.interlaced ? 1 : 0) + (orientation == 1 ? 0 : 1)
        try ImageLimits.check(memory: 3 * width * height * copies, width: width, height: height, file: name)
        if header.interlaced {
            pixels.reserve(3 * width * height)
            try check(cpng_decoder_all(decoder, pixels.bytes, 3 * width))
        }
        guard orientation != 1 else { return size }
        turned.reserve(3 * width * height)
        line.reserve(3 * width)
        for y in 0..<height {
            if header.interlaced {
                turn.place(pixels.bytes + 3 * width * y, row: y, in: turned.bytes)
            } else {
                try check(cpng_decoder_row(decoder, line.bytes))
                turn.place(line.bytes, row: y, in: turned.bytes)
            }
        }
        swap(&pixels, &turned)
        return size
    }

    func row(_ y: Int) throws -> UnsafePointer<UInt8> {
        guard isStreamed else { return UnsafePointer(pixels.bytes + 3 * size.width * y) }
        while rowsRead <= y {
            try check(cpng_decoder_row(decoder, line.bytes))
            rowsRead += 1
        }
        return UnsafePointer(line.bytes)
    }

    func finish() throws {
        if isStreamed { _ = try row(size.height - 1) }
        try check(cpng_decoder_finish(decoder))
    }

    private func check(_ status: cpng_status) throws {
        guard status != CPNG_OK else { return }
        let kind: ImageError.Kind =
            switch status {
            case CPNG_TRUNCATED: .truncated
            case CPNG_TOO_LARGE: .tooLarge
            case CPNG_UNSUPPORTED: .unsupported
            case CPNG_OUT_OF_MEMORY: .unreadable
            default: .damaged
            }
        throw ImageError(kind, file: name, detail: "PNG: " + String(cString: cpng_decoder_message(decoder)))
    }

    /// Returns the orientation in the file's eXIf chunk, 1…8; 1 if it is missing or invalid.
    ///
    /// The chunk may follow the pixels, so libpng finds it too late.
    private static func orientation(_ file: UnsafeRawBufferPointer) -> Int {
        var start = 8
        while start + 12 <= file.count {
            let length = Int(UInt32(bigEndian: file.loadUnaligned(fromByteOffset: start, as: UInt32.self)))
            let content = start + 8
            guard length <= file.count - content - 4 else { break }
            if file[start + 4..<content].elementsEqual("eXIf".utf8) {
                return exifOrientation(UnsafeRawBufferPointer(rebasing: file[content..<content + length]))
            }
            start = content + length + 4
        }
        return 1
    }
}

/// Returns the orientation in EXIF data, 1…8; 1 if it is missing or invalid.
func exifOrientation(_ data: UnsafeRawBufferPointer) -> Int {
    guard let base = data.baseAddress else { return 1 }
    return Int(cjpeg_exif_orientation(base.assumingMemoryBound(to: UInt8.self), data.count))
}
