import Foundation
import Synchronization

/// Files that are either whole or not there: written under another name in the same folder, synced, renamed,
/// the folder synced.
///
/// Whatever stood under the name stays until the new file is whole, and stays for good where writing fails (a
/// full disk, an error of the caller's); the unfinished file is then removed. Only a killed process leaves
/// one behind, called `.partial-…`.
public enum AtomicFile {
    private static let counter = Atomic<Int>(0)

    /// Where the content of a file goes while it is written.
    public struct Output {
        fileprivate let file: FileDescriptor

        /// Writes all of `bytes` behind what was written before.
        public func write(_ bytes: UnsafeRawBufferPointer) throws { try file.write(bytes) }

        /// Writes all of `bytes` behind what was written before.
        public func write(_ bytes: [UInt8]) throws { try bytes.withUnsafeBytes { try file.write($0) } }

        /// Waits until all of it has reached the disk.
        public func synchronize() throws { try file.synchronize() }
    }

    /// Writes `bytes` to `path`, in place of a file that may be there.
    ///
    /// - Throws: `FileError` where the folder is missing, cannot be written or is full.
    public static func write(_ path: String, _ bytes: [UInt8]) throws {
        try write(path) { try $0.write(bytes) }
    }

    /// Writes to `path` what `body` hands over piece by piece, in place of a file that may be there.
    ///
    /// - Throws: `FileError` where the folder is missing, cannot be written or is full, and whatever
    ///   `body` throws.
    public static func write(_ path: String, _ body: (Output) throws -> Void) throws {
        // The file behind a link is written, not the link; a device or a pipe is written to, and never
        // replaced.
        let path =
            realpath(path, nil).map { pointer in
                defer { free(pointer) }
                return String(cString: pointer)
            } ?? path
        var status = stat()
        if stat(path, &status) == 0, status.st_mode & S_IFMT != S_IFREG, status.st_mode & S_IFMT != S_IFDIR {
            return try body(Output(file: FileDescriptor(path, O_WRONLY, errorPath: path)))
        }
        try replace(path) { temporary in
            let file = try FileDescriptor(temporary, O_WRONLY | O_CREAT | O_EXCL, errorPath: path)
            try body(Output(file: file))
            try file.synchronize()
        }
    }

    /// Makes `path` a symbolic link to `target`, in place of a link that may be there.
    public static func link(_ path: String, to target: String) throws {
        try replace(path) { temporary in
            guard symlink(target, temporary) == 0 else {
                throw FileError.system(path, "linking it to \(target)")
            }
        }
    }

    /// Waits until the names in a folder (files created, renamed, removed) have reached the disk.
    public static func synchronizeFolder(_ path: String) throws {
        try FileDescriptor(path, O_RDONLY | O_DIRECTORY).synchronize()
    }

    private static func replace(_ path: String, _ create: (_ temporary: String) throws -> Void) throws {
        let slash = path.lastIndex(of: "/")
        let folder = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        // A name of its own, not the file's with an ending: that may exceed the longest name allowed.
        var temporary: String
        var status = stat()
        repeat {
            let number = counter.add(1, ordering: .relaxed).newValue
            temporary = "\(folder)/.partial-\(getpid())-\(number)"
        } while lstat(temporary, &status) == 0
        do {
            try create(temporary)
            guard rename(temporary, path) == 0 else {
                throw FileError.system(path, "putting the new file in its place")
            }
        } catch {
            unlink(temporary)
            throw error
        }
        try synchronizeFolder(folder)
    }
}
