import Foundation

/// Changes folders; errors name the path, what failed and what to do, unlike Foundation's.
public enum Folder {
    /// Creates a folder, and the folders above it.
    public static func create(_ path: String) throws(FileError) {
        try attempt(path, "creating this folder") {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        }
    }

    public static func names(_ path: String) throws(FileError) -> [String] {
        try attempt(path, "listing this folder") { try FileManager.default.contentsOfDirectory(atPath: path) }
    }

    /// Renames a file or folder; the new name must not exist.
    public static func rename(_ path: String, to newPath: String) throws(FileError) {
        try attempt(path, "renaming it to \(newPath)") {
            try FileManager.default.moveItem(atPath: path, toPath: newPath)
        }
    }

    /// Removes a file, or a folder with its content.
    public static func remove(_ path: String) throws(FileError) {
        try attempt(path, "removing it") { try FileManager.default.removeItem(atPath: path) }
    }

    private static func attempt<Result>(_ path: String, _ action: String, _ body: () throws -> Result)
        throws(FileError) -> Result
    {
        do { return try body() } catch {
            guard let code = ((error as? CocoaError)?.underlying as? POSIXError)?.code.rawValue else {
                throw FileError(
                    path: path, found: "\(action) failed: \(error.localizedDescription)", expected: "",
                    remedy: "Check the path and the disk")
            }
            throw FileError.system(path, action, code: code)
        }
    }
}
