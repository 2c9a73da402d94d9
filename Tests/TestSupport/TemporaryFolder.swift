import Foundation

/// A test's own folder, removed with its contents when the test releases it.
///
/// `@unchecked`: the compiler cannot check a class that has subclasses; this one holds a constant.
open class TemporaryFolder: @unchecked Sendable {
    public let path = NSTemporaryDirectory() + "deep-image-tests-\(UUID().uuidString)"

    public init() throws { try makeFolder("") }

    deinit { try? remove("") }

    /// Returns the path of `name` in this folder.
    public func file(_ name: String) -> String { path + "/" + name }

    /// Writes a file, with the folders above it, and returns its path.
    @discardableResult public func write(_ content: [UInt8], _ name: String) throws -> String {
        try makeFolder((name as NSString).deletingLastPathComponent)
        // Some file systems flush a file that is truncated and written again.
        unlink(file(name))
        try Data(content).write(to: URL(fileURLWithPath: file(name)))
        return file(name)
    }

    @discardableResult public func write(_ content: String, _ name: String) throws -> String {
        try write(Array(content.utf8), name)
    }

    public func makeFolder(_ name: String) throws {
        try FileManager.default.createDirectory(atPath: file(name), withIntermediateDirectories: true)
    }

    public func remove(_ name: String) throws { try FileManager.default.removeItem(atPath: file(name)) }

    public func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: file(name)) }

    public func bytes(_ name: String) throws -> [UInt8] {
        Array(try Data(contentsOf: URL(fileURLWithPath: file(name))))
    }

    public func text(_ name: String) throws -> String { String(decoding: try bytes(name), as: UTF8.self) }

    /// Returns the sorted names in this folder, or in one below it.
    public func names(_ folder: String = "") throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: file(folder)).sorted()
    }
}
