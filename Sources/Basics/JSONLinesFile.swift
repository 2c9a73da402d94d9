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

    /// Truncates a log behind the last line whose "step" is `step` or less.
    ///
    /// Without such a line, the lines at its beginning that have no step are kept. Incomplete lines are
    /// removed. The file is changed in place, so an open `JSONLinesFile` continues at the new end.
    /// - Returns: the log's size in bytes.
    /// - Throws: `FileError`, also if a line to keep follows one that is not a JSON object.
    @discardableResult public static func truncate(_ path: String, afterStep step: Int) throws -> Int {
        let file = try FileDescriptor(path, O_RDWR)
        let content = try file.bytes(file.size(), at: 0)
        var kept = 0
        var start = 0
        var number = 0
        var stepSeen = false
        var damage: Int?
        while let end = content[start...].firstIndex(of: UInt8(ascii: "\n")) {
            number += 1
            if let line = try? JSON.parse(Array(content[start..<end])), case .object = line {
                let lineStep = line["step"]?.integer
                if lineStep.map({ $0 <= step }) ?? (!stepSeen && damage == nil) {
                    // A power cut leaves unreadable lines only at the end.
                    if let damage {
                        throw FileError(
                            path: path, found: "line \(damage) is not a JSON object",
                            expected: "one object per line", remedy: "Repair or remove that line")
                    }
                    kept = end + 1
                }
                stepSeen = stepSeen || lineStep != nil
            } else {
                damage = damage ?? number
            }
            start = end + 1
        }
        try file.truncate(to: kept)
        try file.synchronize()
        return kept
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
