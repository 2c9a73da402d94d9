import Foundation

/// Represents an amount of memory, written as `512M`, `1.5G` or a number of bytes.
public struct MemorySize: Sendable, Equatable {
    /// What is read, for messages.
    public static let expected = "an amount such as 512M, 1.5G or a number of bytes"

    /// The amount as it was written.
    public let text: String
    public let bytes: Int

    /// Reads an amount with K, M and G as powers of 1024; nil unless it is an amount of at least one byte.
    public init?(parsing text: String) {
        let units: [Character: Double] = ["K": 0x1p10, "M": 0x1p20, "G": 0x1p30]
        let unit = text.last.flatMap { units[Character($0.uppercased())] }
        let digits = unit == nil ? text[...] : text.dropLast()
        guard digits.allSatisfy({ $0.isASCII && ($0.isNumber || $0 == ".") }), let number = Double(digits)
        else { return nil }
        let bytes = number * (unit ?? 1)
        guard bytes >= 1, bytes < 0x1p60 else { return nil }
        self.text = text
        self.bytes = Int(bytes)
    }

    /// Returns bytes in decimal units: `3.21 GB`, `45.0 MB`.
    public static func text(_ bytes: Int) -> String {
        switch bytes {
        case ..<1000: "\(bytes) B"
        case ..<1_000_000: String(format: "%.1f kB", Double(bytes) * 1e-3)
        case ..<1_000_000_000: String(format: "%.1f MB", Double(bytes) * 1e-6)
        default: String(format: "%.2f GB", Double(bytes) * 1e-9)
        }
    }

    /// Returns the largest round amount within `bytes`, such as `13.9G` or `45M`; nil below a kilobyte.
    public static func option(atMost bytes: Int) -> String? {
        switch bytes {
        case ..<(1 << 10): nil
        case ..<(1 << 20): "\(bytes >> 10)K"
        case ..<(1 << 30): "\(bytes >> 20)M"
        default: String(format: "%.1fG", (Double(bytes) / 0x1p30 * 10).rounded(.down) / 10)
        }
    }
}
