import Foundation

/// Changes to folders. Foundation's own errors are numbers; these name the file, what failed and what to do.
public enum Folder {
    /// Makes a folder, and those above it.
    public static func create(_ path: String) throws(FileError) {
        try attempt(path, "making this folder") {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        }
    }

    /// The names of all that is in a folder.
    public static func names(_ path: String) throws(FileError) -> [String] {
        try attempt(path, "listing this folder") { try FileManager.default.contentsOfDirectory(atPath: path) }
    }

    /// Gives a file or folder another name, which nothing may have yet.
    public static func rename(_ path: String, to newPath: String) throws(FileError) {
        try attempt(path, "renaming it to \(newPath)") {
            try FileManager.default.moveItem(atPath: path, toPath: newPath)
        }
    }

    /// Removes a file, or a folder with all that is in it.
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
