import Basics
import Foundation

/// Draws a line again and again on a terminal, and writes a plain line now and then to a file.
final class ProgressBar {
    let isTerminal: Bool
    private var lastDrawn: ContinuousClock.Instant
    private var isDrawn = false

    init() {
        isTerminal = isatty(STDERR_FILENO) != 0
        // A terminal shows the bar at once, a file gets a line only if the work takes long.
        lastDrawn = isTerminal ? .now - .seconds(1) : .now
    }

    /// Draws the bar, at most ten times a second; writes to a file at most every 30 seconds.
    func draw(done: Int, of total: Int, _ text: String) {
        if !isTerminal {
            guard ContinuousClock.now - lastDrawn > .seconds(30) else { return }
            lastDrawn = .now
            StandardStreams.writeError(text + "\n")
            return
        }
        guard ContinuousClock.now - lastDrawn > .milliseconds(100) || done == total else { return }
        lastDrawn = .now
        let width = 24
        let filled = total > 0 ? min(width, done * width / total) : 0
        let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: width - filled)
        let line = String("\(bar) \(text)".prefix(columns - 1))
        StandardStreams.writeError("\r\u{1B}[2K\(line)")
        isDrawn = true
    }

    /// Removes the bar, so that a line can be printed.
    func clear() {
        if isDrawn { StandardStreams.writeError("\r\u{1B}[2K") }
        isDrawn = false
    }

    private var columns: Int {
        var size = winsize()
        return ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 20 ? Int(size.ws_col) : 80
    }

    /// Returns "1:15" for 75.
    static func duration(_ seconds: Double) -> String {
        guard seconds.isFinite, seconds >= 0 else { return "–" }
        let whole = Int(seconds.rounded())
        return whole >= 3600
            ? String(format: "%d:%02d:%02d", whole / 3600, whole / 60 % 60, whole % 60)
            : String(format: "%d:%02d", whole / 60, whole % 60)
    }
}
