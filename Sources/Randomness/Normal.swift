import Foundation

extension Philox {
    /// Returns two independent standard normal numbers, by Box and Muller in double precision.
    public mutating func normalPair() -> (Float, Float) {
        // 1 − u lies in (0, 1], so the logarithm is finite.
        let radius = (-2 * log(1 - (Double(nextWord()) * 0x1p-32))).squareRoot()
        let angle = 2 * Double.pi * Double(nextWord()) * 0x1p-32
        return (Float(radius * cos(angle)), Float(radius * sin(angle)))
    }
}
