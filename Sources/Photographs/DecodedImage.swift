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
}
