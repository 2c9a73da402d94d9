import Basics
import Dispatch
import Testing

@Suite struct SystemThreadTests {
    @Test func runsItsBody() throws {
        let done = DispatchSemaphore(value: 0)
        try SystemThread.start("test") { done.signal() }
        #expect(done.wait(timeout: .now() + .seconds(60)) == .success)
        try SystemThread.requireRoom(for: 3, "test")
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
}
