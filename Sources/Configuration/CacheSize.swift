import DeviceInput
import Basics
import Compute

/// How much device memory the cache of decoded photographs may take: `auto`, `off`, or an amount.
public enum CacheSize: Sendable, Equatable {
    case auto, off
    case amount(MemorySize)

    /// Bytes, on a device that holds the network already.
    package func capacity(on device: Device) -> Int {
        switch self {
        case .auto: ImageCache.automaticCapacity(of: device.description, allocated: device.allocatedBytes)
        case .off: 0
        case .amount(let size): size.bytes
        }
    }
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
