/// Holds an upright picture in memory.
public struct DecodedImage: Sendable, Equatable {
    public let width: Int
    public let height: Int
    /// RGB, rows from the top without gaps: `height * width * 3` bytes.
    public let pixels: [UInt8]

    /// - Precondition: `pixels.count == 3 * width * height`.
    public init(width: Int, height: Int, pixels: [UInt8]) {
        precondition(
            width > 0 && height > 0 && pixels.count == 3 * width * height,
            "a picture's bytes are 3 * width * height")
        self.width = width
        self.height = height
        self.pixels = pixels
    }

    /// Returns the picture resized to a shorter side of `shortSide` (see `Resizer`).
    ///
    /// A picture that has the size already keeps its bytes.
    public func resized(shortSide: Int) -> DecodedImage {
        let (newWidth, newHeight) = Resizer.size(width: width, height: height, shortSide: shortSide)
        if (newWidth, newHeight) == (width, height) { return self }
        let count = 3 * newWidth * newHeight
        let output = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialised in
            pixels.withUnsafeBufferPointer { source in
                if let from = source.baseAddress, let to = buffer.baseAddress {
                    Resizer().resize(
                        from, width: width, height: height, into: to, newWidth: newWidth,
                        newHeight: newHeight)
                }
            }
            initialised = count
        }
        return DecodedImage(width: newWidth, height: newHeight, pixels: output)
    }
}
