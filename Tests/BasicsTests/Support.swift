import Foundation

func bytes(_ path: String) throws -> [UInt8] { try [UInt8](Data(contentsOf: URL(fileURLWithPath: path))) }

/// Writes a new file, because some file systems flush a file that is truncated and written again.
func write(_ bytes: [UInt8], _ path: String) throws {
    unlink(path)
    try Data(bytes).write(to: URL(fileURLWithPath: path))
}
