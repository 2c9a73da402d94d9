import Foundation
import Synchronization

/// Ctrl-C and SIGTERM: the first asks the run to stop at the next good moment, a second one ends the process
/// at once.
package enum Interruption {
    private static let pending = Atomic<Int32>(0)

    /// The signal that asks the run to stop.
    package static var signal: Int32? {
        let number = pending.load(ordering: .relaxed)
        return number == 0 ? nil : number
    }

    /// From now on signals are noted rather than deadly. A run that was started without a terminal's signals
    /// (nohup) stays deaf to them.
    package static func install() {
        pending.store(0, ordering: .relaxed)
        for number in [SIGINT, SIGTERM, SIGHUP] {
            var action = sigaction()
            sigaction(number, nil, &action)
            if isIgnored(action) { continue }
            action = sigaction()
            action.__sigaction_handler.sa_handler = { number in
                // Only what a signal handler may do: an atomic and _exit.
                if Interruption.pending.exchange(number, ordering: .relaxed) != 0 { _exit(128 + number) }
            }
            action.sa_flags = SA_RESTART
            sigaction(number, &action, nil)
            // Whoever started the program may have had it blocked, and that is inherited.
            var set = sigset_t()
            sigemptyset(&set)
            sigaddset(&set, number)
            pthread_sigmask(SIG_UNBLOCK, &set, nil)
        }
        // A reader of our lines who has left (a pager, head) must not end the run.
        Foundation.signal(SIGPIPE, SIG_IGN)
    }

    private static func isIgnored(_ action: sigaction) -> Bool {
        unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self)
            == unsafeBitCast(SIG_IGN, to: Int.self)
    }

    package static func name(_ number: Int32) -> String {
        [SIGINT: "SIGINT", SIGTERM: "SIGTERM", SIGHUP: "SIGHUP"][number] ?? "signal \(number)"
    }
}

/// A run that was asked to stop, and has written a checkpoint to go on from.
public struct TrainingInterrupted: Error, CustomStringConvertible, Equatable {
    public let signal: Int32
    public let step: Int
    public let run: String

    package init(signal: Int32, step: Int, run: String) {
        self.signal = signal
        self.step = step
        self.run = run
    }

    public var description: String {
        "stopped by \(Interruption.name(signal)) after step \(step); go on with: trainer --resume \(run)"
    }
}
