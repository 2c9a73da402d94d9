import Compute
import NeuralNet

/// How much device memory the cache of decoded photographs may take: `auto`, `off`, or bytes with K, M or G (powers of 1000) behind.
public enum CacheSize: Sendable, Equatable {
    case auto, off
    case bytes(Int)

    /// Bytes, on a device that holds the network already.
    func capacity(on device: Device) -> Int {
        switch self {
        case .auto: ImageCache.automaticCapacity(of: device)
        case .off: 0
        case .bytes(let count): count
        }
    }
}

extension CacheSize: RawRepresentable {
    public init?(rawValue: String) {
        switch rawValue {
        case "auto": self = .auto
        case "off": self = .off
        default:
            let units: [Character: Int] = ["K": 1000, "M": 1_000_000, "G": 1_000_000_000]
            let unit = rawValue.last.flatMap { units[$0] }
            guard let number = Int(unit == nil ? rawValue : String(rawValue.dropLast())), number >= 0 else { return nil }
            let (bytes, overflow) = number.multipliedReportingOverflow(by: unit ?? 1)
            if overflow { return nil }
            self = .bytes(bytes)
        }
    }

    public var rawValue: String {
        switch self {
        case .auto: "auto"
        case .off: "off"
        case .bytes(let count):
            [(1_000_000_000, "G"), (1_000_000, "M"), (1000, "K")].first { count > 0 && count % $0.0 == 0 }.map { "\(count / $0.0)\($0.1)" }
                ?? String(count)
        }
    }
}
