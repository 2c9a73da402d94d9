import Foundation

/// Writes to the process's standard streams without ending the process if that fails.
public enum StandardStreams {
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
            // The lowest free number is this one, since those below it are open by now.
            _ = open("/dev/null", number == STDIN_FILENO ? O_RDONLY : O_WRONLY)
        }
    }
}
