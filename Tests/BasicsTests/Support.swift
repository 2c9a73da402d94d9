import Foundation

func bytes(_ path: String) throws -> [UInt8] { try [UInt8](Data(contentsOf: URL(fileURLWithPath: path))) }

/// Writes a new file: some file systems flush one that is cut to nothing and written again, which thousands
/// of mutants would wait for.
func write(_ bytes: [UInt8], _ path: String) throws {
    unlink(path)
    try Data(bytes).write(to: URL(fileURLWithPath: path))
}
