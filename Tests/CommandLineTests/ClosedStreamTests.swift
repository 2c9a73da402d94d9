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
        let log = try place.text("closed/log.txt")
        #expect(log.contains("the standard output was closed") && log.contains("epoch 2:"), "\(log)")
    }

    @Test(arguments: [
        (">/dev/full 2>/dev/full", "No space left on device"), ("| head -n 1", "Broken pipe"),
    ]) func trainingWithoutAConsole(redirection: String, reason: String) throws {
        let run = redirection.hasPrefix("|") ? "headed" : "stream-lost"
        let arguments = (Workplace.small + ["--out", run, "--epochs", "20"]).joined(separator: " ")
        let line =
            "{ \"$0\" train \(arguments); echo $? >\(run)-status; } \(redirection); exit $(cat \(run)-status)"
        #expect(try shell(line) == 0)
        let log = try place.text(run + "/log.txt")
        #expect(log.contains("cannot be written (\(reason)): the run continues"), "\(log)")
        #expect(log.contains("epoch 20:") && log.contains("next: trainer evaluate"), "\(log)")
    }

    /// The pipe has room for 64 KiB.
    @Test(.timeLimit(.minutes(3))) func trainingWithoutAReader() throws {
        let arguments = (Workplace.small + ["--out", "unread", "--epochs", "600"]).joined(separator: " ")
        let line =
            "{ \"$0\" train \(arguments); echo $? >unread-status; } "
            + "| { while [ ! -s unread-status ]; do sleep 0.1; done; }; exit $(cat unread-status)"
        #expect(try shell(line) == 0)
        #expect(try place.text("unread/log.txt").contains("the console is not read"))
    }

    @Test func logHasTheConsolesText() throws {
        let result = try place.train("--out logged")
        #expect(result.output == (try place.text("logged/log.txt")), "\(result.output)")
        let resumed = try place.succeed("--resume logged")
        #expect(try place.text("logged/log.txt") == result.output + resumed.output)
    }
}
