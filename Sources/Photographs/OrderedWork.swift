import Basics
import Foundation

/// Runs work on several threads and hands over the results in order.
///
/// At most `window` results wait, so memory does not grow if the receiver is slower.
final class OrderedWork<Result: Sendable>: Sendable {
    private final class State: @unchecked Sendable {
        let condition = NSCondition()
        var next: Int
        var delivered: Int
        var results: [Int: Swift.Result<Result, any Error>] = [:]
        var isStopped = false
        var threads: [SystemThread] = []
        var seconds = 0.0

        init(start: Int) { (next, delivered) = (start, start) }
    }

    private let state: State

    /// Starts the threads; fewer if the system allows no more.
    ///
    /// - Parameters:
    ///   - range: the items.
    ///   - makeWorker: called on each thread; returns the function that does the work of an item there.
    /// - Throws: `ThreadLimit` if the system allows no thread at all.
    init(
        _ range: Range<Int>, workers: Int, window: Int,
        makeWorker: @escaping @Sendable () throws -> (Int) throws -> Result
    ) throws(ThreadLimit) {
        let state = State(start: range.lowerBound)
        self.state = state
        @Sendable func work() {
            let worker = Swift.Result { try makeWorker() }
            while let item = Self.take(state, end: range.upperBound, window: window) {
                let result = Swift.Result { try worker.get()(item) }
                state.condition.withLock {
                    state.results[item] = result
                    state.condition.broadcast()
                }
            }
            let seconds = threadSeconds()
            state.condition.withLock { state.seconds += seconds }
        }
        for worker in 0..<workers {
            do { state.threads.append(try SystemThread("photographs", stackSize: 1 << 20, work)) } catch {
                if worker == 0 { throw error }
                break
            }
        }
    }

    private static func take(_ state: State, end: Int, window: Int) -> Int? {
        state.condition.withLock {
            while !state.isStopped, state.next < end, state.next >= state.delivered + window {
                state.condition.wait()
            }
            guard !state.isStopped, state.next < end else { return nil }
            defer { state.next += 1 }
            return state.next
        }
    }

    /// Waits for the result of the next item, in order.
    func next() throws -> Result {
        let result = state.condition.withLock {
            while true {
                if let result = state.results.removeValue(forKey: state.delivered) {
                    state.delivered += 1
                    state.condition.broadcast()
                    return result
                }
                state.condition.wait()
            }
        }
        return try result.get()
    }

    /// The CPU seconds that the threads which have ended used.
    var workerSeconds: Double { state.condition.withLock { state.seconds } }

    /// Ends the threads and waits for them.
    func stop() {
        state.condition.withLock {
            state.isStopped = true
            state.condition.broadcast()
        }
        for thread in state.threads { thread.join() }
        state.threads = []
    }
}
