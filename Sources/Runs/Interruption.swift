import Basics
import Foundation
import Synchronization

/// Why a run was asked to stop before its end.
public enum StopReason: Sendable, Equatable {
    case signal(Int32)
    /// The time that the run may take is over.
    case maximumTime

    /// A number that other ranks can read: a signal's, or −1.
    package var code: Int32 { if case .signal(let number) = self { number } else { -1 } }

    package init(code: Int32) { self = code > 0 ? .signal(code) : .maximumTime }

    /// The exit status of a command that a signal has ended.
    fileprivate var status: Int32 { if case .signal(let number) = self { 128 + number } else { 1 } }

    fileprivate var text: String {
        switch self {
        case .maximumTime: "its time limit"
        case .signal(let number): Interruption.names[number] ?? "signal \(number)"
        }
    }
}

/// Receives the signals that ask a run to stop after its step, and watches its time.
///
/// A thread waits for the signals, which are blocked in all other threads. A library that installs handlers,
/// such as pocl's LLVM when it first compiles, therefore changes nothing.
package enum Interruption {
    fileprivate static let names = [
        SIGINT: "SIGINT", SIGTERM: "SIGTERM", SIGHUP: "SIGHUP", SIGUSR1: "SIGUSR1", SIGUSR2: "SIGUSR2",
    ]
    private static let processStart = ContinuousClock.now
    private static let ignored = Mutex<Set<Int32>>([])
    private static let deadline = Mutex<ContinuousClock.Instant?>(nil)
    private static let pending = Atomic<Int32>(0)
    /// Whether the process ends by itself after `reason` says so.
    private static let endsItself = Atomic(false)
    private static let early = Mutex<(@Sendable (String) -> Void)?>(nil)
    /// The last signal and when it came; mpirun sends a signal to a rank and to its group.
    private static let last = Mutex<(number: Int32, time: ContinuousClock.Instant)?>(nil)

    /// What has asked the run to stop, if anything.
    package static var reason: StopReason? {
        let number = pending.load(ordering: .relaxed)
        if number != 0 { return .signal(number) }
        return deadline.withLock { $0 }.map { .now >= $0 } == true ? .maximumTime : nil
    }

    /// The signals that ask a run to stop, without those that were ignored at the start.
    package static var watched: [Int32] {
        names.keys.filter { number in ignored.withLock { !$0.contains(number) } }
    }

    /// Notes which signals are ignored (nohup), and blocks these so that they stay so.
    ///
    /// Called first in `main`, before there are other threads.
    package static func noteIgnored() {
        _ = processStart
        for number in names.keys {
            var action = sigaction()
            sigaction(number, nil, &action)
            guard isIgnored(action) else { continue }
            ignored.withLock { _ = $0.insert(number) }
            change(SIG_BLOCK, [number])
        }
    }

    /// Starts the thread that waits for the signals; called before any other thread is started.
    ///
    /// Until `begin`, there is nothing to save, so SIGINT, SIGTERM and SIGHUP end the process.
    ///
    /// - Parameter early: called with what to say before such a signal ends the process.
    /// - Throws: `ThreadLimit`
    package static func watch(early: @escaping @Sendable (String) -> Void = { _ in }) throws {
        self.early.withLock { $0 = early }
        // The end of a pager or `head` that reads the output must not end the run.
        Foundation.signal(SIGPIPE, SIG_IGN)
        let set = change(SIG_BLOCK, watched)
        try SystemThread.start("signals", stackSize: 1 << 18) {
            var set = set
            var number: Int32 = 0
            while sigwait(&set, &number) == 0 { receive(number) }
        }
    }

    /// Notes that training begins, and may take `maximumTime` seconds since the process's start.
    package static func begin(maximumTime: Double?) {
        deadline.withLock { $0 = maximumTime.map { processStart + .seconds($0) } }
        endsItself.store(true, ordering: .relaxed)
    }

    /// Runs work that ends soon after `reason` says so, and then removes what it has begun.
    package static func removingUnfinished<Result>(_ body: () throws -> Result) rethrows -> Result {
        endsItself.store(true, ordering: .relaxed)
        defer { endsItself.store(false, ordering: .relaxed) }
        return try body()
    }

    private static func receive(_ number: Int32) {
        let isRepeated = last.withLock { last in
            defer { last = (number, .now) }
            return last.map { $0.number == number && .now - $0.time < .milliseconds(100) } ?? false
        }
        if isRepeated { return }
        // Terminals and schedulers may send the other signals twice.
        let isUrgent = number == SIGINT || number == SIGTERM
        let before = pending.load(ordering: .relaxed)
        let isSecond = isUrgent && (before == SIGINT || before == SIGTERM)
        let isEarly = !endsItself.load(ordering: .relaxed) && (isUrgent || number == SIGHUP)
        if isEarly {
            let stop = StoppedEarly(reason: .signal(number), during: "before the first step")
            early.withLock { $0 }?(stop.description)
        }
        if isSecond || isEarly { _exit(128 + number) }
        if isUrgent || before == 0 { pending.store(number, ordering: .relaxed) }
    }

    /// Changes the signals that the calling thread, and those that it starts, block.
    @discardableResult private static func change(_ how: Int32, _ numbers: [Int32]) -> sigset_t {
        var set = sigset_t()
        sigemptyset(&set)
        for number in numbers { sigaddset(&set, number) }
        pthread_sigmask(how, &set, nil)
        return set
    }

    private static func isIgnored(_ action: sigaction) -> Bool {
        unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self)
            == unsafeBitCast(SIG_IGN, to: Int.self)
    }
}

/// Ends a command that was asked to stop when it had nothing to save.
public struct StoppedEarly: Error, CustomStringConvertible {
    let reason: StopReason
    /// When it was stopped, such as "before the first step".
    let during: String

    /// - Parameter during: when it was stopped, such as "before the first step".
    package init(reason: StopReason, during: String) { (self.reason, self.during) = (reason, during) }

    public var status: Int32 { reason.status }
    public var description: String { "stopped by \(reason.text) \(during); nothing was lost" }
}

/// Ends a run that was asked to stop, after it has written a checkpoint.
public struct TrainingInterrupted: Error, CustomStringConvertible, Equatable {
    /// The exit status that means "stopped as asked, resume me": EX_TEMPFAIL of sysexits.h.
    public static let status: Int32 = 75

    public let reason: StopReason
    public let step: Int
    public let run: String

    package init(reason: StopReason, step: Int, run: String) {
        self.reason = reason
        self.step = step
        self.run = run
    }

    public var description: String { "stopped by \(reason.text) after step \(step)" }
}
