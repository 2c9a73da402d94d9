import Foundation

/// Reads the files that the kernel makes, such as those in /proc.
package enum SystemFile {
    /// Returns a file's text; an empty one if it cannot be read.
    ///
    /// Foundation loses a page of memory whenever it reads such a file and finds it empty.
    package static func text(_ path: String) -> String {
        let bytes = try? FileDescriptor(path, O_RDONLY).readToEnd()
        return String(decoding: bytes ?? [], as: UTF8.self)
    }
}
