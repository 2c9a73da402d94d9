import Basics
import Collectives
import Compute
import Foundation

/// Starts each of a butterfly's buckets when the device has computed it, and does the work.
///
/// The work runs on a separate thread or on the caller's.
package final class ExchangeDriver: @unchecked Sendable {
    /// Used by one thread only: the driver's own, or the caller's.
    private let butterfly: Butterfly
    private let isThreaded: Bool
    /// Guards all properties below; no thread holds it during a piece of work.
    private let condition = NSCondition()
    /// Buckets that the device has not computed yet, in its order.
    private var queued: [(bucket: Int, event: Event, prepare: @Sendable () -> Void)] = []
    /// Buckets that are enqueued or under way.
    private var pending: Set<Int> = []
    private var failure: (any Error)?
    private var isStopping = false
    private var isStopped = false
    private var underWaySince: Double?
    private var underWay = 0.0
    private var inlineWork = 0.0

    package init(_ butterfly: Butterfly, threaded: Bool) {
        self.butterfly = butterfly
        isThreaded = threaded
        isStopped = !threaded
        butterfly.done = { [weak self] bucket in
            guard let self else { return }
            condition.withLock { _ = pending.remove(bucket) }
        }
        if threaded {
            do {
                try SystemThread.start("gradient exchange") { [self] in
                    run()
                    condition.withLock { isStopped = true }
                }
            } catch { condition.withLock { (failure, isStopped) = (error, true) } }
        }
    }

    /// Ends the separate thread.
    package func stop() {
        condition.withLock {
            isStopping = true
            condition.broadcast()
        }
        while condition.withLock({ !isStopped }) { usleep(1000) }
    }

    /// Seconds in which a bucket was under way, and those that `drain` worked on the caller's thread.
    package var seconds: (underWay: Double, work: Double) { condition.withLock { (underWay, inlineWork) } }

    /// Exchanges a bucket once `event` is complete and `prepare` was called.
    package func queue(_ bucket: Int, _ event: Event, prepare: @escaping @Sendable () -> Void) {
        condition.withLock {
            queued.append((bucket, event, prepare))
            pending.insert(bucket)
            condition.signal()
        }
    }

    /// Waits for each enqueued bucket in turn and does all possible work, unless a separate thread does it.
    func drain() throws {
        guard !isThreaded else { return }
        while let next = condition.withLock({ queued.first }) {
            try next.event.wait()
            let start = Clock.seconds
            while try pump() {}
            condition.withLock { inlineWork += Clock.seconds - start }
        }
    }

    /// Waits for a bucket's all-reduce.
    package func wait(_ bucket: Int) throws {
        var backoff = Backoff()
        while true {
            let isPending = try condition.withLock {
                if let failure { throw failure }
                return pending.contains(bucket)
            }
            guard isPending else { return }
            backoff.pause(unless: try !isThreaded && pump())
        }
    }

    /// Starts the buckets that the device has computed, and does one piece of work.
    ///
    /// - Returns: whether anything was done
    private func pump() throws -> Bool {
        var worked = false
        while let next = condition.withLock({ queued.first }), next.event.isComplete {
            try next.event.wait()
            next.prepare()
            condition.withLock {
                queued.removeFirst()
                if underWaySince == nil { underWaySince = Clock.seconds }
            }
            try butterfly.start(next.bucket)
            worked = true
        }
        if try butterfly.progress() { worked = true }
        if butterfly.isIdle {
            condition.withLock {
                if let since = underWaySince { underWay += Clock.seconds - since }
                underWaySince = nil
            }
        }
        return worked
    }

    private func run() {
        var backoff = Backoff()
        while true {
            let isEnd = condition.withLock { () -> Bool in
                while !isStopping, pending.isEmpty { condition.wait() }
                return isStopping
            }
            if isEnd { return }
            do { backoff.pause(unless: try pump()) } catch {
                condition.withLock { failure = error }
                return
            }
        }
    }
}
