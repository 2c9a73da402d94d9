import Foundation
import TestSupport
import Testing

/// Whole runs of several processes under mpirun.
@Suite(.serialized) struct MPITests {
    let place: Workplace
    static let options =
        "train " + Workplace.small.joined(separator: " ")
        + " --model 16,M,16,F32 --batch 16 --micro-batches 8 --dropout 0.3 --augment standard"

    init() throws { place = try Workplace() }

    private func train(_ ranks: Int, _ line: String) throws -> Command.Result {
        try place.mpirun(ranks, "\(MPITests.options) \(line)")
    }

    /// Trains on several ranks, which must fail with a message that contains all parts.
    private func fail(
        _ ranks: Int, _ line: String, _ message: String..., sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let result = try train(ranks, line)
        #expect(result.status != 0, "\(line)", sourceLocation: sourceLocation)
        for part in message {
            #expect(result.errors.contains(part), "\(result.errors)", sourceLocation: sourceLocation)
        }
    }

    @Test(.timeLimit(.minutes(5))) func sameBitsOnAnyNumberOfRanks() throws {
        let alone = try train(1, "--out alone")
        try #require(alone.status == 0, "\(alone.errors)")
        let cases = [
            (2, ""), (3, "--exchange synchronous"), (4, "--transport onesided"), (8, "--transport sendrecv"),
            (4, "--node-size 2 --verify-ranks"),
            (4, "--node-size 2 --transport onesided --exchange synchronous"),
            (2, "--transport sendrecv --exchange synchronous"), (2, "--transport onesided"),
            (6, "--node-size 3 --transport sendrecv"),
        ]
        for (index, (ranks, options)) in cases.enumerated() {
            let run = "run-\(index)"
            let result = try train(ranks, "--out \(run) \(options)")
            try #require(result.status == 0, "\(ranks) ranks, \(options): \(result.errors)")
            try place.expectSameModel(run, "alone", "\(ranks) ranks, \(options)")
            #expect(try accuracies(run) == accuracies("alone"), "validation is exact on \(ranks) ranks")
        }
    }

    /// The mini-batches of four divide unevenly among three ranks, and each rank meets a bad file.
    @Test func evaluatesAndPredictsAsOneProcess() throws {
        try place.train("--out model")
        for name in try place.names("set/val") { try place.write("no picture", "set/val/\(name)/bad.jpg") }
        for ranks in [1, 3] {
            let results = "--json \(ranks).json --csv \(ranks).csv"
            let evaluated = try place.mpirun(
                ranks,
                "evaluate --checkpoint model --data set/val --batch 4 --dense --mirror --device cpu "
                    + "--save-posteriors \(ranks).npy \(results)")
            #expect(evaluated.status == 1, "\(evaluated)")
            #expect(evaluated.errors.contains("3 of 15 photographs could not be used"), "\(evaluated.errors)")
            #expect(evaluated.output.matches(of: #/measuring/#).count == 1, "\(evaluated.output)")
            _ = try place.mpirun(
                ranks, "predict --checkpoint model set/val --device cpu --csv \(ranks).predicted.csv")
        }
        for file in ["npy", "classes.csv", "confusion.csv", "predicted.csv"] {
            #expect(try place.bytes("1.\(file)") == place.bytes("3.\(file)"), "\(file)")
        }
        #expect(try place.text("1.confusion.csv").split(separator: "\n").count == 4)
    }

    private static let hybridOptions = "--model 16,M,F256,F48 --augment paper --learning-rate 0.01"

    /// Whole runs with split layers, also validation, checkpoints and the initialisation that measures
    /// photographs.
    @Test(.timeLimit(.minutes(5))) func hybridRunsHaveTheSameBits() throws {
        let options = [
            "", "--ema 0.9 --clip-norm 1 --optimizer adamw --learning-rate 0.002", "--learning-rate auto",
        ]
        let cases = [
            (2, "--parallelism data --exchange synchronous", 0), (3, "--parallelism hybrid", 0),
            (4, "--parallelism hybrid --transport onesided --verify-ranks", 0),
            (8, "--parallelism hybrid --transport sendrecv --exchange synchronous", 0),
            (4, "--parallelism hybrid --node-size 2", 0), (2, "--parallelism hybrid", 1),
            (3, "--parallelism hybrid", 2),
        ]
        var alone: Set<Int> = []
        for (index, (ranks, line, number)) in cases.enumerated() {
            let set = "\(MPITests.hybridOptions) \(options[number])"
            if alone.insert(number).inserted {
                let result = try train(1, "--out alone-\(number) \(set)")
                try #require(result.status == 0, "\(result.errors)")
            }
            let result = try train(ranks, "--out run-\(index) \(set) \(line)")
            try #require(result.status == 0, "\(ranks) ranks, \(line): \(result.errors)")
            #expect(result.output.contains("split over the ranks: fc") == line.contains("hybrid"))
            try place.expectSameModel("run-\(index)", "alone-\(number)", "\(ranks) ranks, \(set) \(line)")
            for file in ["model", "optimizer"] {
                let path = "checkpoints/last/\(file).safetensors"
                #expect(
                    try place.bytes("run-\(index)/\(path)") == place.bytes("alone-\(number)/\(path)"),
                    "\(file) of \(ranks) ranks, \(set) \(line)")
            }
            #expect(try accuracies("run-\(index)") == accuracies("alone-\(number)"))
        }
    }

    @Test(
        .timeLimit(.minutes(5)),
        arguments: [
            (4, "hybrid", 3, "hybrid"), (2, "data", 8, "hybrid"), (3, "hybrid", 1, "data"),
        ]) func parallelismMayChangeWhenARunIsResumed(ranks: Int, first: String, then: Int, second: String)
        throws
    {
        let line = "\(MPITests.hybridOptions) --checkpoint-every 1 --keep 9"
        for (ranks, run) in [(1, "alone"), (ranks, "run")] {
            let result = try train(ranks, "--out \(run) \(line) --parallelism \(first)")
            try #require(result.status == 0, "\(result.errors)")
        }
        for step in [4, 5, 6] { try place.remove("run/checkpoints/step-\(step)") }
        let resumed = try place.mpirun(then, "train --resume run --parallelism \(second)")
        #expect(resumed.status == 0 && resumed.output.contains("resuming after step 3"), "\(resumed)")
        try place.expectSameModel("run", "alone")
        let optimizer = "checkpoints/last/optimizer.safetensors"
        #expect(try place.bytes("run/" + optimizer) == place.bytes("alone/" + optimizer))
    }

    private func ranks(of launcher: Int32) throws -> [Int32] {
        let children = try String(
            contentsOfFile: "/proc/\(launcher)/task/\(launcher)/children", encoding: .utf8)
        return children.split(separator: " ").compactMap { Int32($0) }
    }

    /// The lines about validation, without what a clock has measured.
    private func accuracies(_ run: String) throws -> [String] {
        try place.untimedLog(run).split(separator: "\n").filter { $0.contains(#""event":"validate""#) }
            .map { String($0) }
    }

    @Test(arguments: ["sgd", "adamw --learning-rate 0.003"])
    func resumesOnAnotherNumberOfRanks(optimizer: String) throws {
        for (ranks, run) in [(1, "alone"), (4, "run")] {
            let line = "--out \(run) --checkpoint-every 1 --keep 9 --optimizer \(optimizer)"
            try #require(train(ranks, line).status == 0)
        }
        for step in [4, 5, 6] { try place.remove("run/checkpoints/step-\(step)") }
        let resumed = try place.mpirun(2, "train --resume run")
        #expect(resumed.status == 0 && resumed.output.contains("resuming after step 3"), "\(resumed)")
        try place.expectSameModel("run", "alone")
        let optimizer = "checkpoints/last/optimizer.safetensors"
        #expect(try place.bytes("run/" + optimizer) == place.bytes("alone/" + optimizer))
    }

    @Test(.timeLimit(.minutes(2))) func aStoppedRankEndsTheJob() throws {
        let line = "\(MPITests.options) --out run --epochs 100000 --peer-timeout 2"
        let result = try place.mpirun(2, line) { launcher in
            place.await("run/checkpoints/step-3")
            // Either one will do; the other must notice.
            if let rank = try ranks(of: launcher).last { kill(rank, SIGSTOP) }
        }
        #expect(result.status == 76)
        let message = /rank [01]: error: no sign of life from rank [01] for 2 seconds/
        #expect(result.errors.contains(message), "\(result.errors)")
    }

    @Test func mistakesAreNamedByOneRank() throws {
        let few = "2 micro-batches on 4 ranks: expected a power of two, at least one micro-batch a rank"
        try fail(4, "--out run --micro-batches 2", few, "more --micro-batches")
        try fail(3, "--out run --node-size 2", "nodes of 2 among 3 ranks", "--node-size")
        try fail(2, "--out run --data nowhere", "nowhere")
        #expect(!place.exists("run"))
        let alone = try place.mpirun(2, "plan")
        #expect(alone.status == 2 && alone.errors.contains("start it without mpirun"), "\(alone.errors)")
    }

    /// An error of one rank must end all of them, whatever they wait for.
    @Test(.timeLimit(.minutes(2))) func anErrorOfOneRankEndsTheJob() throws {
        // Only rank 0 creates the folder.
        try place.makeFolder("there")
        for transport in ["shared", "onesided", "sendrecv"] {
            try fail(2, "--out there --transport \(transport)", "there: this exists already")
        }
        // A photograph of one micro-batch, and so of one rank.
        let name = try #require(try place.names("set/train/ring").first)
        try place.write("no photograph", "set/train/ring/" + name)
        try fail(2, "--out run --max-bad 0", "more than the allowed 0")
        let listed = try train(2, "--out listed --max-bad 3")
        #expect(listed.status == 0, "\(listed.errors)")
        #expect(try place.text("listed/bad-files.txt").split(separator: "\n").count == 1)
        #expect(try place.text("listed/bad-files.txt").contains(name))
    }

    @Test func aGoodRunSaysNothingOnItsErrors() throws {
        let result = try train(3, "--out run")
        #expect(result.status == 0 && result.errors == "", "\(result.errors)")
    }

    @Test func aMissingLibraryIsNamed() throws {
        // Started as a rank, with a libmpi that is none.
        for name in ["libmpi.so.40", "libmpi.so"] { try place.write("none", "broken/" + name) }
        let options = MPITests.options + " --out run"
        try place.expect(
            run(
                options, 1, "Open MPI cannot be used here", "libmpi.so",
                "install openmpi-bin and libopenmpi-dev",
                environment: ["OMPI_COMM_WORLD_SIZE": "2", "LD_LIBRARY_PATH": "broken"]))
        #expect(!place.exists("run"))
        // A single process does not open it.
        try place.succeed(options, environment: ["LD_LIBRARY_PATH": "broken"])
    }

    @Test func aSignalStopsAllRanksAtOneStep() throws {
        let result = try place.mpirun(3, MPITests.options + " --epochs 400 --out run") { launcher in
            place.await("run/checkpoints/step-3")
            // Only one rank gets the signal.
            if let rank = try ranks(of: launcher).last { kill(rank, SIGUSR2) }
        }
        #expect(result.status == 75, "mpirun passes the ranks' status on")
        let message = /stopped by SIGUSR2 after step (\d+); resume with: mpirun -n 3 .*trainer --resume run/
        let step = try #require(result.output.firstMatch(of: message)?.1, "\(result.errors)")
        #expect(place.exists("run/checkpoints/step-\(step)/state.json"))
    }

    @Test func ranksTraceWhatTheyDo() throws {
        let result = try train(2, "--out run --trace trace.json")
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
        let result = try place.mpirun(2, "devices --ranks --device cpu")
        #expect(result.status == 0, "\(result.errors)")
        let units = max(1, ProcessInfo.processInfo.activeProcessorCount / 2)
        let lines = result.output.split(separator: "\n")
        #expect(lines.count == 2, "\(result.output)")
        #expect(lines.allSatisfy { $0.contains(" \(units) compute unit") }, "\(result.output)")
    }

    @Test(.timeLimit(.minutes(3))) func scalingIsMeasuredBesideItsPrediction() throws {
        let result = try place.mpirun(
            1,
            "bench scaling --ranks 1,3 --steps 2 --rounds 1 --model 8,M,F16 --image-size 8 --batch 8 "
                + "--stand-in 0.002 --json scaling.json --svg scaling.svg")
        #expect(result.status == 0, "\(result.errors)")
        let json = try JSONSerialization.jsonObject(with: Data(place.bytes("scaling.json"))) as? [String: Any]
        let rows = try #require(json?["rows"] as? [[String: Any]])
        let names = rows.map { "\($0["device"] ?? ""), \($0["method"] ?? ""), \($0["ranks"] ?? "")" }
        #expect(
            names == [
                "training, one process, 1", "training, lazy, 3", "training, synchronous, 3",
                "training, hybrid, 3", "training, hybrid, synchronous, 3", "sleeping, lazy, 3",
                "sleeping, synchronous, 3", "sleeping, hybrid, 3", "sleeping, hybrid, synchronous, 3",
            ])
        #expect(rows.allSatisfy { $0["seconds"] as? Double ?? 0 > 0 })
        #expect(rows.dropFirst().allSatisfy { $0["predicted_seconds"] as? Double ?? 0 > 0 })
        let svg = try place.text("scaling.svg")
        for text in ["largest error, training: ", "largest error, sleeping: ", ">hybrid, synchronous<"] {
            #expect(svg.contains(text), "\(text) in \(svg)")
        }
        #expect(
            svg.contains("oversubscribed") == (ProcessInfo.processInfo.activeProcessorCount < 3), "\(svg)")
        let missing = try place.mpirun(1, "bench scaling --ranks 2 --launcher no-such-launcher")
        #expect(missing.status == 1 && missing.errors.contains("install openmpi-bin"), "\(missing.errors)")
    }

    /// A machine that is measured on the spot predicts times on a tiny network.
    @Test(.timeLimit(.minutes(3))) func thisMachineIsMeasuredAndSimulated() throws {
        let result = try place.mpirun(
            1,
            "simulate --machine this --model 8,M,F16 --image-size 8 --classes 3 --devices 4 --images 8 "
                + "--batch 8,32 --save-machine this.yaml --json this.json")
        #expect(result.status == 0, "\(result.errors)")
        let json = try JSONSerialization.jsonObject(with: Data(place.bytes("this.json"))) as? [String: Any]
        let steps = try #require(json?["steps"] as? [[String: Any]])
        #expect(steps.compactMap { $0["devices"] as? Int } == [1, 2, 4])
        let seconds = steps.flatMap { step in
            ["synchronous", "lazy", "hybrid"].compactMap { step[$0] as? Double }
        }
        // A tiny step takes less than a second anywhere. JSON has no number that is not finite.
        #expect(seconds.count == 9 && seconds.allSatisfy { $0 > 0 && $0 < 1 }, "\(seconds)")
        let speedUps = try #require(json?["speed_ups"] as? [[String: Any]])
        let points = speedUps.compactMap { $0["points"] as? [[String: Any]] }.joined()
        #expect(points.count == 6 && points.allSatisfy { $0["speed_up"] as? Double ?? 0 > 0 }, "\(speedUps)")
        let machine = try place.text("this.yaml")
        for name in ["gflops", "memory-bandwidth", "memory", "port-bandwidth"] {
            let line = machine.split(separator: "\n").first { $0.hasPrefix(name + ": ") } ?? ""
            let number = line.split(separator: " ").dropFirst().first.flatMap { Double($0) } ?? 0
            #expect(number > 0 && number.isFinite, "\(machine)")
        }
    }

    @Test(.timeLimit(.minutes(3))) func timeToAccuracyIsMeasuredAndExtended() throws {
        let options =
            "bench time-to-accuracy --data set --model 16,M,F16 --image-size 16 --batch 8 --epochs 4"
        let result = try place.mpirun(1, options + " --accuracy 0.5 --json time.json --svg time.svg")
        #expect(result.status == 0, "\(result.errors)")
        let json = try JSONSerialization.jsonObject(with: Data(place.bytes("time.json"))) as? [String: Any]
        let measured = try #require(json?["measured"] as? [[String: Any]])
        let extended = try #require(json?["extended"] as? [[String: Any]])
        #expect(measured.compactMap { $0["devices"] as? Int } == [1, 2])
        #expect(extended.compactMap { $0["devices"] as? Int } == [1, 2, 4, 8, 16, 32, 64])
        // One device takes the measured time, and others less.
        #expect(extended[0]["seconds"] as? Double == measured[0]["seconds"] as? Double)
        let times = extended.compactMap { $0["seconds"] as? Double }
        #expect(times == times.sorted().reversed())
        let never = try place.mpirun(1, options + " --accuracy 1 --epochs 1 --ranks 1")
        #expect(never.status == 1 && never.errors.contains("give more --epochs"), "\(never.errors)")
    }

    @Test func exchangeIsTimedAndItsBitsChecked() throws {
        let result = try place.mpirun(3, "bench exchange --sizes 4,100K --steps 2")
        #expect(result.status == 0, "\(result.errors)")
        let butterflies = result.output.split(separator: "\n").filter { $0.contains("butterfly") }
        #expect(
            butterflies.count == 6 && !butterflies.contains { $0.contains("other bits") }, "\(result.output)")
    }
}
