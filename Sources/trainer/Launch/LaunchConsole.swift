import Basics
import Collectives
import Foundation
import Runs

/// Passes on what mpirun writes, and the lines of `launch`, without ever waiting for the console.
///
/// mpirun ends when its output has no reader, and hangs while it is not read. It therefore writes into pipes
/// that this process reads to the end, whether or not the text can be shown.
final class LaunchConsole {
    /// A standard stream of this process, and what is to be written there.
    private struct Stream {
        let descriptor: Int32
        /// The pipe's end to read from, or -1 between two starts of mpirun.
        var source: Int32 = -1
        var pending = [UInt8]()
        /// Lines for which there was no room.
        var skipped = 0
        /// Whether the last text began a line that has not ended.
        var isMidLine = false
        var isLost = false

        init(_ descriptor: Int32) { self.descriptor = descriptor }
    }

    /// Bytes to keep for a console that is not read, at most; then lines are left out.
    private static let room = 1 << 16
    /// Bytes that a pipe takes at least if it takes any (PIPE_BUF).
    private static let piece = 4096
    /// Seconds to wait at the end for a reader who is slow.
    private static let patience = 2.0

    private var output = Stream(STDOUT_FILENO)
    private var errors = Stream(STDERR_FILENO)
    /// The folder of the run, whose file with the console's text gets the lines of `launch` too.
    private let run: String
    /// Lines that are not in that file yet.
    private var notes = ""

    init(run: String) { self.run = run }

    /// Reads from these pipes from now on, and closes them on `detach`.
    func attach(output: Int32, errors: Int32) {
        self.output.source = output
        self.errors.source = errors
    }

    /// Reads what is left in the pipes and closes them; programs that still have them are not waited for.
    func detach() {
        pump()
        for source in [output.source, errors.source] where source >= 0 { close(source) }
        (output.source, errors.source) = (-1, -1)
    }

    /// Writes a line of `launch`, after what mpirun has written so far.
    func say(_ text: String) {
        pump()
        Self.add(Array((text + "\n").utf8)[...], to: &output)
        show(&output)
        notes += text + "\n"
        writeNotes()
    }

    /// Moves what the pipes hold to the console, as far as it has room.
    func pump() {
        move(&output)
        move(&errors)
        writeNotes()
    }

    /// Appends lines to the run's file, which rank 0 makes.
    private func writeNotes() {
        guard !notes.isEmpty, RunFolder.isRun(run),
            let file = try? FileDescriptor(RunFolder.logPath(run), O_WRONLY | O_APPEND)
        else { return }
        // Without room for it, the run's other files say so.
        try? file.write(Array(notes.utf8))
        notes = ""
    }

    /// Waits a moment for a slow reader of the last lines.
    func finish() {
        let end = Clock.seconds + Self.patience
        repeat {
            pump()
            let isDone = [output, errors].allSatisfy { $0.isLost || $0.pending.isEmpty || $0.skipped > 0 }
            if isDone { return }
            usleep(20_000)
        } while Clock.seconds < end
    }

    private func move(_ stream: inout Stream) {
        var bytes = [UInt8](repeating: 0, count: Self.room)
        while stream.source >= 0 {
            let count = read(stream.source, &bytes, bytes.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            Self.add(bytes[..<count], to: &stream)
            show(&stream)
        }
        show(&stream)
    }

    private static func add(_ bytes: ArraySlice<UInt8>, to stream: inout Stream) {
        if stream.isLost { return }
        let newline = UInt8(ascii: "\n")
        for line in bytes.split(separator: newline, omittingEmptySubsequences: false).enumerated() {
            // The text behind the last newline is the beginning of a line, or nothing.
            let isWhole = line.element.endIndex < bytes.endIndex
            if line.element.isEmpty, !isWhole { continue }
            if stream.skipped > 0 || stream.pending.count + line.element.count > room {
                // A line that has begun to appear ends there.
                if stream.skipped == 0, stream.isMidLine { stream.pending.append(newline) }
                if isWhole || stream.skipped == 0 { stream.skipped += 1 }
            } else {
                stream.pending += line.element
                if isWhole { stream.pending.append(newline) }
                stream.isMidLine = !isWhole
            }
        }
    }

    /// Writes as much as the stream takes at once.
    private func show(_ stream: inout Stream) {
        while !stream.isLost, !stream.pending.isEmpty {
            var state = pollfd(fd: stream.descriptor, events: Int16(POLLOUT), revents: 0)
            guard poll(&state, 1, 0) > 0 else { return }
            let count = write(stream.descriptor, stream.pending, min(Self.piece, stream.pending.count))
            if count < 0 {
                if errno == EINTR { continue }
                if errno == EAGAIN { return }
                let reason = String(cString: strerror(errno))
                (stream.isLost, stream.pending) = (true, [])
                notes += "launch: the console cannot be written (\(reason)): the run continues without it\n"
                return
            }
            stream.pending.removeFirst(count)
            if stream.pending.isEmpty, stream.skipped > 0 {
                let text = "(\(stream.skipped) lines were left out here; the run's log.txt has them)\n"
                (stream.skipped, stream.isMidLine) = (0, false)
                stream.pending = Array(text.utf8)
            }
        }
    }
}
