import Foundation

extension Oracle {
    /// Describes the augmentation of one image in the numbers of docs/augmentation.md.
    public struct ImageChange: Sendable {
        /// The crop's top left corner in the image.
        public var left = 0, top = 0
        public var mirror = false
        public var cast = [0.0, 0, 0]
        public var vignetteStart = 0.0
        /// Whether only pixels of the crop are read.
        public var isLiteral = false
        /// How much of each other kind is applied, by its name in the text form of an augmentation.
        public var amounts: [String: Double] = [:]

        public init() {}

        /// Barrel distortion above 0, pincushion below.
        var lens: Double { self["barrel"] - self["pincushion"] }

        subscript(kind: String) -> Double { amounts[kind] ?? 0 }
    }

    /// Crops, warps, colours and normalises an RGB image of bytes, [height][width][3].
    ///
    /// Coordinates are in half sides of the crop from its centre.
    ///
    /// - Returns: [size][size][3].
    public static func augment(
        _ image: [UInt8], height: Int, width: Int, size: Int,
        _ change: ImageChange, mean: [Double], deviation: [Double]
    ) -> [Double] {
        precondition(image.count == height * width * 3 && mean.count == 3 && deviation.count == 3)
        let columns = change.isLiteral ? max(0, change.left)..<min(width, change.left + size) : 0..<width
        let rows = change.isLiteral ? max(0, change.top)..<min(height, change.top + size) : 0..<height
        let half = Double(size) / 2
        // Degrees, clockwise.
        let angle = change["rotation"] * .pi / 180
        let stretch = (x: 1 + change["horizontal-stretch"], y: 1 + change["vertical-stretch"])
        let (lens, vignette) = (change.lens, change["vignette"])
        var output = [Double](repeating: 0, count: size * size * 3)
        for row in 0..<size {
            for column in 0..<size {
                let outputX = (Double(column) + 0.5 - half) / half
                let outputY = (Double(row) + 0.5 - half) / half
                var (x, y) = (change.mirror ? -outputX : outputX, outputY)
                (x, y) = (cos(angle) * x + sin(angle) * y, cos(angle) * y - sin(angle) * x)
                (x, y) = (x / stretch.x, y / stretch.y)
                let bend = 1 + lens * (x * x + y * y)
                let sourceX = Double(change.left) + half + half * bend * x - 0.5
                let sourceY = Double(change.top) + half + half * bend * y - 0.5
                let distance = ((outputX * outputX + outputY * outputY) / 2).squareRoot()
                let t = min(max((distance - change.vignetteStart) / (1 - change.vignetteStart), 0), 1)
                let light = 1 - vignette * (3 * t * t - 2 * t * t * t)
                for c in 0..<3 {
                    var value = bilinear(
                        image, width: width, columns: columns, rows: rows, x: sourceX, y: sourceY, channel: c)
                    value = min(max(value + change.cast[c], 0), 255) * light
                    output[(row * size + column) * 3 + c] = (value / 255 - mean[c]) / deviation[c]
                }
            }
        }
        return output
    }

    /// Returns the weighted mean of the four pixels around a point.
    ///
    /// Pixels outside `columns` × `rows` are reflected once at the edge; beyond that the edge is repeated.
    private static func bilinear(
        _ image: [UInt8], width: Int, columns: Range<Int>,
        rows: Range<Int>, x: Double, y: Double, channel: Int
    ) -> Double {
        func reflected(_ index: Int, _ range: Range<Int>) -> Int {
            var index = index
            if index < range.lowerBound { index = range.lowerBound + (range.lowerBound - 1 - index) }
            if index >= range.upperBound { index = range.upperBound - 1 - (index - range.upperBound) }
            return min(max(index, range.lowerBound), range.upperBound - 1)
        }
        var sum = 0.0
        for (row, rowWeight) in [(Int(floor(y)), 1 - (y - floor(y))), (Int(floor(y)) + 1, y - floor(y))] {
            for (column, columnWeight) in [
                (Int(floor(x)), 1 - (x - floor(x))), (Int(floor(x)) + 1, x - floor(x)),
            ] {
                let at = reflected(row, rows) * width + reflected(column, columns)
                sum += rowWeight * columnWeight * Double(image[3 * at + channel])
            }
        }
        return sum
    }
}
