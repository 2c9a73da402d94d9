import Foundation

extension Error {
    /// The system's message, such as "Not a directory", if Foundation only says "error 512".
    package var reason: String {
        guard let error = (self as? CocoaError)?.underlying as? POSIXError else {
            return localizedDescription
        }
        return String(cString: strerror(error.code.rawValue))
    }
}
