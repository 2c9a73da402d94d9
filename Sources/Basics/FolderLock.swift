import Foundation

/// Keeps other processes out of a folder until it is released or the process ends, even if it is killed.
package final class FolderLock: Sendable {
    private let number: Int32

    /// - Parameter path: a file, which is made if it does not exist.
    /// - Returns: nil if another process has the lock.
    /// - Throws: `FileError`.
    package init?(_ path: String) throws {
        number = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
        guard number >= 0 else { throw FileError.system(path, "opening") }
        guard flock(number, LOCK_EX | LOCK_NB) == 0 else {
            close(number)
            return nil
        }
    }

    deinit { close(number) }
}
