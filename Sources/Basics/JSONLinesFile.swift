import Foundation

/// A log of one JSON object a line, to which lines are only ever added.
///
/// A line is handed to the system as soon as it is added, in one piece: a killed process loses none. Not safe
/// to use from two threads at once.
public final class JSONLinesFile {
    private let file: FileDescriptor

    /// Opens a log to add lines to; creates it where it is not there.
    ///
    /// - Throws: `FileError`.
    public init(_ path: String) throws {
        file = try FileDescriptor(path, O_WRONLY | O_CREAT | O_APPEND)
        _ = try file.size()
    }

    /// Adds one object, its keys in the given order. Numbers have the fewest digits that read back to the
    /// same value; NaN and infinities become null.
    ///
    /// - Throws: `FileError`; what was written of the line is then taken back.
    public func append(_ members: [JSON.Member]) throws {
        let size = try file.size()
        do { try Array((JSON.object(members).text + "\n").utf8).withUnsafeBytes { try file.write($0) } } catch
        {
            try? file.truncate(to: size)
            throw error
        }
    }

    /// Waits until all lines have reached the disk.
    ///
    /// - Returns: the log's size in bytes.
    @discardableResult public func synchronize() throws -> Int {
        try file.synchronize()
        return try file.size()
    }

    /// Cuts a log back to the last line whose "step" is `step` or less; without such a line, to the lines at
    /// its beginning that have no step.
    ///
    /// A line that was not finished goes too. The file keeps its place, so a `JSONLinesFile` that is open on
    /// it goes on behind the cut.
    /// - Returns: the log's size in bytes.
    /// - Throws: `FileError`, also where a line that is to be kept comes behind one that is no JSON
    ///   object.
    @discardableResult public static func truncate(_ path: String, afterStep step: Int) throws -> Int {
        let file = try FileDescriptor(path, O_RDWR)
        var content = [UInt8](repeating: 0, count: try file.size())
        try content.withUnsafeMutableBytes { try file.read(into: $0, at: 0) }
        var kept = 0
        var start = 0
        var number = 0
        var stepSeen = false
        var damage: Int?
        while let end = content[start...].firstIndex(of: UInt8(ascii: "\n")) {
            number += 1
            if let line = try? JSON.parse(Array(content[start..<end])), case .object = line {
                let lineStep: Int? = if case .integer(let value)? = line["step"] { value } else { nil }
                let keep = lineStep.map { $0 <= step } ?? (!stepSeen && damage == nil)
                if keep {
                    // Unreadable lines at the end are what a power cut leaves; between good ones they are
                    // something else.
                    guard damage == nil else {
                        throw FileError(
                            path: path, found: "line \(damage ?? 0) is no JSON object",
                            expected: "one object a line", remedy: "Mend or remove that line")
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

    /// Cuts a log back to its first `size` bytes, as `truncate(_:afterStep:)` or a checkpoint has noted them.
    ///
    /// - Throws: `FileError`, also where the log is shorter than that.
    public static func truncate(_ path: String, toSize size: Int) throws {
        let file = try FileDescriptor(path, O_RDWR)
        let found = try file.size()
        guard (0...found).contains(size) else {
            throw FileError(
                path: path, found: "the log has \(found) bytes", expected: "\(size) or more",
                remedy: "It was changed since: fetch the whole log")
        }
        try file.truncate(to: size)
        try file.synchronize()
    }
}
