import Foundation
import TestSupport
import Testing

/// The harness that starts programs in tests.
@Suite struct CommandTests {
    private func shell(_ line: String, limit: Duration = .seconds(60)) throws -> Command.Result {
        try Command.run(
            ["/bin/sh", "-c", line], in: "/", environment: ["GREETING": "hello"], limit: limit)
    }

    @Test func bothStreamsAreCollected() throws {
        let result = try shell("pwd; echo $GREETING; head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 3")
        #expect(result.status == 3 && result.output == "/\nhello\n" && result.errors.utf8.count == 1_000_000)
        #expect(try shell("kill -9 $$").status == 128 + SIGKILL)
    }

    @Test func aProgramEndsAtItsLimit() {
        #expect(throws: Command.TimedOut.self) { try shell("exec sleep 60", limit: .seconds(1)) }
    }
}
