import Foundation

/// Owns an open file and closes it when released.
///
/// Reads and writes are complete: interrupted and partial system calls are repeated.
package final class FileDescriptor: Sendable {
    package let path: String
    private let number: Int32

    /// Opens `path` with the flags of open(2).
    ///
    /// - Parameter errorPath: the path that errors name; `path` by default.
    package init(_ path: String, _ flags: Int32, errorPath: String? = nil) throws {
        self.path = errorPath ?? path
        // Without O_NONBLOCK, opening a named pipe would wait for a writer.
        let number = open(path, flags | O_CLOEXEC | O_NONBLOCK, 0o666)
        guard number >= 0 else { throw FileError.system(self.path, "opening") }
        // Writing to a slow pipe should wait.
        _ = fcntl(number, F_SETFL, fcntl(number, F_GETFL) & ~O_NONBLOCK)
        self.number = number
    }

    deinit { close(number) }

    /// Returns the size in bytes; throws if this is not a regular file.
    package func size() throws -> Int {
        var status = stat()
        guard fstat(number, &status) == 0 else { throw FileError.system(path, "reading its size") }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw FileError(
                path: path, found: "this is not a regular file", expected: "a file", remedy: "Check the path")
        }
        return Int(status.st_size)
    }

    /// Fills `buffer` with the bytes from `offset`; throws if the file ends before.
    package func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws {
        var done = 0
        while done < buffer.count {
            let count = pread(number, buffer.baseAddress! + done, buffer.count - done, off_t(offset + done))
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw FileError.system(path, "reading") }
            guard count > 0 else {
                throw FileError(
                    path: path, found: "it ends at byte \(offset + done)",
                    expected: "\(offset + buffer.count) bytes or more",
                    remedy: "It is truncated, or was changed while it was read: fetch or write it again")
            }
            done += count
        }
    }

    /// Returns `count` bytes from `offset` on; throws if the file ends before.
    package func bytes(_ count: Int, at offset: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        try bytes.withUnsafeMutableBytes { try read(into: $0, at: offset) }
        return bytes
    }

    /// Returns what follows the file's position, of a file whose size is not known before.
    package func readToEnd() throws -> [UInt8] {
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 1 << 14)
        while true {
            let count = Foundation.read(number, &piece, piece.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw FileError.system(path, "reading") }
            if count == 0 { return bytes }
            bytes += piece[..<count]
        }
    }

    package func write(_ bytes: [UInt8]) throws { try bytes.withUnsafeBytes { try write($0) } }

    /// Writes `bytes` at the file's position.
    package func write(_ bytes: UnsafeRawBufferPointer) throws {
        var done = 0
        while done < bytes.count {
            let count = Foundation.write(number, bytes.baseAddress! + done, bytes.count - done)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw FileError.system(path, "writing") }
            done += count
        }
    }

    /// Maps the first bytes for reading.
    ///
    /// The mapping outlives the file; the caller unmaps it.
    package func map(byteCount: Int) throws -> UnsafeMutableRawPointer {
        guard let base = mmap(nil, byteCount, PROT_READ, MAP_SHARED, number, 0), base != MAP_FAILED else {
            throw FileError.system(path, "mapping \(byteCount) bytes of it")
        }
        return base
    }

    package func truncate(to size: Int) throws {
        guard ftruncate(number, off_t(size)) == 0 else {
            throw FileError.system(path, "truncating it to \(size) bytes")
        }
    }

    /// Waits until the content is on the disk.
    package func synchronize() throws {
        guard fsync(number) == 0 else { throw FileError.system(path, "writing to the disk") }
    }
}
