import Foundation

extension JSON {
    /// Returns a measured number with four significant digits.
    package static func rounded(_ value: Double) -> JSON {
        guard value.isFinite, value != 0 else { return .number(value) }
        let unit = pow(10, 3 - floor(log10(abs(value))))
        return .number((value * unit).rounded() / unit)
    }
}
