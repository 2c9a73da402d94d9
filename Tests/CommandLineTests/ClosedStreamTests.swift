@testable import Basics
import TestSupport
import Testing

/// Starts the program with standard streams that it cannot write.
///
/// A trap would end it with status 132.
@Suite(.serialized) struct ClosedStreamTests {
    let place: Workplace

    init() throws { place = try Workplace.shared.get() }

    /// Runs a line of shell in which `$0` is the program, and returns its exit status.
    private func shell(_ line: String) throws -> Int32 {
        try Command.run(["/bin/sh", "-c", line, Command.path("trainer")], in: place.path).status
    }

    private static let failing = "\"$0\" predict --checkpoint run nothing.jpg"

    @Test(arguments: [
        "\(failing) 2>&-", "\(failing) <&- >&- 2>&-", "\(failing) >/dev/full 2>/dev/full",
        "\"$0\" evaluate --checkpoint nothing --data set >&- 2>&-",
    ]) func errorWithoutReader(line: String) throws { #expect(try shell(line) == 1) }

    /// A write to the pipe gives SIGPIPE (13), or an error if the process ignores this signal.
    @Test(arguments: [("", 141), ("trap '' PIPE; ", 1)]) func pipeWithoutReader(trap: String, status: Int32)
        throws
    {
        let line = "{ \(trap)sleep 0.2; \(Self.failing) 2>&1; echo $? >status; } | true; exit $(cat status)"
        #expect(try shell(line) == status)
    }

    @Test func mistakeWithoutReader() throws { #expect(try shell("\"$0\" trian 2>&-") == 2) }

    @Test func outputThatIsLost() throws { #expect(try shell("\"$0\" --help >/dev/full 2>&-") == 1) }

    /// The next files opened would take the numbers of the closed streams.
    @Test func trainingWithoutStreams() throws {
        let arguments = (Workplace.small + ["--out", "closed"]).joined(separator: " ")
        #expect(try shell("\"$0\" train \(arguments) <&- >&- 2>&-") == 0)
        let lines = try place.bytes("closed/metrics.jsonl").split(separator: UInt8(ascii: "\n"))
        #expect(lines.count > 2)
        for line in lines { #expect(throws: Never.self) { try JSON.parse(Array(line)) } }
    }
}
