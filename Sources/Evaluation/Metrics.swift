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

/// How posteriors agree with the labels of some photographs.
public struct Metrics: Sendable, Equatable {
    /// One class, or one of the intervals of confidence.
    public struct Share: Sendable, Equatable {
        public var images = 0
        public var top1 = 0
        public var top5 = 0
        /// Sums over the images.
        public var loss = 0.0
        public var confidence = 0.0
    }

    public let images: Int
    /// Photographs whose label is the first, or among the first five, of the answer. Of equal posteriors the class listed first comes first.
    public let top1Count: Int
    public let top5Count: Int
    /// Mean of −log p of the label, in nats; a p of 0 counts as the smallest normal float.
    public let loss: Double
    public let byClass: [Share]
    /// `[true class][class named]` counts.
    public let confusion: [[Int]]
    /// Photographs by the confidence of their answer, in fifteen intervals of equal width.
    public let calibration: [Share]
    /// Loss and rank of the label of each photograph, in order.
    public let losses: [Double]
    public let ranks: [Int]

    public var top1: Double { Double(top1Count) / Double(max(1, images)) }
    public var top5: Double { Double(top5Count) / Double(max(1, images)) }
    public var top1Interval: Interval { Interval(successes: top1Count, of: images) }
    public var top5Interval: Interval { Interval(successes: top5Count, of: images) }

    /// Expected calibration error: the mean distance between confidence and accuracy over the intervals, each by its images (Guo et al. 2017).
    public var calibrationError: Double {
        calibration.reduce(0) { $0 + abs($1.confidence - Double($1.top1)) } / Double(max(1, images))
    }

    public static let calibrationIntervals = 15

    /// - Parameters:
    ///   - posteriors: `[images][classes]`.
    ///   - labels: of each image, indices of classes.
    public init(posteriors: [Float], labels: [Int], classes: Int) {
        var byClass = [Share](repeating: Share(), count: classes)
        var calibration = [Share](repeating: Share(), count: Metrics.calibrationIntervals)
        var confusion = [[Int]](repeating: [Int](repeating: 0, count: classes), count: classes)
        var losses: [Double] = []
        var ranks: [Int] = []
        for (image, label) in labels.enumerated() {
            let row = posteriors[image * classes..<(image + 1) * classes]
            let start = row.startIndex
            let own = row[start + label]
            var rank = 0
            var best = 0
            for index in 0..<classes {
                let value = row[start + index]
                // What is not a number is never right.
                if value > own || (value == own && index < label) || (own.isNaN && index != label) { rank += 1 }
                if value > row[start + best] || (row[start + best].isNaN && !value.isNaN) { best = index }
            }
            let loss = own.isNaN ? Double.nan : -log(Double(max(own, Float.leastNormalMagnitude)))
            let confidence = Double(row[start + best])
            // The interval is open below, as usual, so that a confidence of 1 lies in the last.
            let scaled = (confidence * Double(Metrics.calibrationIntervals)).rounded(.up) - 1
            let interval = scaled.isNaN ? 0 : Int(min(max(scaled, 0), Double(Metrics.calibrationIntervals - 1)))
            func count(_ share: inout Share) {
                share.images += 1
                share.top1 += rank < 1 ? 1 : 0
                share.top5 += rank < 5 ? 1 : 0
                share.loss += loss
                share.confidence += confidence
            }
            count(&byClass[label])
            count(&calibration[interval])
            confusion[label][best] += 1
            losses.append(loss)
            ranks.append(rank)
        }
        images = labels.count
        top1Count = ranks.count { $0 < 1 }
        top5Count = ranks.count { $0 < 5 }
        loss = losses.reduce(0, +) / Double(max(1, losses.count))
        (self.byClass, self.calibration, self.confusion, self.losses, self.ranks) = (byClass, calibration, confusion, losses, ranks)
    }

    /// The classes in the order of an image's posteriors; equal ones in the order of the classes.
    public static func order(_ posteriors: some Collection<Float>) -> [Int] {
        let values = Array(posteriors)
        return values.indices.sorted { (values[$1], $0) < (values[$0], $1) }
    }
}
