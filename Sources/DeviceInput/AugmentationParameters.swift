import Foundation
import Randomness

/// Says what is done to one photograph in one epoch.
///
/// A picture goes through the crop, lens distortion, stretches, rotation, mirroring, colour cast and
/// vignette, in this order.
public struct AugmentationParameters: Sendable, Equatable {
    /// The crop's left column in the photograph; outside of it if the crop reaches into the padding.
    public var x: Int32
    /// The crop's top row, likewise.
    public var y: Int32
    public var mirror = false
    /// Levels of 0…255 added to red, green and blue.
    public var cast = SIMD3<Int32>()
    /// Where the vignette begins on the way from the centre (0) to the corners, below 1.
    public var vignetteStart = 0.0
    /// Whether effects read only pixels of the crop.
    public var isLiteral = false
    private var amounts: [Augmentation.Kind: Double] = [:]

    /// How much of a kind is applied, in its unit; 0 for none.
    ///
    /// Mirroring and the cast have properties instead. Rotation is in degrees, clockwise; stretches are what
    /// is added to a factor of 1.
    public subscript(kind: Augmentation.Kind) -> Double {
        get { amounts[kind] ?? 0 }
        set { amounts[kind] = newValue == 0 ? nil : newValue }
    }

    /// The lens coefficient at half a side from the centre: above 0 barrel, below 0 pincushion.
    public var lens: Double { self[.barrel] - self[.pincushion] }

    public init(x: Int32, y: Int32, mirror: Bool = false) {
        self.x = x
        self.y = y
        self.mirror = mirror
    }

    /// Pixels of padding around photographs whose shorter side has the crop's size already.
    public static let padding = 4

    /// Returns the crop in the middle, which validation takes.
    ///
    /// The corner is that of torchvision's CenterCrop, also where a side minus the crop is odd.
    public static func central(width: Int, height: Int, size: Int) -> AugmentationParameters {
        AugmentationParameters(x: centralOffset(width, size), y: centralOffset(height, size))
    }

    /// Returns where a crop in the middle of a side begins.
    ///
    /// Half a pixel is rounded to the even offset. A crop larger than the side gets the smaller half of the
    /// padding before the first pixel.
    private static func centralOffset(_ side: Int, _ size: Int) -> Int32 {
        let room = side - size
        if room < 0 { return -Int32(-room / 2) }
        let half = room / 2
        return Int32(room % 2 == 1 && half % 2 == 1 ? half + 1 : half)
    }

    /// Whether only the crop and mirroring happen.
    ///
    /// Pixels outside the photograph are then 0 after normalisation; else they are reflected.
    public var isPlain: Bool {
        // Barrel and pincushion may cancel each other.
        lens == 0 && cast == SIMD3() && amounts.keys.allSatisfy { $0 == .barrel || $0 == .pincushion }
    }

    /// Draws what happens to one photograph in one epoch.
    ///
    /// The result depends only on the arguments.
    ///
    /// - Parameters:
    ///   - width, height: of the resized photograph in pixels.
    ///   - size: the side of the square crop.
    ///   - sample: the photograph's position in the training set.
    public static func draw(
        _ augmentation: Augmentation, width: Int, height: Int,
        size: Int, seed: UInt64, epoch: Int, sample: Int
    ) -> AugmentationParameters {
        var draws = Augmentation.Draws(
            random: Philox(
                seed: seed, purpose: .augmentation, step: UInt64(epoch),
                index: UInt32(truncatingIfNeeded: sample)), augmentation: augmentation)
        let padding = min(width, height) <= size ? Self.padding : 0
        func offset(_ side: Int) -> Int32 {
            let room = side + 2 * padding - size
            // Always one draw, so that a change of one setting does not change what others draw.
            let drawn = draws.random.integer(below: max(1, room + 1))
            return room < 0 ? centralOffset(side, size) : Int32(drawn - padding)
        }
        var drawn = central(width: width, height: height, size: size)
        let (x, y) = (offset(width), offset(height))
        if augmentation.cropsAtRandom { (drawn.x, drawn.y) = (x, y) }
        drawn.isLiteral = augmentation.isLiteral

        for kind in Augmentation.Kind.drawOrder {
            if let draw = kind.rule.draw { draw(&drawn, &draws) } else { drawn[kind] = draws.amount(kind) }
        }
        return drawn
    }

    /// The matrix (xx, xy, yx, yy) from the output to the crop before the lens, both relative to the centre.
    ///
    /// It undoes mirroring, rotation and stretches in this order.
    public var outputToCrop: SIMD4<Double> {
        // Exact for the identity and for quarter turns, so that they move pixels and do not blend them.
        let rotation = self[.rotation]
        let quarter = rotation / 90
        let isQuarter = quarter == quarter.rounded()
        let turns = isQuarter ? ((Int(quarter) % 4) + 4) % 4 : 0
        let cosine = isQuarter ? [1.0, 0, -1, 0][turns] : cos(rotation * .pi / 180)
        let sine = isQuarter ? [0.0, 1, 0, -1][turns] : sin(rotation * .pi / 180)
        let direction = mirror ? -1.0 : 1.0
        let (horizontalStretch, verticalStretch) = (1 + self[.horizontalStretch], 1 + self[.verticalStretch])
        return SIMD4(
            direction * cosine / horizontalStretch, sine / horizontalStretch,
            -direction * sine / verticalStretch, cosine / verticalStretch)
    }

    /// One line of text, such as "crop at (12, 3), mirrored, cast (0, 12, −4), rotation −7°".
    public var summary: String {
        let parts = Augmentation.Kind.drawOrder.compactMap { kind in
            if let summary = kind.rule.summary { return summary(self) }
            return self[kind] == 0 ? nil : String(format: "\(kind.rawValue) %.3f", self[kind])
        }
        return (["crop at (\(x), \(y))"] + parts).joined(separator: ", ")
    }
}
