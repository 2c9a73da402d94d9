import Foundation
import Synchronization

/// Catches SIGINT, SIGTERM and SIGHUP: the first stops the run after its step, a second ends it at once.
package enum Interruption {
    private static let pending = Atomic<Int32>(0)

    /// The signal that asked the run to stop, if any.
    package static var signal: Int32? {
        let number = pending.load(ordering: .relaxed)
        return number == 0 ? nil : number
    }

    /// Installs the handlers; signals that were ignored at the program's start (nohup) stay ignored.
    package static func install() {
        pending.store(0, ordering: .relaxed)
        for number in [SIGINT, SIGTERM, SIGHUP] {
            var action = sigaction()
            sigaction(number, nil, &action)
            if isIgnored(action) { continue }
            action = sigaction()
            action.__sigaction_handler.sa_handler = { number in
                // A signal handler may do no more than this.
                if Interruption.pending.exchange(number, ordering: .relaxed) != 0 { _exit(128 + number) }
            }
            action.sa_flags = SA_RESTART
            sigaction(number, &action, nil)
            // A blocked signal is inherited from the process that started the program.
            var set = sigset_t()
            sigemptyset(&set)
            sigaddset(&set, number)
            pthread_sigmask(SIG_UNBLOCK, &set, nil)
        }
        // The end of a pager or `head` that reads the output must not end the run.
        Foundation.signal(SIGPIPE, SIG_IGN)
    }

    private static func isIgnored(_ action: sigaction) -> Bool {
        unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self)
            == unsafeBitCast(SIG_IGN, to: Int.self)
    }

    fileprivate static func name(_ number: Int32) -> String {
        [SIGINT: "SIGINT", SIGTERM: "SIGTERM", SIGHUP: "SIGHUP"][number] ?? "signal \(number)"
    }
}

/// Ends a run that was asked to stop, after it has written a checkpoint.
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
        "stopped by \(Interruption.name(signal)) after step \(step)"
    }
}
