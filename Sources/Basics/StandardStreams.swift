import Foundation
import Synchronization

/// Writes to the process's standard streams without ending the process if that fails.
public enum StandardStreams {
    private static let closed = Mutex<Set<Int32>>([])

    /// The descriptors of the streams that were closed when `openClosed` was called.
    public static var closedAtStart: Set<Int32> { closed.withLock { $0 } }

    /// Writes text to the standard output.
    ///
    /// - Returns: the error's number if that failed; otherwise 0
    public static func writeOutput(_ text: String) -> Int32 {
        // What was printed before comes first.
        fflush(nil)
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let written = bytes.withUnsafeBytes { write(STDOUT_FILENO, $0.baseAddress, $0.count) }
            if written > 0 { bytes = bytes.dropFirst(written) } else if errno != EINTR { return errno }
        }
        return 0
    }

    /// Waits until the standard output takes text, or a write would fail at once.
    public static func outputHasRoom(milliseconds: Int32) -> Bool {
        var output = pollfd(fd: STDOUT_FILENO, events: Int16(POLLOUT), revents: 0)
        return poll(&output, 1, milliseconds) != 0
    }

    /// Writes text to the standard error; does nothing if the stream is closed, full or has no reader.
    public static func writeError(_ text: String) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let written = bytes.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
            if written > 0 { bytes = bytes.dropFirst(written) } else if errno != EINTR { return }
        }
    }

    /// Opens `/dev/null` in place of each standard stream that is closed, before any other file is opened.
    ///
    /// A daemon may start without them. The next files opened would then take their numbers, and messages
    /// would be written into these files.
    public static func openClosed() {
        for number in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO]
        where fcntl(number, F_GETFD) == -1 && errno == EBADF {
            closed.withLock { _ = $0.insert(number) }
            // The lowest free number is this one, since those below it are open by now.
            _ = open("/dev/null", number == STDIN_FILENO ? O_RDONLY : O_WRONLY)
        }
    }
}
