import Foundation

extension Error {
    /// What the system said, such as "Not a directory", where Foundation's own words are "error 512".
    package var reason: String {
        guard let error = (self as? CocoaError)?.underlying as? POSIXError else {
            return localizedDescription
        }
        return String(cString: strerror(error.code.rawValue))
    }
}
