/// Reads, decodes, turns upright and resizes photographs on one thread, and keeps its buffers between them.
final class ImageReader {
    private let decoder: JPEGDecoder
    private let resizer = Resizer()
    private let file = ByteBuffer(capacity: 1 << 16)

    init() throws { decoder = try JPEGDecoder() }

    /// Fills `output` with the RGB bytes of photograph `index` and returns its size.
    ///
    /// - Parameters:
    ///   - shortSide: what the shorter side becomes; nil keeps the size.
    ///   - need: the pixels that are needed; the others may hold anything.
    /// - Throws: `ImageError`.
    func read(
        _ set: ImageSet, _ index: Int, shortSide: Int?, into output: ByteBuffer, need: PixelNeed? = nil
    ) throws -> (width: Int, height: Int) {
        let name = set.location(index)
        func resized(_ width: Int, _ height: Int) -> (width: Int, height: Int) {
            shortSide.map { Resizer.size(width: width, height: height, shortSide: $0) } ?? (width, height)
        }
        let size = try decoder.decode(
            set.bytes(index, buffer: file), shortSide: shortSide, name: name,
            need: need.map { need in
                { width, height in
                    let target = resized(width, height)
                    return self.resizer.source(
                        of: need(target.width, target.height), width: width, height: height,
                        newWidth: target.width, newHeight: target.height)
                }
            })
        let target = resized(size.width, size.height)
        guard target.width * target.height <= ImageLimits.pixels else {
            // A strip of 1 × 60,000 pixels would grow to gigabytes.
            throw ImageError(
                .tooLarge, file: name,
                detail: "\(size.width) x \(size.height) pixels become \(target.width) x \(target.height) "
                    + "at a short side of \(shortSide ?? 0)")
        }
        output.reserve(3 * target.width * target.height)
        resizer.resize(
            decoder.pixels, width: size.width, height: size.height, into: output.bytes,
            newWidth: target.width, newHeight: target.height, box: need?(target.width, target.height))
        return target
    }
}
