import Basics
import Foundation
import Synchronization

/// Writes the lines of a training to the standard output, and to the run's `log.txt` as soon as there is one.
///
/// A console that is full, closed or not read is given up, or left out for a while, and training continues.
enum RunConsole {
    private struct State {
        var file: FileDescriptor?
        /// Lines that were printed before there was a file.
        var early = ""
        var isLost = false
        /// Lines that the console had no room for.
        var skipped = 0
    }

    private static let state = Mutex(State())
    /// Milliseconds to wait for a reader who is slow.
    private static let patience: Int32 = 2000

    /// Prints a line or several.
    static func print(_ text: String) {
        state.withLock { state in
            log(text + "\n", &state)
            show(text + "\n", &state)
        }
    }

    /// Writes a message that is on the standard error to the run's file too.
    static func note(_ text: String) { state.withLock { log(text + "\n", &$0) } }

    /// Opens a run's file, and writes what was printed so far.
    static func open(_ path: String) {
        state.withLock { state in
            // Without room for it, the run's other files say so.
            state.file = try? FileDescriptor(path, O_WRONLY | O_CREAT | O_APPEND)
            let early = state.early
            state.early = ""
            if StandardStreams.closedAtStart.contains(STDOUT_FILENO), state.file != nil {
                write("the standard output was closed at the start: this file has the run's text\n", &state)
            }
            write(early, &state)
        }
    }

    private static func log(_ text: String, _ state: inout State) {
        if state.file == nil { state.early += text } else { write(text, &state) }
    }

    private static func write(_ text: String, _ state: inout State) {
        try? state.file?.write(Array(text.utf8))
    }

    private static func show(_ text: String, _ state: inout State) {
        guard !state.isLost else { return }
        guard StandardStreams.outputHasRoom(milliseconds: state.skipped == 0 ? patience : 0) else {
            if state.skipped == 0 {
                log("the console is not read: the run continues without it until it is\n", &state)
            }
            state.skipped += 1
            return
        }
        let gap =
            state.skipped > 0 ? "(\(state.skipped) messages were left out here; log.txt has them)\n" : ""
        state.skipped = 0
        let code = StandardStreams.writeOutput(gap + text)
        guard code != 0 else { return }
        state.isLost = true
        log(
            "the console cannot be written (\(String(cString: strerror(code)))): the run continues "
                + "without it\n",
            &state)
    }
}
