import Foundation

/// From a path to resized pixels: reads, decodes, turns upright, resizes. Keeps its buffers between files;
/// one a thread.
final class ImageReader {
    private let decoder: JPEGDecoder
    private let resizer = Resizer()
    private let file = PixelBuffer(capacity: 1 << 16)

    init() throws(ImageError) { decoder = try JPEGDecoder() }

    /// Fills `output` with RGB bytes and returns the size; the shorter side is `shortSide`.
    ///
    /// - Parameter need: the pixels that are needed; the others may hold anything.
    func read(path: String, shortSide: Int, into output: PixelBuffer, need: PixelNeed? = nil)
        throws(ImageError) -> (width: Int, height: Int)
    {
        let bytes = try readFile(path)
        let size = try decoder.decode(
            bytes, shortSide: shortSide, name: path,
            need: need.map { need in
                { width, height in
                    let target = Resizer.size(width: width, height: height, shortSide: shortSide)
                    return self.resizer.source(
                        of: need(target.width, target.height), width: width, height: height,
                        newWidth: target.width, newHeight: target.height)
                }
            })
        let target = Resizer.size(width: size.width, height: size.height, shortSide: shortSide)
        guard target.width * target.height <= ImageLimits.pixels else {
            // A strip of 1 × 60,000 pixels would grow to gigabytes.
            throw ImageError(
                .tooLarge, file: path,
                detail:
                    "\(size.width) x \(size.height) pixels; a short side of \(shortSide), itself perhaps too large, makes it \(target.width) x "
                    + "\(target.height)")
        }
        output.reserve(3 * target.width * target.height)
        resizer.resize(
            decoder.pixels, width: size.width, height: size.height, into: output.bytes,
            newWidth: target.width, newHeight: target.height, box: need?(target.width, target.height))
        return target
    }

    /// The whole file, in memory that the next call uses again.
    private func readFile(_ path: String) throws(ImageError) -> UnsafeRawBufferPointer {
        // Not blocking: a pipe that somebody named .jpg must not stop the run.
        let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else { throw Self.systemError(path) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw Self.systemError(path) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw ImageError(.unreadable, file: path, detail: "not a regular file")
        }
        let size = Int(status.st_size)
        guard size > 0 else { throw ImageError(.empty, file: path) }
        guard size <= ImageLimits.fileBytes else {
            throw ImageError(.tooLarge, file: path, detail: "\(size) bytes")
        }
        file.reserve(size)
        var count = 0
        while count < size {
            let got = Foundation.read(descriptor, file.bytes + count, size - count)
            if got < 0 && errno == EINTR { continue }
            guard got >= 0 else { throw Self.systemError(path) }
            if got == 0 { break }  // cut short since we asked for its size: the decoder will say so
            count += got
        }
        return UnsafeRawBufferPointer(start: file.bytes, count: count)
    }

    private static func systemError(_ path: String) -> ImageError {
        switch errno {
        case ENOENT, ENOTDIR: ImageError(.missing, file: path)
        case EACCES, EPERM: ImageError(.noPermission, file: path)
        default: ImageError(.unreadable, file: path, detail: String(cString: strerror(errno)))
        }
    }
}
