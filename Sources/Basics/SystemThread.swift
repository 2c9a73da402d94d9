import Foundation

/// Says that the system refuses to start a thread.
public struct ThreadLimit: Error, CustomStringConvertible, Equatable {
    public let description: String

    /// - Parameter memoryLimit: the limit on memory if that leaves no room; the system's code is the same
    init(purpose: String, code: Int32, memoryLimit: String?) {
        if let limit = memoryLimit {
            description =
                "there is no memory for a thread of the \(purpose): \(limit); \(AddressSpace.remedy)"
        } else {
            description =
                "the system allows no thread for the \(purpose): \(String(cString: strerror(code))). Raise "
                + "the limit on processes and threads (ulimit -u, or the container's pids limit)."
        }
    }
}

/// A thread; unlike Foundation's, it is an error if the system allows no more.
public struct SystemThread: Sendable {
    private final class Body {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    private let id: pthread_t

    /// Starts a thread, which must be joined or detached once.
    ///
    /// - Parameters:
    ///   - purpose: what the thread does, for messages
    ///   - stackSize: bytes; the system's usual size if nil
    /// - Throws: `ThreadLimit`
    public init(
        _ purpose: String, stackSize: Int? = nil, _ body: @escaping @Sendable () -> Void
    ) throws(ThreadLimit) {
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        if let stackSize { pthread_attr_setstacksize(&attributes, stackSize) }
        let argument = Unmanaged.passRetained(Body(body))
        var thread = pthread_t()
        let code = pthread_create(
            &thread, &attributes,
            { argument in
                if let argument { Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run() }
                return nil
            }, argument.toOpaque())
        guard code == 0 else {
            argument.release()
            var size = 0
            pthread_attr_getstacksize(&attributes, &size)
            throw ThreadLimit(
                purpose: purpose, code: code,
                memoryLimit: AddressSpace.hasRoom(forStack: size) ? nil : AddressSpace.limitText)
        }
        id = thread
    }

    /// Waits until the thread has ended, and has released everything that its body used.
    public func join() { pthread_join(id, nil) }

    /// Starts a thread that ends with its body, and that nothing waits for; parameters as for `init`.
    public static func start(
        _ purpose: String, stackSize: Int? = nil, _ body: @escaping @Sendable () -> Void
    ) throws(ThreadLimit) {
        pthread_detach(try SystemThread(purpose, stackSize: stackSize, body).id)
    }

    /// Checks that the system allows this many more threads, by starting them for a moment.
    ///
    /// Libraries that cannot start a thread may end the process or wait forever.
    ///
    /// - Throws: `ThreadLimit`
    public static func requireRoom(for count: Int, _ purpose: String) throws(ThreadLimit) {
        let end = DispatchSemaphore(value: 0)
        var threads: [SystemThread] = []
        defer {
            for _ in threads { end.signal() }
            for thread in threads { thread.join() }
        }
        for _ in 0..<count {
            threads.append(try SystemThread(purpose, stackSize: 1 << 16) { end.wait() })
        }
    }
}
