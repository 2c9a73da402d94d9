import Photographs

/// Describes to the kernel where a photograph's pixels are and what to do with them.
///
/// The fields have the order and sizes of `crop_record` in augment.cl.
public struct CropRecord: BitwiseCopyable, Sendable, Equatable {
    /// The offset of the first pixel in the buffer that `source` names.
    public var byteOffset: UInt64
    public var width: Int32
    public var height: Int32
    /// The crop's upper left corner, which may be outside the photograph.
    public var x: Int32
    public var y: Int32
    /// 1 to mirror a plain crop left and right; with effects the matrix does it.
    public var mirror: Int32
    /// 0 for the mini-batch's own bytes, n for buffer n − 1 of the cache.
    public var source: Int32 = 0
    /// 0 for a plain crop, which is zero outside the photograph; 1 if the fields below apply.
    public var effects: Int32 = 0
    /// The window that effects may read, which is reflected at its edges: `left ..< right`, `top ..< bottom`.
    public var left: Int32 = 0
    public var top: Int32 = 0
    public var right: Int32 = 0
    public var bottom: Int32 = 0
    /// The matrix from the output to the crop, both relative to the centre: (xx·u + xy·v, yx·u + yy·v).
    public var xx: Float = 1
    public var xy: Float = 0
    public var yx: Float = 0
    public var yy: Float = 1
    /// Each point then moves away from the centre by the factor 1 + lens · (squared distance in pixels).
    public var lens: Float = 0
    /// The part of the way from centre to corner at which the vignette begins.
    public var vignetteStart: Float = 0
    /// The value of 1 / (1 − start).
    public var vignetteSlope: Float = 0
    /// The share of the light that is lost in the corners.
    public var vignetteStrength: Float = 0
    /// Levels of 0…255 added to each colour.
    public var castRed: Float = 0
    public var castGreen: Float = 0
    public var castBlue: Float = 0

    public init(byteOffset: UInt64, width: Int32, height: Int32, x: Int32, y: Int32, mirror: Bool) {
        self.byteOffset = byteOffset
        self.width = width
        self.height = height
        self.x = x
        self.y = y
        self.mirror = mirror ? 1 : 0
    }

    /// Makes the record of a photograph and what is done to it.
    ///
    /// - Parameters:
    ///   - byteOffset: of the photograph in the buffer that `source` names.
    ///   - size: the side of the crop in pixels.
    public init(
        _ parameters: AugmentationParameters, byteOffset: UInt64, width: Int32, height: Int32,
        source: Int32 = 0, size: Int
    ) {
        self.init(
            byteOffset: byteOffset, width: width, height: height, x: parameters.x, y: parameters.y,
            mirror: parameters.mirror)
        self.source = source
        if !parameters.isPlain { apply(parameters, size: size) }
    }

    /// Fills the fields of the effects.
    mutating func apply(_ parameters: AugmentationParameters, size: Int) {
        effects = 1
        (left, top, right, bottom) = (0, 0, width, height)
        if parameters.isLiteral {
            // A crop that is entirely outside keeps the nearest pixel.
            left = min(max(x, 0), width - 1)
            top = min(max(y, 0), height - 1)
            right = max(left + 1, min(width, x + Int32(size)))
            bottom = max(top + 1, min(height, y + Int32(size)))
        }
        let matrix = parameters.outputToCrop
        (xx, xy, yx, yy) = (Float(matrix[0]), Float(matrix[1]), Float(matrix[2]), Float(matrix[3]))
        let half = Double(size) / 2
        lens = Float(parameters.lens / (half * half))
        for kind in Augmentation.Kind.allCases { kind.rule.fill?(&self, parameters) }
    }
}

extension CropRecord {
    /// Returns the bounding box of all pixels that the kernel reads for a crop of `size`.
    public func pixelsRead(size: Int) -> PixelBox {
        guard effects != 0 else {
            return PixelBox(
                columns: Self.read(Int(x), Int(x) + size - 1, in: 0..<Int(width)),
                rows: Self.read(Int(y), Int(y) + size - 1, in: 0..<Int(height)))
        }
        // The mapping does not fold over, so the crop reads what its rim encloses.
        let middle = Double(size - 1) / 2
        var (least, most) = (SIMD2(repeating: Double.infinity), SIMD2(repeating: -Double.infinity))
        for step in 0..<size {
            let along = Double(step) - middle
            for (u, v) in [(along, -middle), (along, middle), (-middle, along), (middle, along)] {
                let q = SIMD2(Double(xx) * u + Double(xy) * v, Double(yx) * u + Double(yy) * v)
                let point = q * (1 + Double(lens) * (q * q).sum())
                least = pointwiseMin(least, point)
                most = pointwiseMax(most, point)
            }
        }
        // One more pixel on each side: the rim is curved between these points, and the kernel computes in
        // single precision.
        func taps(_ corner: Int32, _ axis: Int, _ window: Range<Int>) -> Range<Int> {
            let centre = Double(corner) + middle
            return Self.read(
                Int((centre + least[axis]).rounded(.down)) - 1,
                Int((centre + most[axis]).rounded(.down)) + 2, in: window)
        }
        return PixelBox(columns: taps(x, 0, Int(left)..<Int(right)), rows: taps(y, 1, Int(top)..<Int(bottom)))
    }

    /// Returns the positions within `window` that are read for `first ... last`.
    ///
    /// Positions outside are reflected or moved to the edge.
    private static func read(_ first: Int, _ last: Int, in window: Range<Int>) -> Range<Int> {
        var (low, high) = (first, last)
        if first < window.lowerBound { high = max(high, 2 * window.lowerBound - 1 - first) }
        if last >= window.upperBound { low = min(low, 2 * window.upperBound - 1 - last) }
        low = min(max(low, window.lowerBound), window.upperBound - 1)
        high = min(max(high, low), window.upperBound - 1)
        return low..<high + 1
    }
}
