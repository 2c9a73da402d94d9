import Basics

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
