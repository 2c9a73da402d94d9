import Foundation

/// Describes why a file cannot be read or written, and what to do.
public struct FileError: Error, CustomStringConvertible, Equatable {
    /// The file or folder, as the caller named it.
    public let path: String
    public let found: String
    /// What is allowed; empty if that is obvious.
    public let expected: String
    public let remedy: String

    public init(path: String, found: String, expected: String, remedy: String) {
        self.path = path
        self.found = found
        self.expected = expected
        self.remedy = remedy
    }

    public var description: String {
        path + ": " + found + (expected.isEmpty ? "" : "; expected \(expected)") + ". \(remedy)."
    }

    /// Returns the error of a failed system call.
    ///
    /// - Parameter code: its error number; that of the last failed call by default.
    package static func system(_ path: String, _ action: String, code: Int32 = errno) -> FileError {
        let remedy =
            switch code {
            case ENOENT: "Check the path"
            case EACCES, EPERM: "Check the permissions"
            case EROFS: "Choose a folder on a writable disk"
            case ENOSPC, EDQUOT: "Make room on this disk, or choose a folder on another one"
            case EFBIG: "Raise the limit on the size of files (ulimit -f)"
            default: "Check the path and the disk"
            }
        return FileError(
            path: path, found: "\(action) failed: \(String(cString: strerror(code)))",
            expected: "", remedy: remedy)
    }
}
