import Photographs

extension CropRecord {
    /// The pixels that the kernel reads for a crop of `size`: the bounding box of all taps, those that
    /// reflection leads to included.
    public func pixelsRead(size: Int) -> PixelBox {
        guard effects != 0 else {
            return PixelBox(
                columns: Self.read(Int(x), Int(x) + size - 1, in: 0..<Int(width)),
                rows: Self.read(Int(y), Int(y) + size - 1, in: 0..<Int(height)))
        }
        // The mapping folds nothing over, so what the rim of the crop encloses is what the crop reads.
        let middle = Double(size - 1) / 2
        var (least, most) = (SIMD2(repeating: Double.infinity), SIMD2(repeating: -Double.infinity))
        for step in 0..<size {
            let along = Double(step) - middle
            for (u, v) in [(along, -middle), (along, middle), (-middle, along), (middle, along)] {
                let q = SIMD2(Double(xx) * u + Double(xy) * v, Double(yx) * u + Double(yy) * v)
                let place = q * (1 + Double(lens) * (q * q).sum())
                least = pointwiseMin(least, place)
                most = pointwiseMax(most, place)
            }
        }
        // A pixel more on each side: the rim is curved between the places looked at, and the kernel computes
        // in single precision.
        func taps(_ corner: Int32, _ axis: Int, _ window: Range<Int>) -> Range<Int> {
            let centre = Double(corner) + middle
            return Self.read(
                Int((centre + least[axis]).rounded(.down)) - 1,
                Int((centre + most[axis]).rounded(.down)) + 2, in: window)
        }
        return PixelBox(columns: taps(x, 0, Int(left)..<Int(right)), rows: taps(y, 1, Int(top)..<Int(bottom)))
    }

    /// The places within `window` that reading `first ... last` leads to, where what lies outside is
    /// reflected or takes the edge's place.
    private static func read(_ first: Int, _ last: Int, in window: Range<Int>) -> Range<Int> {
        var (low, high) = (first, last)
        if first < window.lowerBound { high = max(high, 2 * window.lowerBound - 1 - first) }
        if last >= window.upperBound { low = min(low, 2 * window.upperBound - 1 - last) }
        low = min(max(low, window.lowerBound), window.upperBound - 1)
        high = min(max(high, low), window.upperBound - 1)
        return low..<high + 1
    }
}
