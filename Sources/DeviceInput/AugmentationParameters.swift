import Foundation
import Randomness

/// What is done to one sample in one epoch. In the order in which a picture goes through it: the crop, lens
/// distortion, stretches, rotation, mirroring, colour cast, vignette.
public struct AugmentationParameters: Sendable, Equatable {
    /// The crop's left column in the image. Negative, or too far right, where the crop reaches into the
    /// padding.
    public var x: Int32
    /// The crop's top row, likewise.
    public var y: Int32
    public var mirror = false
    /// The lens coefficient at half a side from the centre: above 0 barrel, below 0 pincushion.
    public var lens = 0.0
    /// Factors of at least 1 by which the picture is made wider and higher.
    public var horizontalStretch = 1.0
    public var verticalStretch = 1.0
    /// Degrees, clockwise.
    public var rotation = 0.0
    /// Levels of 0…255 added to red, green and blue.
    public var cast = SIMD3<Int32>()
    /// Where the vignette begins, 0 in the centre and below 1, the distance of the corners.
    public var vignetteStart = 0.0
    /// Share of the light that is lost in the corners.
    public var vignetteStrength = 0.0
    /// Whether effects read pixels of the crop alone.
    public var isLiteral = false

    public init(x: Int32, y: Int32, mirror: Bool = false) {
        self.x = x
        self.y = y
        self.mirror = mirror
    }

    /// Pixels of padding around an image that already has the crop's size on its shorter side: the offsets
    /// −4…4 are drawn there.
    public static let padding = 4

    /// The crop in the middle: what validation takes.
    public static func central(width: Int, height: Int, size: Int) -> AugmentationParameters {
        // a shift, so that a crop larger than its image is central too
        AugmentationParameters(x: Int32((width - size) >> 1), y: Int32((height - size) >> 1))
    }

    /// Whether nothing but the crop and mirroring happens: then pixels outside the image are 0 after
    /// normalisation, else they are reflected.
    public var isPlain: Bool {
        lens == 0 && horizontalStretch == 1 && verticalStretch == 1 && rotation == 0 && cast == SIMD3()
            && vignetteStrength == 0
    }

    /// What one sample of one epoch gets: a function of its arguments alone.
    /// - Parameters:
    ///   - width: of the resized image, in pixels; `height` likewise.
    ///   - size: side of the square crop.
    ///   - sample: the image's position in the training set.
    public static func draw(
        _ augmentation: Augmentation, width: Int, height: Int,
        size: Int, seed: UInt64, epoch: Int, sample: Int
    ) -> AugmentationParameters {
        var random = Philox(
            seed: seed, purpose: .augmentation, step: UInt64(epoch), index: UInt32(truncatingIfNeeded: sample)
        )
        let padding = min(width, height) <= size ? Self.padding : 0
        func offset(_ side: Int) -> Int32 {
            let room = side + 2 * padding - size
            // Always one draw, here and below, so that a change of one kind leaves the others' draws where
            // they are.
            let drawn = random.integer(below: max(1, room + 1))
            return room < 0 ? Int32((side - size) >> 1) : Int32(drawn - padding)
        }
        var drawn = central(width: width, height: height, size: size)
        let (x, y) = (offset(width), offset(height))
        if augmentation.cropsAtRandom { (drawn.x, drawn.y) = (x, y) }
        drawn.isLiteral = augmentation.isLiteral

        func happens(_ kind: Augmentation.Kind) -> Bool {
            Double(random.uniform()) >= 1 - augmentation[kind].probability
        }
        /// 1…steps, or 0 where the kind does not happen.
        func steps(_ kind: Augmentation.Kind) -> Int {
            let applies = happens(kind)
            let count = augmentation.steps(kind)
            let step = 1 + random.integer(below: max(1, count))
            return applies && count > 0 ? step : 0
        }
        func value(_ kind: Augmentation.Kind) -> Double { Double(steps(kind)) * kind.step }

        drawn.mirror = happens(.mirror)
        let casts = happens(.cast)
        let levels = augmentation.steps(.cast)
        for channel in 0..<3 {
            let isSet = random.integer(below: 2) == 1
            let level = Int32(random.integer(below: 2 * levels + 1) - levels)
            if casts && isSet { drawn.cast[channel] = level }
        }
        drawn.vignetteStrength = value(.vignette)
        let start = random.integer(below: augmentation.vignetteStarts)
        if drawn.vignetteStrength > 0 {
            drawn.vignetteStart =
                augmentation.vignetteStart.lowerBound + Double(start) * Augmentation.vignetteStartStep
        }
        drawn.lens = value(.barrel)
        drawn.lens -= value(.pincushion)
        drawn.horizontalStretch = 1 + value(.horizontalStretch)
        drawn.verticalStretch = 1 + value(.verticalStretch)
        let degrees = value(.rotation)
        drawn.rotation = random.integer(below: 2) == 1 ? degrees : -degrees
        return drawn
    }

    /// The matrix (xx, xy, yx, yy) from a place in the output to one in the crop before the lens, both from
    /// the centre: mirroring, rotation and stretches undone in this order.
    public var outputToCrop: SIMD4<Double> {
        // Exact for the identity and for quarter turns, so that they move pixels and do not blend them.
        let quarter = rotation / 90
        let isQuarter = quarter == quarter.rounded()
        let turns = isQuarter ? ((Int(quarter) % 4) + 4) % 4 : 0
        let cosine = isQuarter ? [1.0, 0, -1, 0][turns] : cos(rotation * .pi / 180)
        let sine = isQuarter ? [0.0, 1, 0, -1][turns] : sin(rotation * .pi / 180)
        let direction = mirror ? -1.0 : 1.0
        return SIMD4(
            direction * cosine / horizontalStretch, sine / horizontalStretch,
            -direction * sine / verticalStretch, cosine / verticalStretch)
    }

    /// One line for people: "x 12, y 3, rotation −7°, cast (0, 12, −4)".
    public var summary: String {
        var parts = ["crop at (\(x), \(y))"]
        if mirror { parts.append("mirrored") }
        if cast != SIMD3() { parts.append("cast (\(cast.x), \(cast.y), \(cast.z))") }
        if vignetteStrength > 0 {
            parts.append(String(format: "vignette %.2f from %.4f", vignetteStrength, vignetteStart))
        }
        if lens > 0 { parts.append(String(format: "barrel %.3f", lens)) }
        if lens < 0 { parts.append(String(format: "pincushion %.3f", -lens)) }
        if horizontalStretch > 1 {
            parts.append(String(format: "horizontal stretch %.3f", horizontalStretch))
        }
        if verticalStretch > 1 { parts.append(String(format: "vertical stretch %.3f", verticalStretch)) }
        if rotation != 0 { parts.append(String(format: "rotation %+.0f°", rotation)) }
        return parts.joined(separator: ", ")
    }
}
