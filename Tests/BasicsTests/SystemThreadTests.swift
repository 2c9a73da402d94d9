@testable import Basics
import Foundation
import Synchronization
import Testing

@Suite(.serialized) struct SystemThreadTests {
    @Test func runsItsBody() throws {
        let done = DispatchSemaphore(value: 0)
        try SystemThread.start("test") { done.signal() }
        #expect(done.wait(timeout: .now() + .seconds(60)) == .success)
        try SystemThread.requireRoom(for: 3, "test")
    }

    @Test func joiningWaitsUntilTheBodyIsReleased() throws {
        final class Counter: Sendable {
            let value = Mutex(0)
            deinit { Self.ended.withLock { $0 += 1 } }
            static let ended = Mutex(0)
        }
        for _ in 0..<100 {
            var counter: Counter? = Counter()
            let thread = try SystemThread("test") { [counter] in counter?.value.withLock { $0 += 1 } }
            counter = nil
            thread.join()
        }
        #expect(Counter.ended.withLock { $0 } == 100)
    }

    /// No system has a stack of a pebibyte.
    @Test func aThreadThatCannotStartIsAnError() throws {
        let error = try #require(throws: ThreadLimit.self) {
            try SystemThread.start("test", stackSize: 1 << 50) {}
        }
        let text = "\(error)"
        #expect(text.contains("allows no thread for the test: Resource temporarily unavailable"), "\(text)")
        #expect(text.contains("ulimit -u"))
    }

    /// The stack that was refused decides, and not one that would have room.
    @Test func aStackWithoutRoomIsAMatterOfMemory() throws {
        let resource = __rlimit_resource_t(RLIMIT_AS.rawValue)
        var before = rlimit()
        getrlimit(resource, &before)
        // More than anything else needs.
        var limit = rlimit(rlim_cur: min(before.rlim_cur, 1 << 45), rlim_max: before.rlim_max)
        try #require(setrlimit(resource, &limit) == 0)
        defer { setrlimit(resource, &before) }
        let error = try #require(throws: ThreadLimit.self) {
            try SystemThread.start("test", stackSize: 1 << 46) {}
        }
        let text = "\(error)"
        let expected = "there is no memory for a thread of the test: this process's address space is limited"
        #expect(text.hasPrefix(expected), "\(text)")
    }

    /// The system gives the same code if memory is what is missing.
    @Test func aThreadWithoutMemory() {
        let text = "\(ThreadLimit(purpose: "test", code: 11, memoryLimit: "the memory is limited"))"
        #expect(text.hasPrefix("there is no memory for a thread of the test: the memory is limited; raise "))
        #expect(!text.contains("ulimit -u"), "\(text)")
    }
}
