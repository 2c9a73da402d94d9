import Foundation

/// Measures how answers agree with the labels of some photographs.
public struct Metrics: Sendable, Equatable {
    /// Holds counts and sums over some photographs: all of them, one class, or one interval of confidence.
    public struct Tally: Sendable, Equatable {
        public private(set) var images = 0
        public private(set) var top1 = 0
        public private(set) var top5 = 0
        private var lossSum = 0.0
        fileprivate private(set) var confidenceSum = 0.0

        public var accuracy: Double { Double(top1) / Double(max(1, images)) }
        /// The mean of −log p of the label, in nats.
        public var loss: Double { lossSum / Double(max(1, images)) }
        /// The mean posterior of the answers.
        public var confidence: Double { confidenceSum / Double(max(1, images)) }

        fileprivate mutating func add(_ outcome: Outcome) {
            images += 1
            top1 += outcome.rank < 1 ? 1 : 0
            top5 += outcome.rank < 5 ? 1 : 0
            lossSum += outcome.loss
            confidenceSum += outcome.confidence
        }
    }

    /// Describes a network's answer to one photograph.
    public struct Outcome: BitwiseCopyable, Sendable, Equatable {
        /// Index of the true class.
        public let label: Int
        /// Index of the class with the highest score.
        public let answer: Int
        /// The label's place in the order of the scores, 0 for the first.
        public let rank: Int
        /// −log p of the label, in nats.
        public let loss: Double
        /// The answer's posterior.
        public let confidence: Double

        public var isRight: Bool { rank == 0 }
    }

    /// The tally of all photographs.
    public private(set) var total = Tally()
    public private(set) var byClass: [Tally]
    public private(set) var confusion: Confusion
    /// Photographs by the confidence of their answer, in intervals of equal width.
    public private(set) var calibration: [Tally]

    public static let calibrationIntervals = 15

    public var classes: Int { byClass.count }
    public var images: Int { total.images }
    public var top1: Double { Metric.top1.value(self) }
    public var top5: Double { Metric.top5.value(self) }
    public var loss: Double { total.loss }

    /// The expected calibration error (Guo, Pleiss, Sun and Weinberger, 2017).
    ///
    /// It is the mean distance between confidence and accuracy over the intervals, weighted by their images.
    public var calibrationError: Double {
        calibration.reduce(0) { $0 + abs($1.confidenceSum - Double($1.top1)) } / Double(max(1, images))
    }

    /// Counts some photographs, in the order given.
    public init(_ outcomes: [Outcome] = [], classes: Int) {
        byClass = Array(repeating: Tally(), count: classes)
        calibration = Array(repeating: Tally(), count: Metrics.calibrationIntervals)
        confusion = Confusion(classes: classes)
        for outcome in outcomes { count(outcome) }
    }

    /// Counts one more photograph.
    public mutating func count(_ outcome: Outcome) {
        // An interval excludes its lower end, so a confidence of 1 lies in the last.
        let scaled = (outcome.confidence * Double(Metrics.calibrationIntervals)).rounded(.up) - 1
        let interval = scaled.isNaN ? 0 : Int(min(max(scaled, 0), Double(Metrics.calibrationIntervals - 1)))
        total.add(outcome)
        byClass[outcome.label].add(outcome)
        calibration[interval].add(outcome)
        confusion.count(label: outcome.label, answer: outcome.answer)
    }

    /// Returns the classes in descending order of their posteriors; ties stay in the order of the classes.
    public static func order(_ posteriors: [Float]) -> [Int] {
        posteriors.indices.sorted { (posteriors[$1], $0) < (posteriors[$0], $1) }
    }
}

extension Metrics.Outcome {
    /// Compares posteriors, one for each class, with the label.
    ///
    /// Ties go to the class listed first. A label whose posterior is 0 or not a number ranks behind all
    /// classes; a posterior of 0 counts as the smallest normal float in the loss.
    public init(posteriors: UnsafeBufferPointer<Float>, label: Int) {
        let own = posteriors[label]
        self.label = label
        answer = Self.answer(posteriors)
        rank = own > 0 ? Self.rank(of: label, in: posteriors) : .max
        loss = own.isNaN ? .nan : -log(Double(max(own, Float.leastNormalMagnitude)))
        confidence = Double(posteriors[answer])
    }

    /// Compares class scores, whose softmax is the posteriors, with the label.
    ///
    /// - Parameter loss: the cross-entropy that the device has computed, in nats.
    public init(scores: UnsafeBufferPointer<Float>, label: Int, loss: Float) {
        self.label = label
        let answer = Self.answer(scores)
        self.answer = answer
        rank = Self.rank(of: label, in: scores)
        self.loss = Double(loss)
        confidence = 1 / scores.reduce(0) { $0 + exp(Double($1) - Double(scores[answer])) }
    }

    /// Returns the class with the highest value; NaN comes last, and ties go to the class listed first.
    private static func answer(_ values: UnsafeBufferPointer<Float>) -> Int {
        var best = values.firstIndex { !$0.isNaN } ?? 0
        for index in best..<values.count where values[index] > values[best] { best = index }
        return best
    }

    /// Returns how many classes precede `label` in the order that `answer` uses.
    private static func rank(of label: Int, in values: UnsafeBufferPointer<Float>) -> Int {
        let own = values[label]
        if own.isNaN { return values.count { !$0.isNaN } + values[..<label].count { $0.isNaN } }
        var rank = 0
        for value in values[..<label] { rank += value >= own ? 1 : 0 }
        for value in values[label...] { rank += value > own ? 1 : 0 }
        return rank
    }
}

/// Counts how often photographs of each class were given each answer; only pairs that occur take memory.
public struct Confusion: Sendable, Equatable {
    /// True class, answer, and how often.
    public typealias Entry = (label: Int, answer: Int, count: Int)

    public let classes: Int
    private var counts: [Int: Int] = [:]

    public init(classes: Int) { self.classes = classes }

    public subscript(label: Int, answer: Int) -> Int { counts[label * classes + answer] ?? 0 }

    mutating func count(label: Int, answer: Int) { counts[label * classes + answer, default: 0] += 1 }

    /// The pairs that occur, ordered by label, then by answer.
    public var entries: [Entry] {
        counts.sorted { $0.key < $1.key }.map { ($0.key / classes, $0.key % classes, $0.value) }
    }

    /// The wrong answers, the most frequent first.
    public var mistakes: [Entry] {
        entries.filter { $0.label != $0.answer }.sorted {
            ($1.count, $0.label, $0.answer) < ($0.count, $1.label, $1.answer)
        }
    }
}
