import Foundation

/// A file that cannot be read or written, in words a user can act on.
public struct FileError: Error, CustomStringConvertible, Equatable {
    /// The file or folder, as it was named.
    public let path: String
    /// What is wrong with it.
    public let found: String
    /// What it should be; empty where that goes without saying.
    public let expected: String
    /// What to do.
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

    /// The error of a system call: of the one that has just failed, or by its code.
    package static func system(_ path: String, _ action: String, code: Int32 = errno) -> FileError {
        let remedy =
            switch code {
            case ENOENT: "Check the path"
            case EACCES, EPERM: "Check the permissions"
            case EROFS: "Choose a folder on a disk that can be written"
            case ENOSPC, EDQUOT: "Make room on this disk, or choose a folder on another one"
            case EFBIG: "Raise the limit on the size of files (ulimit -f)"
            default: "Check the path and the disk"
            }
        return FileError(
            path: path, found: "\(action) failed: \(String(cString: strerror(code)))",
            expected: "", remedy: remedy)
    }
}
