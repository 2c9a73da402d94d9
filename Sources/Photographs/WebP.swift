import Basics
import CLibWebP

/// Decodes WebP files to RGB, of an animation the first frame; transparent pixels are put on white.
final class WebPDecoder: PictureDecoder {
    private var decoded = ByteBuffer()
    private var other = ByteBuffer()
    private var width = 0
    private let reducedFrom: Int

    /// - Parameter reducedFrom: the number of pixels from which on a picture is decoded at a reduced scale.
    ///   libwebp's scaler takes means of blocks, which differ a little from the resizer's triangles.
    init(reducedFrom: Int = 50_000_000) { self.reducedFrom = reducedFrom }

    func open(
        _ bytes: UnsafeRawBufferPointer, shortSide: Int?, name: String, need: ((PictureSize) -> PixelBox)?
    ) throws -> PictureSize {
        guard let base = bytes.baseAddress, !bytes.isEmpty else { throw ImageError(.empty, file: name) }
        var data = WebPData(bytes: base.assumingMemoryBound(to: UInt8.self), size: bytes.count)
        var state = WEBP_DEMUX_PARSING_HEADER
        let demuxer = WebPDemuxPartial(&data, &state)
        defer { WebPDemuxDelete(demuxer) }
        guard state != WEBP_DEMUX_PARSE_ERROR else {
            throw ImageError(.damaged, file: name, detail: "WebP: the chunks do not fit together")
        }
        guard let demuxer, state == WEBP_DEMUX_DONE else {
            throw ImageError(.truncated, file: name, detail: "WebP: \(bytes.count) bytes")
        }
        var frame = WebPIterator()
        guard WebPDemuxGetFrame(demuxer, 1, &frame) != 0 else {
            throw ImageError(.damaged, file: name, detail: "WebP: no picture in it")
        }
        defer { WebPDemuxReleaseIterator(&frame) }
        let canvas = Canvas(demuxer, frame)
        let orientation = Self.orientation(demuxer)
        var config = WebPDecoderConfig()
        guard WebPInitDecoderConfig(&config) != 0 else {
            throw ImageError(.unreadable, file: name, detail: "another version of libwebp was built for")
        }
        try Self.check(WebPGetFeatures(frame.fragment.bytes, frame.fragment.size, &config.input), name)

        let reduction = reduction(canvas, shortSide: shortSide)
        let frameWidth = Int(config.input.width).ceilDivided(by: reduction)
        let frameHeight = Int(config.input.height).ceilDivided(by: reduction)
        let (canvasWidth, canvasHeight) =
            canvas.isCovered ? (frameWidth, frameHeight) : (canvas.width, canvas.height)
        let isTransparent = config.input.has_alpha != 0
        let channels = isTransparent ? 4 : 3
        let frameBytes = channels * frameWidth * frameHeight
        let canvasBytes = 3 * canvasWidth * canvasHeight
        // libwebp keeps the pixels of lossless files and the transparency of lossy ones at full size.
        let kept =
            Int(config.input.width) * Int(config.input.height)
            * (config.input.format == 2 ? 4 : isTransparent ? 1 : 0)
        try ImageLimits.check(
            memory: kept + frameBytes + canvasBytes
                * ((canvas.isCovered ? 0 : 1) + (orientation == 1 ? 0 : 1)),
            width: canvas.width, height: canvas.height, file: name)

        decoded.reserve(frameBytes)
        if reduction > 1 {
            config.options.use_scaling = 1
            config.options.scaled_width = Int32(frameWidth)
            config.options.scaled_height = Int32(frameHeight)
        }
        config.output.colorspace = isTransparent ? MODE_RGBA : MODE_RGB
        config.output.is_external_memory = 1
        config.output.u.RGBA.rgba = decoded.bytes
        config.output.u.RGBA.stride = Int32(channels * frameWidth)
        config.output.u.RGBA.size = frameBytes
        let status = WebPDecode(frame.fragment.bytes, frame.fragment.size, &config)
        WebPFreeDecBuffer(&config.output)
        try Self.check(status, name)
        if isTransparent { Self.putOnWhite(decoded.bytes, count: frameWidth * frameHeight) }
        if !canvas.isCovered {
            other.reserve(canvasBytes)
            canvas.place(decoded.bytes, width: frameWidth, height: frameHeight, in: other.bytes)
            swap(&decoded, &other)
        }
        let turn = UprightTurn(width: canvasWidth, height: canvasHeight, orientation: orientation)
        if orientation != 1 {
            other.reserve(canvasBytes)
            for y in 0..<canvasHeight {
                turn.place(decoded.bytes + 3 * canvasWidth * y, row: y, in: other.bytes)
            }
            swap(&decoded, &other)
        }
        width = turn.width
        return PictureSize(
            width: turn.width, height: turn.height,
            fullWidth: turn.isTransposed ? canvas.height : canvas.width,
            fullHeight: turn.isTransposed ? canvas.width : canvas.height)
    }

    func row(_ y: Int) -> UnsafePointer<UInt8> { UnsafePointer(decoded.bytes + 3 * width * y) }

    func finish() {}

    /// Describes the picture that frames are drawn on.
    private struct Canvas {
        let width, height: Int
        /// Where the first frame begins.
        let left, top: Int
        /// Whether the first frame is as large as the canvas.
        let isCovered: Bool

        init(_ demuxer: OpaquePointer, _ frame: WebPIterator) {
            width = Int(WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_WIDTH))
            height = Int(WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_HEIGHT))
            (left, top) = (Int(frame.x_offset), Int(frame.y_offset))
            isCovered = Int(frame.width) == width && Int(frame.height) == height
        }

        /// Puts a frame on a white canvas.
        func place(
            _ frame: UnsafePointer<UInt8>, width frameWidth: Int, height frameHeight: Int,
            in target: UnsafeMutablePointer<UInt8>
        ) {
            target.update(repeating: 255, count: 3 * width * height)
            for y in 0..<min(frameHeight, height - top) {
                (target + 3 * ((top + y) * width + left)).update(
                    from: frame + 3 * y * frameWidth, count: 3 * min(frameWidth, width - left))
            }
        }
    }

    /// Returns by how much a large picture is reduced: a power of two that leaves at least twice `shortSide`.
    private func reduction(_ canvas: Canvas, shortSide: Int?) -> Int {
        guard let shortSide, canvas.isCovered, canvas.width * canvas.height >= reducedFrom else { return 1 }
        var reduction = 1
        while min(canvas.width, canvas.height) / (2 * reduction) >= 2 * shortSide { reduction *= 2 }
        return reduction
    }

    private static func orientation(_ demuxer: OpaquePointer) -> Int {
        var chunk = WebPChunkIterator()
        defer { WebPDemuxReleaseChunkIterator(&chunk) }
        guard WebPDemuxGetChunk(demuxer, "EXIF", 1, &chunk) != 0 else { return 1 }
        return exifOrientation(UnsafeRawBufferPointer(start: chunk.chunk.bytes, count: chunk.chunk.size))
    }

    /// Turns RGBA into RGB in the same memory.
    private static func putOnWhite(_ pixels: UnsafeMutablePointer<UInt8>, count: Int) {
        var (from, to) = (pixels, pixels)
        for _ in 0..<count {
            let alpha = UInt32(from[3])
            for channel in 0..<3 {
                // Dividing by 255, rounded to the nearest.
                let sum = UInt32(from[channel]) * alpha + 255 * (255 - alpha) + 128
                to[channel] = UInt8((sum + sum >> 8) >> 8)
            }
            from += 4
            to += 3
        }
    }

    private static func check(_ status: VP8StatusCode, _ name: String) throws {
        let (kind, detail): (ImageError.Kind, String)
        switch status {
        case VP8_STATUS_OK: return
        case VP8_STATUS_OUT_OF_MEMORY: (kind, detail) = (.unreadable, "out of memory")
        case VP8_STATUS_UNSUPPORTED_FEATURE: (kind, detail) = (.unsupported, "unknown feature")
        case VP8_STATUS_NOT_ENOUGH_DATA, VP8_STATUS_SUSPENDED:
            (kind, detail) = (.truncated, "the data ends early")
        default: (kind, detail) = (.damaged, "the coded data is wrong")
        }
        throw ImageError(kind, file: name, detail: "WebP: " + detail)
    }
}
