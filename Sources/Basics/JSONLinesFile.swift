import Foundation

/// Appends JSON objects to a log, one per line.
///
/// Each line is written at once and in one piece, so a killed process loses none. Not safe to use from two
/// threads at once.
public final class JSONLinesFile {
    private let file: FileDescriptor

    /// Opens a log for appending; creates it if it does not exist.
    ///
    /// - Throws: `FileError`.
    public init(_ path: String) throws {
        file = try FileDescriptor(path, O_WRONLY | O_CREAT | O_APPEND)
        _ = try file.size()
    }

    /// Appends one object, its keys in the given order.
    ///
    /// - Throws: `FileError`; a partly written line is then removed.
    public func append(_ object: JSON) throws {
        let size = try file.size()
        do { try file.write(Array((object.text + "\n").utf8)) } catch {
            try? file.truncate(to: size)
            throw error
        }
    }

    /// Waits until all lines are on the disk.
    ///
    /// - Returns: the log's size in bytes.
    @discardableResult public func synchronize() throws -> Int {
        try file.synchronize()
        return try file.size()
    }

    /// Truncates a log to its first `size` bytes.
    ///
    /// - Throws: `FileError`, also if the log is shorter.
    public static func truncate(_ path: String, toSize size: Int) throws {
        let file = try FileDescriptor(path, O_RDWR)
        let found = try file.size()
        guard (0...found).contains(size) else {
            throw FileError(
                path: path, found: "the log has \(found) bytes", expected: "\(size) or more",
                remedy: "The log was changed; restore it")
        }
        try file.truncate(to: size)
        try file.synchronize()
    }
}
