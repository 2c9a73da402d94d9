import Basics
import Foundation

/// Describes one number that reports show of `Metrics`.
///
/// Tables, JSON, CSV, the comparison page and validation during training all iterate over `Metric.all`.
public struct Metric: Sendable {
    /// How a metric is computed.
    public enum Measure: Sendable {
        /// A share of the photographs: this many of them. Reports add its 95 % interval.
        case share(@Sendable (Metrics.Tally) -> Int)
        /// A mean over photographs.
        case mean(@Sendable (Metrics.Tally) -> Double)
        /// A number of all photographs together, which single classes don't have.
        case overall(@Sendable (Metrics) -> Double)
    }

    /// The name in JSON and CSV.
    public let key: String
    /// The name in text.
    public let name: String
    public let measure: Measure
    /// Whether text shows it in percent.
    public var isPercent = false
    /// The number of classes below which text leaves it out.
    public var minimumClasses = 0
    /// Whether validation during training and the one-line summary report it.
    public var isSummary = true

    public static let top1 = Metric(key: "top1", name: "top-1", measure: .share(\.top1), isPercent: true)
    public static let top5 = Metric(
        key: "top5", name: "top-5", measure: .share(\.top5), isPercent: true, minimumClasses: 6)
    public static let loss = Metric(key: "loss", name: "loss", measure: .mean(\.loss))
    public static let calibrationError = Metric(
        key: "calibration_error", name: "calibration error", measure: .overall(\.calibrationError),
        isPercent: true, isSummary: false)

    /// All metrics, in the order of table columns.
    public static let all = [top1, top5, loss, calibrationError]

    /// Returns the metrics that text shows for a number of classes.
    public static func shown(classes: Int) -> [Metric] { all.filter { classes >= $0.minimumClasses } }

    /// Whether it is a share of the photographs, which has an interval.
    public var isShare: Bool { if case .share = measure { true } else { false } }
    /// Whether single classes have it too.
    public var isOfClasses: Bool { if case .overall = measure { false } else { true } }

    public func value(_ metrics: Metrics) -> Double {
        switch measure {
        case .share(let count): Double(count(metrics.total)) / Double(max(1, metrics.images))
        case .mean(let mean): mean(metrics.total)
        case .overall(let value): value(metrics)
        }
    }

    /// Returns the 95 % interval of a share; nil for other metrics.
    public func interval(_ metrics: Metrics) -> Interval? {
        guard case .share(let count) = measure else { return nil }
        return Interval(successes: count(metrics.total), of: metrics.images)
    }

    /// Returns a tally's count or mean: null for no photographs, nil if single classes don't have it.
    public func json(of tally: Metrics.Tally) -> JSON? {
        switch measure {
        case .share(let count): .integer(count(tally))
        case .mean(let mean): tally.images > 0 ? .number(mean(tally)) : .null
        case .overall: nil
        }
    }

    // MARK: - Text

    /// The name with its unit: "top-1 in %".
    public var title: String { isPercent ? "\(name) in %" : name }

    /// Returns a value in the unit of the title: "91.3", "0.3121".
    public func number(_ value: Double) -> String {
        isPercent ? String(format: "%.1f", 100 * value) : String(format: "%.4f", value)
    }

    /// Returns the value with its interval, if it has one: "91.3 (90.1–92.4)".
    public func cell(_ metrics: Metrics) -> String {
        let range = interval(metrics).map { " (\(number($0.low))–\(number($0.high)))" } ?? ""
        return number(value(metrics)) + range
    }

    /// Returns a tally's value; nil if single classes don't have it.
    public func cell(_ tally: Metrics.Tally) -> String? {
        switch measure {
        case .share(let count): number(Double(count(tally)) / Double(max(1, tally.images)))
        case .mean(let mean): number(mean(tally))
        case .overall: nil
        }
    }
}

extension Metrics {
    /// Returns one line: "top-1 91.3 % (95 %: 90.1–92.4), loss 0.3121".
    public func summary(showsIntervals: Bool = false) -> String {
        Metric.shown(classes: classes).filter(\.isSummary).map { metric in
            let interval = showsIntervals ? metric.interval(self) : nil
            return "\(metric.name) \(metric.number(metric.value(self)))" + (metric.isPercent ? " %" : "")
                + (interval.map { " (95 %: \(metric.number($0.low))–\(metric.number($0.high)))" } ?? "")
        }.joined(separator: ", ")
    }

    /// The metrics of the summary, means before shares: what training logs of a validation.
    public var summaryJSON: JSON {
        let summary = Metric.all.filter(\.isSummary)
        return values(summary.filter { !$0.isShare } + summary.filter(\.isShare))
    }

    /// All metrics, the number of images and the intervals.
    public var json: JSON {
        let intervals = Metric.all.compactMap { metric in
            metric.interval(self).map { JSON.Member(metric.key + "_interval", [$0.low, $0.high]) }
        }
        return values(Metric.all.filter(\.isSummary)) + ["images": images] + .object(intervals)
            + values(Metric.all.filter { !$0.isSummary })
    }

    private func values(_ metrics: [Metric]) -> JSON {
        .object(metrics.map { JSON.Member($0.key, .number($0.value(self))) })
    }
}
