import Foundation
import Synchronization

/// Runs `body` for each of 0..<count on new threads and returns when all are done.
///
/// `body` gets the worker's number and the item's; each worker takes the next item that is free.
package func runWorkers(
    _ workers: Int, count: Int, _ body: @escaping @Sendable (_ worker: Int, _ item: Int) -> Void
) {
    let next = Atomic<Int>(0)
    let box = SharedCounter(next)
    let group = DispatchGroup()
    for worker in 0..<max(1, min(workers, count)) {
        group.enter()
        let thread = Thread {
            while true {
                let item = box.value.add(1, ordering: .relaxed).oldValue
                if item >= count { break }
                body(worker, item)
            }
            group.leave()
        }
        thread.stackSize = 1 << 20
        thread.start()
    }
    group.wait()
}

private final class SharedCounter: Sendable {
    let value: Atomic<Int>
    init(_ value: consuming Atomic<Int>) { self.value = value }
}

/// Returns the CPU seconds that the calling thread has used.
package func threadSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}
