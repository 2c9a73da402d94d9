import Foundation
import Synchronization

/// Writes files completely or not at all: under a temporary name in the same folder, synced, then renamed.
///
/// An existing file stays until the new one is complete. If writing fails, the old file stays and the
/// unfinished one is removed. Only a killed process leaves an unfinished file, named `.partial-…`.
public enum AtomicFile {
    private static let counter = Atomic<Int>(0)

    /// Writes `bytes` to `path` and replaces an existing file.
    ///
    /// - Throws: `FileError` if the folder is missing, not writable or full.
    public static func write(_ path: String, _ bytes: [UInt8]) throws {
        try write(path) { try $0.write(bytes) }
    }

    /// Writes what `body` writes to the open file to `path`, and replaces an existing file.
    ///
    /// - Throws: `FileError` if the folder is missing, not writable or full, and whatever `body` throws.
    package static func write(_ path: String, _ body: (FileDescriptor) throws -> Void) throws {
        // Links are followed; devices and pipes are written to, not replaced.
        let resolved = realpath(path, nil)
        defer { free(resolved) }
        let path = resolved.map { String(cString: $0) } ?? path
        var status = stat()
        if stat(path, &status) == 0, status.st_mode & S_IFMT != S_IFREG, status.st_mode & S_IFMT != S_IFDIR {
            return try body(FileDescriptor(path, O_WRONLY))
        }
        try replace(path) { temporary in
            let file = try FileDescriptor(temporary, O_WRONLY | O_CREAT | O_EXCL, errorPath: path)
            try body(file)
            try file.synchronize()
        }
    }

    /// Makes `path` a symbolic link to `target` and replaces an existing link.
    public static func link(_ path: String, to target: String) throws {
        try replace(path) { temporary in
            guard symlink(target, temporary) == 0 else {
                throw FileError.system(path, "linking it to \(target)")
            }
        }
    }

    /// Waits until a folder's changes (files created, renamed, removed) are on the disk.
    public static func synchronizeFolder(_ path: String) throws {
        try FileDescriptor(path, O_RDONLY | O_DIRECTORY).synchronize()
    }

    private static func replace(_ path: String, _ create: (_ temporary: String) throws -> Void) throws {
        let slash = path.lastIndex(of: "/")
        let folder = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        // The file's name plus an ending might exceed the longest name allowed.
        var temporary: String
        var status = stat()
        repeat {
            let number = counter.add(1, ordering: .relaxed).newValue
            temporary = "\(folder)/.partial-\(getpid())-\(number)"
        } while lstat(temporary, &status) == 0
        do {
            try create(temporary)
            guard rename(temporary, path) == 0 else { throw FileError.system(path, "replacing the file") }
        } catch {
            unlink(temporary)
            throw error
        }
        try synchronizeFolder(folder)
    }
}
