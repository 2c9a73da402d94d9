import Foundation
import TestSupport
import Testing

/// Whole runs of several processes under mpirun.
@Suite(.serialized) struct MPITests {
    let place: Workplace
    static let options =
        ["train"] + Workplace.small + [
            "--model", "16,M,16,F32", "--batch", "16",
            "--micro-batches", "8", "--dropout", "0.3",
            "--augment", "standard", "--epochs", "2",
        ]

    init() throws { place = try Workplace() }

    private func train(_ ranks: Int, _ name: String, _ more: [String] = []) throws -> Command.Result {
        try place.mpirun(ranks, MPITests.options + ["--out", name] + more)
    }

    @Test(.timeLimit(.minutes(5))) func sameBitsOnAnyNumberOfRanks() throws {
        let alone = try train(1, "alone")
        try #require(alone.status == 0, "\(alone.errors)")
        let cases: [(Int, [String])] = [
            (2, []), (3, ["--exchange", "synchronous"]), (4, ["--transport", "onesided"]),
            (8, ["--transport", "sendrecv"]), (4, ["--node-size", "2", "--verify-ranks"]),
            (4, ["--node-size", "2", "--transport", "onesided", "--exchange", "synchronous"]),
            (2, ["--transport", "sendrecv", "--exchange", "synchronous"]), (2, ["--transport", "onesided"]),
            (6, ["--node-size", "3", "--transport", "sendrecv"]),
        ]
        for (index, (ranks, options)) in cases.enumerated() {
            let result = try train(ranks, "run-\(index)", options)
            try #require(result.status == 0, "\(ranks) ranks, \(options): \(result.errors)")
            try place.expectSameModel("run-\(index)", "alone", "\(ranks) ranks, \(options)")
            #expect(
                try accuracies("run-\(index)") == accuracies("alone"),
                "validation is to be exact on \(ranks) ranks")
        }
    }

    private func ranks(of launcher: Int32) throws -> [Int32] {
        let children = try String(
            contentsOfFile: "/proc/\(launcher)/task/\(launcher)/children", encoding: .utf8)
        return children.split(separator: " ").compactMap { Int32($0) }
    }

    /// The lines about validation, without what a clock has measured.
    private func accuracies(_ run: String) throws -> [Substring] {
        try place.untimedLog(run).split(separator: "\n").filter { $0.contains(#""event":"validate""#) }
    }

    @Test func resumesOnAnotherNumberOfRanks() throws {
        try #require(train(1, "alone", ["--checkpoint-every", "1", "--keep", "9"]).status == 0)
        try #require(train(4, "run", ["--checkpoint-every", "1", "--keep", "9"]).status == 0)
        for step in [4, 5, 6] { try place.remove("run/checkpoints/step-\(step)") }
        let resumed = try place.mpirun(2, ["train", "--resume", "run"])
        #expect(
            resumed.status == 0 && resumed.output.contains("resuming after step 3"),
            "\(resumed.output) \(resumed.errors)")
        try place.expectSameModel("run", "alone")
    }

    @Test(.timeLimit(.minutes(2))) func aStoppedRankEndsTheJob() throws {
        let result = try place.mpirun(
            2, MPITests.options + ["--out", "run", "--epochs", "100000", "--peer-timeout", "2"]
        ) { launcher in
            place.await("run/checkpoints/step-3")
            // Either one will do; the other must notice.
            if let rank = try ranks(of: launcher).last { kill(rank, SIGSTOP) }
        }
        #expect(result.status != 0)
        #expect(
            result.errors.contains(/rank [01]: error: no sign of life from rank [01] for 2 seconds/),
            "\(result.errors)")
    }

    @Test func mistakesAreNamedByOneRank() throws {
        let few = try train(4, "run", ["--micro-batches", "2"])
        #expect(
            few.status != 0
                && few.errors.contains(
                    "2 micro-batches on 4 ranks: expected a power of two, at least one micro-batch a rank")
                && few.errors.contains("more --micro-batches"),
            "\(few.errors)")
        let node = try train(3, "run", ["--node-size", "2"])
        #expect(
            node.status != 0 && node.errors.contains("nodes of 2 among 3 ranks")
                && node.errors.contains("--node-size"), "\(node.errors)")
        let missing = try train(2, "run", ["--data", "nowhere"])
        #expect(missing.status != 0 && missing.errors.contains("nowhere"), "\(missing.errors)")
        #expect(!place.exists("run"))
        let alone = try place.mpirun(2, ["plan"])
        #expect(alone.status == 2 && alone.errors.contains("start it without mpirun"), "\(alone.errors)")
    }

    /// An error of one rank must end all of them, whatever they wait for.
    @Test(.timeLimit(.minutes(2))) func anErrorOfOneRankEndsTheJob() throws {
        // Only rank 0 creates the folder.
        try place.makeFolder("there")
        for transport in ["shared", "onesided", "sendrecv"] {
            let there = try train(2, "there", ["--transport", transport])
            #expect(
                there.status != 0 && there.errors.contains("there: this exists already"),
                "\(transport): \(there.errors)")
        }
        // A photograph of one micro-batch, and so of one rank.
        let name = try #require(try place.names("set/train/ring").first)
        try place.write("no photograph", "set/train/ring/" + name)
        let bad = try train(2, "run", ["--max-bad", "0"])
        #expect(bad.status != 0 && bad.errors.contains("more than --max-bad 0 allows"), "\(bad.errors)")
        let listed = try train(2, "listed", ["--max-bad", "3"])
        #expect(listed.status == 0, "\(listed.errors)")
        #expect(try place.text("listed/bad-files.txt").split(separator: "\n").count == 1)
        #expect(try place.text("listed/bad-files.txt").contains(name))
    }

    @Test func aGoodRunSaysNothingOnItsErrors() throws {
        let result = try train(3, "run")
        #expect(result.status == 0 && result.errors == "", "\(result.errors)")
    }

    @Test func aMissingLibraryIsNamed() throws {
        // Started as a rank, with a libmpi that is none.
        for name in ["libmpi.so.40", "libmpi.so"] { try place.write("none", "broken/" + name) }
        let options = MPITests.options + ["--out", "run"]
        let result = try place.run(
            options, environment: ["OMPI_COMM_WORLD_SIZE": "2", "LD_LIBRARY_PATH": "broken"])
        #expect(
            result.status == 1 && result.errors.contains("Open MPI cannot be used here"), "\(result.errors)")
        #expect(result.errors.contains("libmpi.so") && !place.exists("run"), "\(result.errors)")
        // Alone it is never opened.
        let alone = try place.run(options, environment: ["LD_LIBRARY_PATH": "broken"])
        #expect(alone.status == 0, "\(alone.errors)")
    }

    @Test func aSignalStopsAllRanksAtOneStep() throws {
        let options = MPITests.options + ["--epochs", "400", "--out"]
        let result = try place.mpirun(3, options + ["run"]) { launcher in
            place.await("run/checkpoints/step-3")
            // Only one rank gets the signal.
            if let rank = try ranks(of: launcher).last { kill(rank, SIGTERM) }
        }
        #expect(result.status != 0)
        let step = try #require(
            result.output.firstMatch(
                of: /stopped by SIGTERM after step (\d+); resume with: trainer --resume run/)?.1,
            "\(result.errors)")
        #expect(place.exists("run/checkpoints/step-\(step)/state.json"))
    }

    @Test func ranksTraceWhatTheyDo() throws {
        let result = try train(2, "run", ["--trace", "trace.json"])
        try #require(result.status == 0, "\(result.errors)")
        let events = try #require(
            try JSONSerialization.jsonObject(with: Data(place.bytes("trace.json"))) as? [[String: Any]])
        for rank in 0..<2 {
            let names = Set(events.filter { $0["pid"] as? Int == rank }.compactMap { $0["name"] as? String })
            for name in [
                "1 conv 3→16 forward", "update", "posted, bucket 1", "send, bucket 1", "add, bucket 1",
                "wait, bucket 1", "step 1",
            ] { #expect(names.contains(name), "rank \(rank) has \(names.sorted())") }
        }
        let spans = events.compactMap { $0["ts"] as? Double }
        // One clock for host and device: the whole run took seconds.
        #expect((spans.max() ?? 0) - (spans.min() ?? 0) < 60e6)
    }

    @Test func ranksShareTheCores() throws {
        let result = try place.mpirun(2, ["devices", "--ranks", "--device", "cpu"])
        #expect(result.status == 0, "\(result.errors)")
        let units = max(1, ProcessInfo.processInfo.activeProcessorCount / 2)
        let lines = result.output.split(separator: "\n")
        #expect(
            lines.count == 2 && lines.allSatisfy { $0.contains(" \(units) compute unit") }, "\(result.output)"
        )
    }

    @Test func exchangeIsTimedAndItsBitsChecked() throws {
        let result = try place.mpirun(3, ["bench", "exchange", "--sizes", "4,100K", "--steps", "2"])
        #expect(result.status == 0, "\(result.errors)")
        let butterflies = result.output.split(separator: "\n").filter { $0.contains("butterfly") }
        #expect(
            butterflies.count == 6 && !butterflies.contains { $0.contains("other bits") }, "\(result.output)")
    }
}
