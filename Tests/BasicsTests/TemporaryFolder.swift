import Foundation

/// A folder of a test's own, removed with all it holds when the test lets it go.
final class TemporaryFolder {
    let path = NSTemporaryDirectory() + "model-files-\(UUID().uuidString)"

    init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func file(_ name: String) -> String { path + "/" + name }

    var names: [String] { (try? FileManager.default.contentsOfDirectory(atPath: path).sorted()) ?? [] }
}

func bytes(_ path: String) throws -> [UInt8] { try [UInt8](Data(contentsOf: URL(fileURLWithPath: path))) }

/// Writes a new file: some file systems flush one that is cut to nothing and written again, which thousands
/// of mutants would wait for.
func write(_ bytes: [UInt8], _ path: String) throws {
    unlink(path)
    try Data(bytes).write(to: URL(fileURLWithPath: path))
}
