import CLibWebP

/// Makes WebP files of every kind: input for tests and for the fuzzer.
package enum WebPFile {
    /// Encodes RGB or RGBA bytes.
    ///
    /// - Parameter quality: 0…100 for a lossy file; nil for a lossless one.
    /// - Throws: `ImageError` if libwebp cannot encode the picture.
    package static func encode(
        _ pixels: [UInt8], width: Int, height: Int, isTransparent: Bool = false, quality: Float? = nil
    ) throws -> [UInt8] {
        precondition(pixels.count == width * height * (isTransparent ? 4 : 3), "pixels do not match the size")
        let (wide, high, stride) = (Int32(width), Int32(height), Int32(width * (isTransparent ? 4 : 3)))
        var output: UnsafeMutablePointer<UInt8>?
        let count =
            switch (isTransparent, quality) {
            case (false, nil): WebPEncodeLosslessRGB(pixels, wide, high, stride, &output)
            case (true, nil): WebPEncodeLosslessRGBA(pixels, wide, high, stride, &output)
            case (false, let quality?): WebPEncodeRGB(pixels, wide, high, stride, quality, &output)
            case (true, let quality?): WebPEncodeRGBA(pixels, wide, high, stride, quality, &output)
            }
        defer { WebPFree(output) }
        guard count > 0, let output else {
            throw ImageError(.unreadable, file: "picture to be written as WebP", detail: "libwebp failed")
        }
        return Array(UnsafeBufferPointer(start: output, count: count))
    }

    /// Returns an encoded file with EXIF data.
    package static func withEXIF(_ data: [UInt8], in file: [UInt8], width: Int, height: Int) -> [UInt8] {
        extended(width: width, height: height, flags: 0x08, pixels(of: file) + chunk("EXIF", data))
    }

    /// Returns an animation of encoded files, each with the position of its top left corner, which is even.
    package static func animation(
        width: Int, height: Int, _ frames: [(x: Int, y: Int, width: Int, height: Int, file: [UInt8])]
    ) -> [UInt8] {
        let encoded = frames.flatMap { frame in
            let header = [frame.x / 2, frame.y / 2, frame.width - 1, frame.height - 1, 100].flatMap {
                number($0, 3)
            }
            return chunk("ANMF", header + [0] + pixels(of: frame.file))
        }
        // The background is opaque red, which no decoder has to show.
        let header = chunk("ANIM", [0, 0, 255, 255, 0, 0])
        return extended(width: width, height: height, flags: 0x12, header + encoded)
    }

    private static func extended(width: Int, height: Int, flags: UInt8, _ chunks: [UInt8]) -> [UInt8] {
        let header = [flags, 0, 0, 0] + number(width - 1, 3) + number(height - 1, 3)
        let content = Array("WEBP".utf8) + chunk("VP8X", header) + chunks
        return Array("RIFF".utf8) + number(content.count, 4) + content
    }

    /// Returns the chunks of an encoded file that hold pixels and transparency.
    private static func pixels(of file: [UInt8]) -> [UInt8] {
        let content = file.dropFirst(12)
        return Array(content.starts(with: "VP8X".utf8) ? content.dropFirst(18) : content)
    }

    private static func chunk(_ name: String, _ content: [UInt8]) -> [UInt8] {
        Array(name.utf8) + number(content.count, 4) + content + (content.count % 2 == 1 ? [0] : [])
    }

    private static func number(_ value: Int, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }
}
