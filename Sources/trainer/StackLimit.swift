import CProcess
import Foundation

/// Checks the limit on stacks (ulimit -s), and keeps the stacks of threads small if it is very high.
///
/// - Returns: what is wrong; nil if nothing is
func stackProblem() -> String? {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_STACK.rawValue), &limit)
    // Without a limit the C library gives threads its own size.
    guard limit.rlim_cur != .max else { return nil }
    let largest: rlim_t = 64 << 20
    if limit.rlim_cur > largest {
        // Each thread takes as much, here and in mpirun, and a library ends the process if it gets none.
        limit.rlim_cur = largest
        setrlimit(__rlimit_resource_t(RLIMIT_STACK.rawValue), &limit)
        _ = cprocess_set_thread_stacks(Int(largest))
    }
    // Measured: with 128 KiB mpirun crashes, and with 64 KiB this program.
    guard limit.rlim_cur < 512 << 10 else { return nil }
    return
        "the stack is limited to \(limit.rlim_cur >> 10) KiB here, and this program needs 512 KiB; raise the "
        + "limit by ulimit -s 8192"
}
