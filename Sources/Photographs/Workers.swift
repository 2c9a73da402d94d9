import Basics
import Foundation
import Synchronization

/// Runs `body` for each of 0..<count on the calling thread and new ones, and returns when all have finished.
///
/// Each worker takes the next item that no other has taken. There are fewer workers if the system allows no
/// more threads.
package func runWorkers(
    _ workers: Int, count: Int, _ body: @escaping @Sendable (_ worker: Int, _ item: Int) -> Void
) {
    final class Counter: Sendable { let next = Atomic<Int>(0) }
    let counter = Counter()
    @Sendable func work(_ worker: Int) {
        while true {
            let item = counter.next.add(1, ordering: .relaxed).oldValue
            if item >= count { break }
            body(worker, item)
        }
    }
    var threads: [SystemThread] = []
    for worker in 1..<max(1, min(workers, count)) {
        guard let thread = try? SystemThread("photographs", stackSize: 1 << 20, { work(worker) }) else {
            break
        }
        threads.append(thread)
    }
    work(0)
    for thread in threads { thread.join() }
}

/// Returns the CPU seconds that the calling thread has used.
package func threadSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}
