import Collectives

/// When the sums of all ranks' gradients are waited for.
public enum ExchangePolicy: String, Sendable, CaseIterable {
    /// Before a layer's weights are read again, in the next step ("lazy update", section 3.1 of the paper).
    case lazy
    /// At the end of each step.
    case synchronous
}

/// Which layers a new run does not train.
public enum Freezing: String, CaseIterable, Sendable {
    case none
    /// The convolutions.
    case features
}

/// How bytes get from rank to rank: `auto` is shared memory in a node and one-sided windows between nodes.
public enum TransportChoice: String, Sendable, CaseIterable {
    case auto, onesided, shared, sendrecv

    package var kind: TransportKind? { TransportKind(rawValue: rawValue) }
}

/// How many photographs may be unusable before a run stops: a share of all (`1%`) or a number (`20`).
public struct BadFileLimit: RawRepresentable, Sendable, Equatable {
    public let rawValue: String

    public init?(rawValue: String) {
        self.rawValue = rawValue
        guard BadFileLimit.parse(rawValue) != nil else { return nil }
    }

    public static let onePercent = BadFileLimit(checked: "1%")

    private init(checked text: String) { rawValue = text }

    /// The largest number of bad files among `count` that is let pass.
    package func allowed(of count: Int) -> Int {
        guard let (value, isShare) = BadFileLimit.parse(rawValue) else { return 0 }
        return isShare ? Int(value / 100 * Double(count)) : Int(value)
    }

    private static func parse(_ text: String) -> (value: Double, isShare: Bool)? {
        let isShare = text.hasSuffix("%")
        guard let value = Double(isShare ? text.dropLast() : text[...]), value >= 0,
            value <= (isShare ? 100 : 1e9), isShare || value == value.rounded()
        else { return nil }
        return (value, isShare)
    }
}
