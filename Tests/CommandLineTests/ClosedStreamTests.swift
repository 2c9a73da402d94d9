@testable import Basics
import Foundation
import Testing

/// The program started with standard streams that cannot be written. A trap would end it with status 132.
@Suite(.serialized) struct ClosedStreamTests {
    let place: Workplace

    init() throws { place = try Workplace.shared.get() }

    /// Runs a line of shell in which `$0` is the program, and returns its exit status.
    private func shell(_ line: String) throws -> Int32 {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = ["-c", line, Program.folder + "/trainer"]
        process.currentDirectoryURL = URL(fileURLWithPath: place.path)
        try process.run()
        process.waitUntilExit()
        return process.terminationReason == .exit
            ? process.terminationStatus : 128 + process.terminationStatus
    }

    @Test(arguments: [
        "\"$0\" predict --checkpoint run nothing.jpg 2>&-",
        "\"$0\" predict --checkpoint run nothing.jpg <&- >&- 2>&-",
        "\"$0\" predict --checkpoint run nothing.jpg >/dev/full 2>&1",
        "\"$0\" evaluate --checkpoint nothing --data set >&- 2>&-",
        "\"$0\" evaluate --checkpoint nothing --data set >/dev/full 2>/dev/full",
        // The reader is gone before the program writes.
        "{ sleep 0.2; \"$0\" predict --checkpoint run nothing.jpg 2>&1; echo $? >status; } | true; exit $(cat status)",
    ]) func anErrorThatNobodyCanRead(line: String) throws { #expect(try shell(line) == 1) }

    @Test func aMistakeThatNobodyCanRead() throws { #expect(try shell("\"$0\" trian 2>&-") == 2) }

    @Test func outputThatIsLost() throws { #expect(try shell("\"$0\" --help >/dev/full 2>&-") == 1) }

    /// The next files opened would take the numbers of the closed streams.
    @Test func trainingWithoutStreams() throws {
        let arguments = (["--data", "set", "--out", "closed"] + Workplace.small).joined(separator: " ")
        #expect(try shell("\"$0\" train \(arguments) <&- >&- 2>&-") == 0)
        let lines = try place.bytes("closed/metrics.jsonl").split(separator: UInt8(ascii: "\n"))
        #expect(lines.count > 2)
        for line in lines { #expect(throws: Never.self) { try JSON.parse(Array(line)) } }
    }
}
