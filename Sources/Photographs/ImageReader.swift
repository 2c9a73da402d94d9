/// Reads, decodes, turns upright and resizes photographs on one thread, and keeps its buffers between them.
final class ImageReader {
    private let jpeg: JPEGDecoder
    private let png: PNGDecoder
    private let webP = WebPDecoder()
    private let resizer = Resizer()
    private let file = ByteBuffer(capacity: 1 << 16)
    /// The size of the last photograph in its file, upright.
    private(set) var lastSize = (width: 0, height: 0)

    init() throws {
        jpeg = try JPEGDecoder()
        png = try PNGDecoder()
    }

    /// Fills `output` with the RGB bytes of photograph `index` and returns its size.
    ///
    /// - Parameters:
    ///   - shortSide: what the shorter side becomes; nil keeps the size.
    ///   - need: the pixels that are needed; the others may hold anything.
    /// - Throws: `ImageError`.
    func read(
        _ set: ImageSet, _ index: Int, shortSide: Int?, into output: ByteBuffer, need: PixelNeed? = nil
    ) throws -> (width: Int, height: Int) {
        try read(
            set.bytes(index, buffer: file), name: set.location(index),
            shortSide: shortSide, into: output, need: need)
    }

    /// Does the same with the content of a file.
    ///
    /// - Parameter enlarges: whether a photograph whose shorter side is below `shortSide` is enlarged.
    func read(
        _ bytes: UnsafeRawBufferPointer, name: String, shortSide: Int?, enlarges: Bool = true,
        into output: ByteBuffer, need: PixelNeed? = nil
    ) throws -> (width: Int, height: Int) {
        // The proportions are those of the picture in the file: a decoder that reduces it rounds both sides.
        func resized(_ size: PictureSize) -> (width: Int, height: Int) {
            guard let shortSide, enlarges || min(size.fullWidth, size.fullHeight) > shortSide else {
                return (size.width, size.height)
            }
            return Resizer.size(width: size.fullWidth, height: size.fullHeight, shortSide: shortSide)
        }
        let decoder = try decoder(of: bytes, name: name)
        let size = try decoder.open(
            bytes, shortSide: shortSide, name: name,
            need: need.map { need in
                { size in
                    let target = resized(size)
                    return self.resizer.source(
                        of: need(target.width, target.height), width: size.width, height: size.height,
                        newWidth: target.width, newHeight: target.height)
                }
            })
        lastSize = (size.fullWidth, size.fullHeight)
        let target = resized(size)
        if let shortSide, 3 * target.width * target.height > ImageLimits.resized {
            // A strip of 1 × 60,000 pixels would grow to gigabytes.
            throw ImageError(
                .tooLarge, file: name,
                detail: "\(size.fullWidth) x \(size.fullHeight) pixels become "
                    + "\(target.width) x \(target.height) at a short side of \(shortSide)")
        }
        let memory = Resizer.memory(
            width: size.width, height: size.height, newWidth: target.width, newHeight: target.height)
        try ImageLimits.check(
            memory: 3 * target.width * target.height + memory,
            width: size.fullWidth, height: size.fullHeight, file: name)
        output.reserve(3 * target.width * target.height)
        try resizer.resize(
            { try decoder.row($0) }, width: size.width, height: size.height, into: output.bytes,
            newWidth: target.width, newHeight: target.height, box: need?(target.width, target.height))
        try decoder.finish()
        return target
    }

    private func decoder(of bytes: UnsafeRawBufferPointer, name: String) throws -> any PictureDecoder {
        guard !bytes.isEmpty else { throw ImageError(.empty, file: name) }
        switch PictureFormat(content: bytes) {
        case .jpeg: return jpeg
        case .png: return png
        case .webP: return webP
        case nil: throw ForeignFormat.error(bytes, file: name)
        }
    }
}

/// Decodes a photograph of any format that is read, upright and as RGB.
///
/// - Parameters:
///   - shortSide: what the shorter side becomes; nil keeps the size.
///   - name: how errors name the file.
/// - Throws: `ImageError`.
public func decodeImage(_ bytes: [UInt8], shortSide: Int? = nil, name: String = "image") throws
    -> DecodedImage
{
    let reader = try ImageReader()
    let output = ByteBuffer()
    let size = try bytes.withUnsafeBytes {
        try reader.read($0, name: name, shortSide: shortSide, into: output)
    }
    return DecodedImage(
        width: size.width, height: size.height,
        pixels: Array(UnsafeBufferPointer(start: output.bytes, count: 3 * size.width * size.height)))
}
