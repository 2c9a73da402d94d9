import CProcess
import Foundation

/// Ends the program if stacks are limited to too little (ulimit -s).
///
/// Called first in `main`: with 16 KiB, Swift's first use of a generic type crashes.
func requireStack() {
    // Measured: with 128 KiB mpirun crashes, and with 64 KiB this program.
    cprocess_require_stack(512 << 10)
}

/// Keeps the stacks of threads small if the limit on stacks is very high.
///
/// Each thread takes as much, here and in mpirun, and a library ends the process if it gets none.
func limitThreadStacks() {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_STACK.rawValue), &limit)
    let largest: rlim_t = 64 << 20
    // Without a limit the C library gives threads its own size.
    guard limit.rlim_cur != .max, limit.rlim_cur > largest else { return }
    limit.rlim_cur = largest
    setrlimit(__rlimit_resource_t(RLIMIT_STACK.rawValue), &limit)
    _ = cprocess_set_thread_stacks(Int(largest))
}
