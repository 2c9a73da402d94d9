import Randomness

/// How training images are varied.
public enum Augmentation: String, Sendable, CaseIterable {
    /// The central crop.
    case none
    /// A random crop, and its mirror image half the time.
    case standard
}

/// Where a crop lies in its image. Laid out as three C ints, for the device.
public struct CropParameters: Sendable, Equatable, BitwiseCopyable {
    /// The crop's left column in the image. Negative, or too far right, where the crop reaches into the padding, whose value is 0 after
    /// normalisation.
    public var x: Int32
    /// The crop's top row, likewise.
    public var y: Int32
    /// 1: the crop is mirrored left to right after it is taken.
    public var mirror: Int32

    public init(x: Int32, y: Int32, mirror: Int32) {
        self.x = x
        self.y = y
        self.mirror = mirror
    }

    /// Pixels of padding around an image that already has the crop's size on its shorter side.
    public static let padding = 4

    /// The crop in the middle: what validation takes.
    public static func central(width: Int, height: Int, size: Int) -> CropParameters {
        // a shift, so that a crop larger than its image is central too
        CropParameters(x: Int32((width - size) >> 1), y: Int32((height - size) >> 1), mirror: 0)
    }

    /// The crop for one sample of one epoch: a function of its arguments alone.
    /// - Parameters:
    ///   - width: of the resized image, in pixels; `height` likewise.
    ///   - size: side of the square crop.
    ///   - sample: the image's position in the training set.
    public static func draw(
        _ augmentation: Augmentation, width: Int, height: Int, size: Int, seed: UInt64, epoch: Int, sample: Int
    ) -> CropParameters {
        guard augmentation == .standard else { return central(width: width, height: height, size: size) }
        var random = Philox(seed: seed, purpose: .augmentation, step: UInt64(epoch), index: UInt32(truncatingIfNeeded: sample))
        let padding = min(width, height) <= size ? Self.padding : 0
        func offset(_ side: Int) -> Int32 {
            let room = side + 2 * padding - size
            // always one draw, so that the mirror's bit does not move
            let drawn = random.integer(below: max(1, room + 1))
            return room < 0 ? Int32((side - size) >> 1) : Int32(drawn - padding)
        }
        let x = offset(width)
        let y = offset(height)
        return CropParameters(x: x, y: y, mirror: Int32(random.integer(below: 2)))
    }
}
