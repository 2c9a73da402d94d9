/// The number of standard deviations around the mean that hold 95 % of a normal distribution.
private let z = 1.959963984540054

/// Bounds a share with 95 % confidence.
public struct Interval: Sendable, Equatable {
    public let low: Double
    public let high: Double

    /// Computes Wilson's score interval for `successes` of `count`, which also holds near 0 and 1.
    public init(successes: Int, of count: Int) {
        guard count > 0 else {
            (low, high) = (0, 1)
            return
        }
        let n = Double(count)
        let share = Double(successes) / n
        let centre = (share + z * z / (2 * n)) / (1 + z * z / n)
        let half = z * (share * (1 - share) / n + z * z / (4 * n * n)).squareRoot() / (1 + z * z / n)
        (low, high) = (max(0, centre - half), min(1, centre + half))
    }
}

/// Measures how much more often one answer is right than another on the same photographs.
public struct PairedDifference: Sendable, Equatable {
    /// The difference as a share of the photographs.
    public let difference: Double
    /// Half the width of the 95 % confidence interval.
    public let halfWidth: Double

    /// Compares two answers photograph by photograph (McNemar 1947; Wald's interval for paired shares).
    ///
    /// Photographs on which both are right or both are wrong don't widen the interval, so it is narrower than
    /// two intervals side by side.
    public init(from: [Bool], to: [Bool]) {
        let count = Double(max(1, from.count))
        let won = Double(zip(from, to).count { !$0 && $1 })
        let lost = Double(zip(from, to).count { $0 && !$1 })
        difference = (won - lost) / count
        halfWidth = z * max(0, won + lost - (won - lost) * (won - lost) / count).squareRoot() / count
    }
}
