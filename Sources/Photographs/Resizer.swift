import Basics

/// Resizes RGB bytes with antialiasing.
///
/// The filter is separable: a triangle as wide as one output pixel's step in the source, which Pillow calls
/// BILINEAR (bilinear when enlarging, a weighted mean when reducing). Floats are added in a fixed order and
/// rounded once, half to even, so the bytes are the same on every machine. Tables and rows are kept between
/// calls: each thread needs its own instance.
final class Resizer {
    /// Holds the first source position and the weights of each output position.
    ///
    /// All positions have `taps` weights, with zeros behind the last one needed: processors predict a loop of
    /// constant length, while one of two to four turns takes twice as long.
    private struct Axis {
        let from: Int
        let to: Int
        let taps: Int
        let first: [Int]
        let count: [Int]
        let weights: [Float]

        init(from: Int, to: Int) {
            let scale = Double(from) / Double(to)
            let support = max(1, scale)
            var first: [Int] = []
            var count: [Int] = []
            for position in 0..<to {
                let centre = (Double(position) + 0.5) * scale
                let start = max(0, Int((centre - support + 0.5).rounded(.down)))
                first.append(start)
                count.append(min(from, Int((centre + support + 0.5).rounded(.down))) - start)
            }
            let taps = count.max() ?? 1
            var weights = [Float](repeating: 0, count: to * taps)
            for position in 0..<to {
                let centre = (Double(position) + 0.5) * scale
                let heights = (0..<count[position]).map {
                    max(0, 1 - abs(Double(first[position] + $0) + 0.5 - centre) / support)
                }
                let sum = heights.reduce(0, +)
                for (tap, height) in heights.enumerated() {
                    weights[position * taps + tap] = Float(height / sum)
                }
            }
            (self.from, self.to, self.taps) = (from, to, taps)
            (self.first, self.count, self.weights) = (first, count, weights)
        }

        /// Returns the source positions that those in `range` are made of.
        func source(of range: Range<Int>) -> Range<Int> {
            first[range.lowerBound]..<(first[range.upperBound - 1] + count[range.upperBound - 1])
        }
    }

    private var horizontal = Axis(from: 1, to: 1)
    private var vertical = Axis(from: 1, to: 1)
    private var rows = UnsafeMutablePointer<Float>.allocate(capacity: 1)
    private var rowsCapacity = 1

    deinit { rows.deallocate() }

    /// Returns the size with a shorter side of `shortSide` in about the same proportion.
    ///
    /// The longer side is rounded down, as torchvision's Resize does.
    static func size(width: Int, height: Int, shortSide: Int) -> (width: Int, height: Int) {
        let long = max(width, height) * shortSide / min(width, height)
        return width <= height ? (shortSide, long) : (long, shortSide)
    }

    /// Returns the pixels of the source that `resize` reads for `box`.
    func source(of box: PixelBox, width: Int, height: Int, newWidth: Int, newHeight: Int) -> PixelBox {
        if width == newWidth && height == newHeight { return box }
        prepare(width: width, height: height, newWidth: newWidth, newHeight: newHeight)
        return PixelBox(columns: horizontal.source(of: box.columns), rows: vertical.source(of: box.rows))
    }

    private func prepare(width: Int, height: Int, newWidth: Int, newHeight: Int) {
        if (horizontal.from, horizontal.to) != (width, newWidth) {
            horizontal = Axis(from: width, to: newWidth)
        }
        if (vertical.from, vertical.to) != (height, newHeight) {
            vertical = Axis(from: height, to: newHeight)
        }
    }

    /// Returns the bytes of memory that `resize` takes, which is much for a large and very wide picture.
    static func memory(width: Int, height: Int, newWidth: Int, newHeight: Int) -> Int {
        if width == newWidth && height == newHeight { return 0 }
        let taps = (2 * height).ceilDivided(by: newHeight) + 2
        let columnTaps = (2 * width).ceilDivided(by: newWidth) + 2
        return 4 * ((taps + 1) * (3 * (width + columnTaps) + 16) + taps * newHeight + columnTaps * newWidth)
    }

    /// Writes the pixels in `box`, or all, of the picture of `newWidth` × `newHeight`.
    func resize(
        _ source: UnsafePointer<UInt8>, width: Int, height: Int, into target: UnsafeMutablePointer<UInt8>,
        newWidth: Int, newHeight: Int, box: PixelBox? = nil
    ) {
        resize(
            { source + 3 * width * $0 }, width: width, height: height, into: target,
            newWidth: newWidth, newHeight: newHeight, box: box)
    }

    /// Does the same with rows of the source that are asked for in ascending order, each once.
    func resize(
        _ source: (_ row: Int) throws -> UnsafePointer<UInt8>, width: Int, height: Int,
        into target: UnsafeMutablePointer<UInt8>, newWidth: Int, newHeight: Int, box: PixelBox? = nil
    ) rethrows {
        let box = box ?? PixelBox(width: newWidth, height: newHeight)
        if width == newWidth && height == newHeight {
            for y in box.rows {
                let column = 3 * box.columns.lowerBound
                let bytes = try source(y) + column
                (target + 3 * y * width + column).update(from: bytes, count: 3 * box.columns.count)
            }
            return
        }
        prepare(width: width, height: height, newWidth: newWidth, newHeight: newHeight)
        let columns = horizontal.source(of: box.columns)

        // A ring of source rows as floats, each converted once, and behind it their weighted sum. Rows are
        // padded with zeros: the last pixels' taps read past the end, and a pixel's vector of four one float
        // further.
        let stride = (3 * (width + horizontal.taps) + 1).roundedUp(to: 16)
        let ring = vertical.taps
        let needed = (ring + 1) * stride
        if needed > rowsCapacity {
            rows.deallocate()
            rows = .allocate(capacity: needed)
            rowsCapacity = needed
        }
        rows.update(repeating: 0, count: needed)
        let sums = rows + ring * stride
        var converted = vertical.first[box.rows.lowerBound]
        try vertical.weights.withUnsafeBufferPointer { verticalWeights in
            try horizontal.weights.withUnsafeBufferPointer { horizontalWeights in
                for y in box.rows {
                    let start = vertical.first[y]
                    let count = vertical.count[y]
                    while converted < start + count {
                        let bytes = try source(converted) + 3 * columns.lowerBound
                        let row = rows + converted % ring * stride + 3 * columns.lowerBound
                        for index in 0..<3 * columns.count { row[index] = Float(bytes[index]) }
                        converted += 1
                    }
                    sum(
                        verticalWeights, at: y * ring, start: start, count: count, stride: stride,
                        columns: columns, into: sums)
                    shrink(sums, horizontalWeights, columns: box.columns, into: target + y * 3 * newWidth)
                }
            }
        }
    }

    private func sum(
        _ weights: UnsafeBufferPointer<Float>, at offset: Int, start: Int, count: Int, stride: Int,
        columns: Range<Int>, into sums: UnsafeMutablePointer<Float>
    ) {
        let ring = vertical.taps
        let target = UnsafeMutableRawPointer(sums)
        withUnsafeTemporaryAllocation(of: UnsafeRawPointer.self, capacity: ring) { sources in
            for tap in 0..<count { sources[tap] = UnsafeRawPointer(rows + (start + tap) % ring * stride) }
            for at in Swift.stride(
                from: columns.lowerBound * 12 / 64 * 64, to: columns.upperBound * 12, by: 64)
            {
                var total = SIMD16<Float>()
                for tap in 0..<count {
                    total +=
                        sources[tap].loadUnaligned(fromByteOffset: at, as: SIMD16<Float>.self)
                        * weights[offset + tap]
                }
                target.storeBytes(of: total, toByteOffset: at, as: SIMD16<Float>.self)
            }
        }
    }

    private func shrink(
        _ row: UnsafePointer<Float>, _ weights: UnsafeBufferPointer<Float>, columns: Range<Int>,
        into target: UnsafeMutablePointer<UInt8>
    ) {
        let base = UnsafeRawPointer(row)
        let taps = horizontal.taps
        horizontal.first.withUnsafeBufferPointer { first in
            for x in columns {
                let at = first[x] * 12
                var total = SIMD4<Float>()
                for tap in 0..<taps {
                    total +=
                        base.loadUnaligned(fromByteOffset: at + tap * 12, as: SIMD4<Float>.self)
                        * weights[x * taps + tap]
                }
                // Adding 2^23 rounds to a whole number in the lowest bits of the float.
                let whole = unsafeBitCast(total + 8_388_608, to: SIMD4<UInt32>.self)
                target[3 * x] = UInt8(truncatingIfNeeded: whole.x)
                target[3 * x + 1] = UInt8(truncatingIfNeeded: whole.y)
                target[3 * x + 2] = UInt8(truncatingIfNeeded: whole.z)
            }
        }
    }
}
