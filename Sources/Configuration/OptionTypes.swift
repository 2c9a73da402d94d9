import Basics
import Collectives
import NeuralNet

/// How the learning rate changes from step to step after the warm-up.
public enum LearningRateSchedule: String, CaseIterable, Sendable {
    /// The same rate throughout.
    case constant
    /// Divides the rate by ten after each third of the run.
    case step
    /// Divides the rate by ten whenever the validation loss has not improved for two epochs.
    case plateau
    /// Half a cosine down to zero at the last step.
    case cosine
}

/// The learning rate after the warm-up: a number, or `auto` for one that a range test finds.
public enum LearningRateChoice: Sendable, Equatable {
    case auto
    case rate(Double)
}

extension LearningRateChoice: RawRepresentable {
    public init?(rawValue: String) {
        if rawValue == "auto" {
            self = .auto
        } else if let rate = Double(optionText: rawValue), rate > 0 {
            self = .rate(rate)
        } else {
            return nil
        }
    }

    public var rawValue: String {
        switch self {
        case .auto: "auto"
        case .rate(let rate): rate.description
        }
    }
}

/// When a step waits for the sums of all ranks' gradients.
public enum ExchangePolicy: String, Sendable, CaseIterable {
    /// Before the next step reads a layer's weights ("lazy update", section 3.1 of the paper).
    case lazy
    /// At the end of each step.
    case synchronous
}

/// How ranks divide the work of a step.
public enum Parallelism: String, Sendable, CaseIterable {
    /// Each rank holds the whole network and runs a part of the mini-batch.
    case data
    /// The same for convolutions and the last layer; the hidden fully connected layers are split by outputs
    /// (section 3.2 of the paper).
    case hybrid
    /// Hybrid if data parallelism does not fit the device, or if hybrid is expected to be faster.
    case auto
}

/// Which layers a new run does not train.
public enum Freezing: String, CaseIterable, Sendable {
    case none
    /// The convolutions.
    case features
}

/// A set of defaults that a configuration and flags override.
public enum Recipe: String, CaseIterable, Sendable {
    /// The defaults of `TrainingOptions`.
    case standard = "default"
    /// Stochastic gradient descent with the values of VGG, which the paper builds on; docs/training.md has
    /// the sources.
    case paper

    /// The options that the recipe sets, with their values; the learning rate follows from the batch.
    var settings: [(option: String, value: String)] {
        switch self {
        case .standard: []
        case .paper:
            [
                ("optimizer", UpdateRule.Method.sgd.rawValue),
                ("schedule", LearningRateSchedule.step.rawValue), ("warmup-epochs", "1"),
                ("momentum", "0.9"), ("weight-decay", "0.0005"), ("dropout", "0.5"),
            ]
        }
    }
}

/// What each class's photographs count in the loss.
public enum ClassWeighting: String, CaseIterable, Sendable {
    /// All photographs count the same.
    case none
    /// All classes count the same: a photograph counts the more the fewer its class has.
    case balanced
}

/// How gradients get from rank to rank: `auto` is shared memory in a node, one-sided windows between nodes.
public enum TransportChoice: String, Sendable, CaseIterable {
    case auto, onesided, shared, sendrecv

    /// The transport to use everywhere; nil for `auto`.
    package var kind: TransportKind? { TransportKind(rawValue: rawValue) }
}

/// How many photographs may be unreadable before a run stops: a share of all (`1%`) or a number (`20`).
public struct BadFileLimit: Sendable, Equatable {
    public let rawValue: String
    private let value: Double
    private let isShare: Bool

    public static let onePercent = BadFileLimit(rawValue: "1%", value: 1, isShare: true)

    /// Returns the largest number of bad files among `count` that is accepted.
    package func allowed(of count: Int) -> Int { isShare ? Int(value / 100 * Double(count)) : Int(value) }
}

extension BadFileLimit: RawRepresentable {
    public init?(rawValue: String) {
        let isShare = rawValue.hasSuffix("%")
        guard let value = Double(isShare ? rawValue.dropLast() : rawValue[...]), value >= 0,
            value <= (isShare ? 100 : 1e9), isShare || value == value.rounded()
        else { return nil }
        self.init(rawValue: rawValue, value: value, isShare: isShare)
    }
}

/// A time in days, hours, minutes and seconds, such as `3h50m`.
public struct TimeLimit: Sendable, Equatable, RawRepresentable {
    public let rawValue: String
    public let seconds: Double

    public init?(rawValue: String) {
        guard
            let match = rawValue.wholeMatch(
                of: #/(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s)?/#)
        else { return nil }
        let parts = [(match.1, 86_400.0), (match.2, 3600), (match.3, 60), (match.4, 1)]
        seconds = parts.reduce(0) { $0 + ($1.0.flatMap { Double($0) } ?? 0) * $1.1 }
        guard seconds > 0 else { return nil }
        self.rawValue = rawValue
    }
}

/// How much device memory the cache of decoded photographs may take: `auto`, `off`, or an amount.
public enum CacheSize: Sendable, Equatable {
    case auto, off
    case amount(MemorySize)
}

extension CacheSize: RawRepresentable {
    public init?(rawValue: String) {
        switch rawValue {
        case "auto": self = .auto
        case "off": self = .off
        default:
            guard let size = MemorySize(parsing: rawValue) else { return nil }
            self = .amount(size)
        }
    }

    public var rawValue: String {
        switch self {
        case .auto: "auto"
        case .off: "off"
        case .amount(let size): size.text
        }
    }
}
