import Foundation

/// Keeps other processes out of a folder until it is released or the process ends, even if it is killed.
package final class FolderLock: Sendable {
    private let number: Int32

    /// - Parameters:
    ///   - path: a file, which is made if it does not exist.
    ///   - patience: seconds to wait for another process to release the lock.
    /// - Returns: nil if another process has the lock.
    /// - Throws: `FileError`.
    package init?(_ path: String, patience: Double = 0) throws {
        number = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
        guard number >= 0 else { throw FileError.system(path, "opening") }
        let end = ContinuousClock.now + .seconds(patience)
        while flock(number, LOCK_EX | LOCK_NB) != 0 {
            guard ContinuousClock.now < end else {
                close(number)
                return nil
            }
            usleep(50_000)
        }
    }

    deinit { close(number) }
}
