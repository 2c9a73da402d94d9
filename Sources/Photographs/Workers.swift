import Foundation
import Synchronization

/// Runs `body` for each of 0..<count on new threads and returns when all have finished.
///
/// Each worker takes the next item that no other has taken.
package func runWorkers(
    _ workers: Int, count: Int, _ body: @escaping @Sendable (_ worker: Int, _ item: Int) -> Void
) {
    final class Counter: Sendable { let next = Atomic<Int>(0) }
    let counter = Counter()
    let group = DispatchGroup()
    for worker in 0..<max(1, min(workers, count)) {
        group.enter()
        let thread = Thread {
            while true {
                let item = counter.next.add(1, ordering: .relaxed).oldValue
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

/// Returns the CPU seconds that the calling thread has used.
package func threadSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}
