import Foundation

extension Philox {
    /// Returns a uniform number in (0, 1), the middle of one of 2^32 intervals.
    private mutating func openUniform() -> Double { (Double(nextWord()) + 0.5) * 0x1p-32 }

    /// Returns the logarithm of a number drawn from the gamma distribution of this shape and scale 1.
    ///
    /// Source: Marsaglia and Tsang, "A simple method for generating gamma variables", 2000. A shape below 1
    /// is one more, times a power of a uniform number.
    ///
    /// - Parameter shape: above 0
    public mutating func logGamma(_ shape: Double) -> Double {
        guard shape >= 1 else { return log(openUniform()) / shape + logGamma(shape + 1) }
        let d = shape - 1.0 / 3
        let c = 1 / (9 * d).squareRoot()
        while true {
            let x = Double(normalPair().0)
            let v = (1 + c * x) * (1 + c * x) * (1 + c * x)
            let u = openUniform()
            if v > 0, log(u) < x * x / 2 + d - d * v + d * log(v) { return log(d * v) }
        }
    }
}
