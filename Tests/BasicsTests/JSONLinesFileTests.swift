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

    func text() throws -> String { String(decoding: try bytes(path), as: UTF8.self) }

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

    @Test func cutsBehindTheLastLineOfAStep() throws {
        let whole = start + line(1) + line(2) + #"{"event":"validate","step":2}"# + "\n" + line(3)
        for (step, kept) in [
            (0, start), (1, start + line(1)),
            (2, String(whole.dropLast(line(3).count))), (3, whole), (9, whole),
        ] {
            try write(Array(whole.utf8), path)
            #expect(try JSONLinesFile.truncate(path, afterStep: step) == kept.utf8.count)
            #expect(try text() == kept)
        }
    }

    @Test func unfinishedAndUnreadableLinesAtTheEndAreRemoved() throws {
        for rest in [#"{"event":"tr"#, "\0\0\0\0", "\0\0\n\0\n", "[1]\n", "{\"event\":\"no step\"}\n"] {
            try write(Array((start + line(1) + rest).utf8), path)
            try JSONLinesFile.truncate(path, afterStep: 1)
            #expect(try text() == start + line(1))
        }
    }

    @Test func damageBetweenGoodLinesIsNamed() throws {
        try write(Array((start + "rubbish\n" + line(1)).utf8), path)
        let error = #expect(throws: FileError.self) { try JSONLinesFile.truncate(path, afterStep: 1) }
        #expect(error?.description.contains("line 2 ") == true)
        #expect(try text() == start + "rubbish\n" + line(1))
    }

    @Test func anOpenLogContinuesBehindTheCut() throws {
        let log = try JSONLinesFile(path)
        for step in 1...3 { try log.append(["event": "train", "step": step]) }
        try JSONLinesFile.truncate(path, afterStep: 1)
        try log.append(["step": 5])
        #expect(try text() == line(1) + "{\"step\":5}\n")
    }

    @Test func cutsToASize() throws {
        try write(Array((start + line(1)).utf8), path)
        try JSONLinesFile.truncate(path, toSize: start.utf8.count)
        #expect(try text() == start)
        #expect(throws: FileError.self) { try JSONLinesFile.truncate(path, toSize: 1000) }
        #expect(throws: FileError.self) { try JSONLinesFile.truncate(path, toSize: -1) }
        #expect(try text() == start)
    }

    @Test func aFolderIsNoLog() { #expect(throws: FileError.self) { try JSONLinesFile(folder.path) } }
}
