/// SplitMix64, written here so that the oracle's tests, like the oracle, rest on nothing else of the project.
struct TestNumbers: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func array(_ count: Int, in range: ClosedRange<Double> = -1...1) -> [Double] {
        var values: [Double] = []
        for _ in 0..<count { values.append(Double.random(in: range, using: &self)) }
        return values
    }
}

func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }

/// The largest difference of two arrays, infinite where their lengths differ.
func distance(_ a: [Double], _ b: [Double]) -> Double {
    a.count == b.count ? zip(a, b).map { abs($0 - $1) }.max() ?? 0 : .infinity
}
