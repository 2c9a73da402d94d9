import Foundation

/// The limit on this process's address space (ulimit -v).
public enum AddressSpace {
    /// What to do about a limit that is too low.
    public static let remedy = "raise the limit (ulimit -v), or remove it by `ulimit -v unlimited`"

    /// The limit in bytes; nil if there is none.
    public static var limit: Int? {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit)
        return Int(exactly: limit.rlim_cur)
    }

    /// The bytes that are taken.
    public static var used: Int {
        let text = SystemFile.text("/proc/self/statm")
        return (text.split(separator: " ").first.flatMap { Int($0) } ?? 0) * sysconf(Int32(_SC_PAGESIZE))
    }

    /// Says how low the limit is; nil if there is none.
    public static var limitText: String? {
        limit.map { "this process's address space is limited to \($0 >> 20) MiB" }
    }

    /// The bytes of a thread that a library starts: its stack, and what the C library sets aside for it.
    public static var perThread: Int {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_STACK.rawValue), &limit)
        return 64 << 20 + (Int(exactly: limit.rlim_cur) ?? 2 << 20)
    }

    /// Whether the limit leaves room for a thread's stack of this size.
    static func hasRoom(forStack size: Int) -> Bool {
        guard limit != nil else { return true }
        let place = mmap(nil, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let place, place != MAP_FAILED else { return false }
        munmap(place, size)
        return true
    }
}
