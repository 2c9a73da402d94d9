@testable import Basics
import TestSupport
import Testing

@Suite struct JSONLinesFileTests {
    let folder: TemporaryFolder
    let path: String

    init() throws {
        folder = try TemporaryFolder()
        path = folder.file("metrics.jsonl")
    }

    func text() throws -> String { try folder.text("metrics.jsonl") }

    let start = #"{"event":"start","seed":1}"# + "\n"
    func line(_ step: Int) -> String { #"{"event":"train","step":\#(step)}"# + "\n" }

    @Test func addsALineAtOnceInTheOrderGiven() throws {
        let log = try JSONLinesFile(path)
        try log.append(["event": "train", "loss": Float(0.7), "a": JSON.null])
        #expect(try text() == #"{"event":"train","loss":0.7,"a":null}"# + "\n")
        try JSONLinesFile(path).append(["step": 3])
        try log.append([:])
        #expect(try text().hasSuffix("}\n{\"step\":3}\n{}\n"))
    }

    @Test func anOpenLogContinuesBehindTheCut() throws {
        let log = try JSONLinesFile(path)
        for step in 1...3 { try log.append(["event": "train", "step": step]) }
        try JSONLinesFile.truncate(path, toSize: line(1).utf8.count)
        try log.append(["step": 5])
        #expect(try text() == line(1) + "{\"step\":5}\n")
    }

    @Test func cutsToASize() throws {
        try folder.write(start + line(1), "metrics.jsonl")
        try JSONLinesFile.truncate(path, toSize: start.utf8.count)
        #expect(try text() == start)
        #expect(throws: FileError.self) { try JSONLinesFile.truncate(path, toSize: 1000) }
        #expect(throws: FileError.self) { try JSONLinesFile.truncate(path, toSize: -1) }
        #expect(try text() == start)
    }

    @Test func aFolderIsNoLog() { #expect(throws: FileError.self) { try JSONLinesFile(folder.path) } }
}
