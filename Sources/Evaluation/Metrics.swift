import Foundation

/// An interval in which a share lies with 95 % confidence.
public struct Interval: Sendable, Equatable {
    public let low: Double
    public let high: Double

    /// Wilson's score interval for `successes` of `count`, which also holds near 0 and 1.
    public init(successes: Int, of count: Int) {
        guard count > 0 else {
            (low, high) = (0, 1)
            return
        }
        let z = 1.959963984540054
        let n = Double(count)
        let share = Double(successes) / n
        let centre = (share + z * z / (2 * n)) / (1 + z * z / n)
        let half = z * (share * (1 - share) / n + z * z / (4 * n * n)).squareRoot() / (1 + z * z / n)
        (low, high) = (max(0, centre - half), min(1, centre + half))
    }
}

/// How much more often one answer is right than another on the same photographs, as a share of them.
public struct PairedDifference: Sendable, Equatable {
    public let difference: Double
    /// Half of the interval that holds the true one with 95 % confidence.
    public let halfWidth: Double

    /// From the photographs on which the two differ (McNemar 1947; Wald's interval for paired shares). Those
    /// on which both are right or both wrong say nothing, which is why this is narrower than two intervals
    /// side by side.
    public init(from: [Bool], to: [Bool]) {
        let count = Double(max(1, from.count))
        let won = Double(zip(from, to).count { !$0 && $1 })
        let lost = Double(zip(from, to).count { $0 && !$1 })
        difference = (won - lost) / count
        halfWidth =
            1.959963984540054 * max(0, won + lost - (won - lost) * (won - lost) / count).squareRoot() / count
    }
}

/// How often photographs of each class were given each answer; only pairs that came up take memory.
public struct Confusion: Sendable, Equatable {
    /// True class, answer, and how often.
    public typealias Entry = (label: Int, answer: Int, count: Int)

    public let classes: Int
    private var counts: [Int: Int] = [:]

    public init(classes: Int) { self.classes = classes }

    public subscript(label: Int, answer: Int) -> Int { counts[label * classes + answer] ?? 0 }

    mutating func count(label: Int, answer: Int) { counts[label * classes + answer, default: 0] += 1 }

    /// In the order of the labels, then of the answers.
    public var entries: [Entry] {
        counts.sorted { $0.key < $1.key }.map { ($0.key / classes, $0.key % classes, $0.value) }
    }

    /// Wrong answers, the most frequent first.
    public var mistakes: [Entry] {
        entries.filter { $0.label != $0.answer }.sorted {
            ($1.count, $0.label, $0.answer) < ($0.count, $1.label, $1.answer)
        }
    }
}

/// How posteriors agree with the labels of some photographs.
public struct Metrics: Sendable, Equatable {
    /// One class, or one of the intervals of confidence.
    public struct Share: Sendable, Equatable {
        public var images = 0
        public var top1 = 0
        public var top5 = 0
        /// Sums over the images.
        public var lossSum = 0.0
        public var confidenceSum = 0.0

        public var accuracy: Double { Double(top1) / Double(max(1, images)) }
        /// Mean of −log p of the label, in nats.
        public var loss: Double { lossSum / Double(max(1, images)) }
        public var confidence: Double { confidenceSum / Double(max(1, images)) }
    }

    /// What came of one photograph.
    public struct Verdict: Sendable, Equatable {
        /// The label's place in the answer, 0 for the first. Of equal posteriors the class listed first comes
        /// first; a label whose posterior is 0 or not a number is behind them all.
        public let rank: Int
        /// −log p of the label, in nats; a p of 0 counts as the smallest normal float.
        public let loss: Double
        /// The class of the largest posterior, and that posterior.
        public let answer: Int
        public let confidence: Double

        public var isRight: Bool { rank == 0 }
    }

    /// Sums over all photographs.
    public private(set) var total = Share()
    public private(set) var byClass: [Share]
    public private(set) var confusion: Confusion
    /// Photographs by the confidence of their answer, in fifteen intervals of equal width.
    public private(set) var calibration: [Share]

    public var images: Int { total.images }
    public var top1: Double { total.accuracy }
    public var top5: Double { Double(total.top5) / Double(max(1, images)) }
    public var loss: Double { total.loss }
    public var top1Interval: Interval { Interval(successes: total.top1, of: images) }
    public var top5Interval: Interval { Interval(successes: total.top5, of: images) }

    /// Expected calibration error: the mean distance between confidence and accuracy over the intervals, each
    /// by its images (Guo et al. 2017).
    public var calibrationError: Double {
        calibration.reduce(0) { $0 + abs($1.confidenceSum - Double($1.top1)) } / Double(max(1, images))
    }

    public static let calibrationIntervals = 15

    public init(classes: Int) {
        byClass = Array(repeating: Share(), count: classes)
        calibration = Array(repeating: Share(), count: Metrics.calibrationIntervals)
        confusion = Confusion(classes: classes)
    }

    /// Counts one photograph more.
    ///
    /// - Parameters:
    ///   - posteriors: one for each class.
    ///   - label: index of the true class.
    @discardableResult public mutating func count(_ posteriors: UnsafeBufferPointer<Float>, label: Int)
        -> Verdict
    {
        let verdict = Metrics.verdict(posteriors, label: label)
        // The interval is open below, as usual, so that a confidence of 1 lies in the last.
        let scaled = (verdict.confidence * Double(Metrics.calibrationIntervals)).rounded(.up) - 1
        let interval = scaled.isNaN ? 0 : Int(min(max(scaled, 0), Double(Metrics.calibrationIntervals - 1)))
        func count(_ share: inout Share) {
            share.images += 1
            share.top1 += verdict.rank < 1 ? 1 : 0
            share.top5 += verdict.rank < 5 ? 1 : 0
            share.lossSum += verdict.loss
            share.confidenceSum += verdict.confidence
        }
        count(&total)
        count(&byClass[label])
        count(&calibration[interval])
        confusion.count(label: label, answer: verdict.answer)
        return verdict
    }

    /// What posteriors, one for each class, say of a photograph of class `label`.
    public static func verdict(_ posteriors: UnsafeBufferPointer<Float>, label: Int) -> Verdict {
        let own = posteriors[label]
        var rank = 0
        for value in posteriors[..<label] { rank += value >= own ? 1 : 0 }
        for value in posteriors[label...] { rank += value > own ? 1 : 0 }
        // What is not a number is no answer, unless nothing is one.
        var best = posteriors.firstIndex { !$0.isNaN } ?? 0
        for index in best..<posteriors.count where posteriors[index] > posteriors[best] { best = index }
        return Verdict(
            rank: own > 0 ? rank : .max,
            loss: own.isNaN ? .nan : -log(Double(max(own, Float.leastNormalMagnitude))), answer: best,
            confidence: Double(posteriors[best]))
    }

    /// The classes in the order of an image's posteriors; equal ones in the order of the classes.
    public static func order(_ posteriors: [Float]) -> [Int] {
        posteriors.indices.sorted { (posteriors[$1], $0) < (posteriors[$0], $1) }
    }
}
