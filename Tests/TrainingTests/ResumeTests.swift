import Foundation
import TestSupport
import Testing

@Suite(.serialized) struct ResumeTests {
    let place: Workplace

    init() throws { place = try Workplace() }

    @Test(.timeLimit(.minutes(5))) func killsAtRandomMoments() throws {
        let tool = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
            "../../tools/check_resume"
        ).path
        let result = try Command.run(
            [tool, "--kills", "3", "--seed", "\(getpid() % 30_000)", "--trainer", Command.path("trainer")],
            in: place.path)
        #expect(result.status == 0, "\(result)")
        #expect(result.output.contains("3 kills") && result.output.contains("0 differ"), "\(result)")
    }

    @Test func checkpointsAreKeptAndPruned() throws {
        try place.train("--out run --epochs 4 --checkpoint-every 2 --keep 2")
        // 6 steps an epoch: the newest two, and the best epoch's.
        let names = try place.names("run/checkpoints")
        let best = try FileManager.default.destinationOfSymbolicLink(
            atPath: place.file("run/checkpoints/best"))
        #expect(Set(names) == Set(["best", "last", "step-22", "step-24", best]))
        let files = ["model.safetensors", "optimizer.safetensors", "state.json"]
        #expect(try place.names("run/checkpoints/last") == files)
        // Constants that change no bits may differ when the run is resumed.
        let state = try place.text("run/checkpoints/last/state.json")
        #expect(state.contains("\"gemm.rows\"") && !state.contains("\"winograd.lanes\""))
    }

    @Test func newestWholeCheckpointCounts() throws {
        for run in ["whole", "run"] { try place.train("--out \(run) --checkpoint-every 2 --keep 9") }
        // As after a kill in the middle of step 10, before the link: leftovers, an old link, a longer log.
        for step in [10, 12] { try place.remove("run/checkpoints/step-\(step)") }
        for folder in [".step-10.partial", ".step-2.removed"] {
            try place.makeFolder("run/checkpoints/" + folder)
        }
        try place.write("x", "run/checkpoints/step-8/.partial-1-1")
        try place.remove("run/checkpoints/last")
        try FileManager.default.createSymbolicLink(
            atPath: place.file("run/checkpoints/last"), withDestinationPath: "step-2")
        let result = try place.succeed("--resume run")
        #expect(result.output.contains("resuming after step 8"), "\(result.output)")
        try place.expectSameModel("run", "whole")
        let optimizer = "checkpoints/last/optimizer.safetensors"
        #expect(try place.bytes("run/" + optimizer) == place.bytes("whole/" + optimizer))
        #expect(try place.untimedLog("run") == place.untimedLog("whole"))
        for folder in ["run/checkpoints", "run/checkpoints/step-8"] {
            #expect(try place.names(folder).filter { $0.hasPrefix(".") } == [])
        }
    }

    @Test(arguments: ["plateau", "step"]) func scheduleIsResumed(_ schedule: String) throws {
        let options = "--schedule \(schedule) --epochs 5 --keep 9 --micro-batches 2 --clip-norm 0.5"
        // Two classes change their names in validation, whose loss then rises as the network learns.
        for (from, to) in [("ring", "kept"), ("striped-disc", "ring"), ("kept", "striped-disc")] {
            try FileManager.default.moveItem(
                atPath: place.file("set/val/" + from), toPath: place.file("set/val/" + to))
        }
        for run in ["whole", "twin"] { try place.train("\(options) --out \(run)") }
        let names = try place.names("whole/checkpoints").filter { $0.hasPrefix("step-") }
        for name in names where name != "step-18" && name != "step-0" {
            try place.remove("whole/checkpoints/" + name)
        }
        try place.succeed("--resume whole")
        try place.expectSameModel("whole", "twin")
        #expect(try place.untimedLog("whole") == place.untimedLog("twin"))
        let rates = try place.events("twin", "train").compactMap { $0["learning_rate"] as? Double }
        #expect((rates.last ?? 1) < 0.2 * (rates.max() ?? 0), "\(rates)")
    }

    @Test func optionsThatChangeTheResultAreRefused() throws {
        let model = "run/checkpoints/last/model.safetensors"
        try place.train("--out run")
        let before = try place.bytes(model)
        try place.expect(
            run(
                "--resume run --seed 7 --batch 4 --epochs 1 --model linear", 2, "seed 7 (the run has 1)",
                "batch 4 (the run has 8)", "epochs 1 (the run has 2)", "model linear (the run has 16,M,F16)",
                "; omit --model, --batch, --epochs, --seed, or start a new run. These may change: --data,"))
        try place.expect(run("--resume run --out elsewhere", 2, "omit --out"))
        let allowed = try place.succeed(
            "--resume run --workers 3 --keep 5 --checkpoint-every 3 --max-bad 2%")
        #expect(allowed.output.contains("all 2 epochs were finished before"), "\(allowed.output)")
        #expect(try place.bytes(model) == before)
        try place.expectLearnt("run")
    }

    @Test func kernelsAreKept() throws {
        try place.train("--out run --kernels cpu --epochs 1")
        #expect(try place.text("run/config.yaml").contains("kernels: cpu"))
        try place.succeed("--resume run")
        try place.expect(
            run("--resume run --kernels gpu", 2, "kernels gpu (the run has cpu)", "omit --kernels"))
        try place.expect(train("--out other --kernels tpu", 2, "kernels", "tpu", "auto, cpu, gpu"))
        // A run of another device's kernels, which `auto` chose there.
        try place.train("--out auto --epochs 1")
        let state = "auto/checkpoints/last/state.json"
        let edited = try place.text(state).replacing(
            "\"optimizer.chunk\" : 4096", with: "\"product.slot-groups\" : 8")
        try place.write(edited, state)
        try place.expect(run("--resume auto", 1, "the kernels' tuning was product.slot-groups=8 and is now"))
    }

    @Test func changedPhotographsAreRefused() throws {
        try place.train("--out run")
        try FileManager.default.moveItem(atPath: place.file("set"), toPath: place.file("moved"))
        try place.succeed("--resume run --data moved")
        let name = try place.names("moved/val/ring").first ?? ""
        try place.remove("moved/val/ring/" + name)
        try place.expect(
            run("--resume run --data moved", 1, "fingerprint of the photographs in moved", "; restore"))
    }

    @Test func nothingToResume() throws {
        try place.makeFolder("empty/checkpoints")
        try place.train("--out run")
        try place.write("{\"step\":", "run/checkpoints/step-12/state.json")
        // A run that a version with other options has saved.
        try place.train("--out old --epochs 1")
        let state = "old/checkpoints/last/state.json"
        let old = try place.text(state).replacing("\"micro-batches\"", with: "\"shards\"")
        try place.write(old, state)
        for mistake in [
            run("--resume nowhere", 1, "nowhere: no run's folder", "the path of --resume"),
            run("--resume empty", 1, "no complete checkpoint", "again, with --resume-or-start"),
            run("--resume run", 1, "step-12/state.json: not the state of a run"),
            run(
                "--resume old", 1, "only the version that saved it can resume it",
                "; start a new run from its weights with --init old/checkpoints/step-6"),

        ] { try place.expect(mistake) }
    }

    @Test func oneProcessAtATime() throws {
        _ = try place.train("--out run --epochs 400") { process in
            place.await("run/checkpoints/step-0")
            try place.expect(run("--resume run", 1, "another process trains in this folder"))
            kill(process, SIGKILL)
        }
    }

    private static let signals = [
        SIGINT: "SIGINT", SIGTERM: "SIGTERM", SIGHUP: "SIGHUP", SIGUSR1: "SIGUSR1", SIGUSR2: "SIGUSR2",
    ]

    /// 75 means: stopped as asked, resume me.
    @Test(arguments: signals.keys.sorted()) func signalsWriteACheckpoint(_ signal: Int32) throws {
        try place.train("--out whole --epochs 16")
        let stopped = try place.train("--out run --epochs 16") { process in
            place.await("run/checkpoints/step-6")
            kill(process, signal)
        }
        #expect(stopped.status == 75, "\(stopped.errors)")
        for part in [
            "stopped by \(Self.signals[signal] ?? "") after step",
            "resume with: trainer --resume run",
        ] { #expect(stopped.output.contains(part), "\(stopped.output)") }
        try place.succeed("--resume run")
        try place.expectSameModel("run", "whole")
        #expect(try place.untimedLog("run") == place.untimedLog("whole"))
    }

    @Test func validationIsInterruptedAndDoneAgain() throws {
        // Some pictures many times: the validation takes long, the epoch does not.
        let folder = place.file("set/val/ring/")
        for name in try place.names("set/val/ring") {
            for copy in 0..<300 {
                try FileManager.default.linkItem(
                    atPath: folder + name, toPath: folder + "copy-\(copy)-\(name)")
            }
        }
        try place.train("--out whole")
        let stopped = try place.train("--out run") { process in
            place.await("run/checkpoints/step-6")
            kill(process, SIGINT)
        }
        try #require(stopped.status == 75, "\(stopped.errors)")
        #expect(stopped.output.contains("after step 6;"), "\(stopped.output)")
        #expect(try place.text("run/checkpoints/step-6/state.json").contains("\"validatedEpochs\" : 0"))
        try place.succeed("--resume run")
        try place.expectSameModel("run", "whole")
        #expect(try place.untimedLog("run") == place.untimedLog("whole"))
    }

    /// Signals that were ignored at the start, as by nohup, stay so, whatever handlers a library installs.
    @Test func ignoredSignalsStayIgnored() throws {
        let line =
            "trap '' HUP USR1; exec \"$0\" \(Workplace.small.joined(separator: " ")) --out run --epochs 400"
        let result = try Command.run(["/bin/sh", "-c", line, Command.path("trainer")], in: place.path) {
            place.await("run/checkpoints/step-6")
            for signal in [SIGHUP, SIGUSR1, SIGHUP] { kill($0, signal) }
            place.await("run/checkpoints/step-24")
            kill($0, SIGTERM)
        }
        #expect(result.status == 75 && result.output.contains("stopped by SIGTERM"), "\(result)")
    }

    /// Terminals and service managers send SIGHUP beside or after other signals.
    @Test func repeatedGentleSignalsStillSave() throws {
        let result = try place.train("--out run --epochs 400") { process in
            place.await("run/checkpoints/step-6")
            kill(process, SIGSTOP)
            for signal in [SIGUSR1, SIGUSR2, SIGTERM, SIGHUP] { kill(process, signal) }
            kill(process, SIGCONT)
        }
        #expect(result.status == 75 && result.output.contains("resume with"), "\(result)")
    }

    @Test func timeIsLimited() throws {
        var steps: [Int] = []
        // The time is that of each process, which does a step at least.
        for _ in 0..<2 {
            let result = try place.run(
                Workplace.small
                    + ["--out", "run", "--epochs", "100000", "--resume-or-start", "--max-time", "1s"])
            #expect(result.status == 75, "\(result)")
            let step = try #require(
                result.output.firstMatch(of: /stopped by its time limit after step (\d+);/)?.1)
            steps.append(try #require(Int(step)))
        }
        #expect(steps[0] > 0 && steps[1] > steps[0], "\(steps)")
        #expect(try !place.text("run/config.yaml").contains("max-time"))
        for text in ["50", "-1h", "0s", "5m1h", "h"] {
            try place.expect(train("--max-time=\(text)", 2, "3h50m, 45m or 90s"))
        }
    }

    // MARK: - Run folders that travel

    @Test func editsOfTheConfigurationAreAppliedOrRefused() throws {
        try place.train("--out run")
        func edit(_ line: String, _ other: String) throws {
            let text = try place.text("run/config.yaml")
            #expect(text.contains(line))
            try place.write(text.replacing(line, with: other), "run/config.yaml")
        }
        try edit("seed: 1\n", "seed: 7\n")
        try place.expect(
            run(
                "--resume run", 2, "run/config.yaml: seed 7 (the run has 1)",
                "; undo this change in run/config.yaml"))
        try edit("seed: 7\n", "seed: 1\nout: elsewhere\n")
        try place.expect(run("--resume run", 2, "run/config.yaml: out is elsewhere"))
        try edit("out: elsewhere\n", "")
        try edit("workers: 2\n", "workers: 3  # more\n")
        try edit("epochs: 2\n", "epochs: 3\n")
        let resumed = try place.succeed("--resume run")
        for part in ["workers is now 3 (it was 2)", "epochs is now 3 (it was 2)", "epoch 3:"] {
            #expect(resumed.output.contains(part), "\(resumed.output)")
        }
        // What says the same is not written again.
        #expect(try place.text("run/config.yaml").contains("# more"))
        try place.succeed("--resume run --workers 1")
        #expect(try place.text("run/config.yaml").contains("workers: 1\n"))
        try edit("seed: 1\n", "sed: 1\n")
        try place.expect(run("--resume run", 2, "run/config.yaml:", "unknown option 'sed'"))
        try place.remove("run/config.yaml")
        try place.succeed("--resume run")
    }

    @Test(arguments: ["", "-L"]) func copiesWithoutLinks(option: String) throws {
        try place.train("--out whole --epochs 4")
        try place.train("--out run --epochs 4 --keep 9")
        for step in [18, 24] { try place.remove("run/checkpoints/step-\(step)") }
        for link in ["best", "last"] {
            try place.remove("run/checkpoints/" + link)
            try FileManager.default.createSymbolicLink(
                atPath: place.file("run/checkpoints/" + link), withDestinationPath: "step-12")
        }
        let line =
            "cp -r \(option) run copy"
            + (option.isEmpty ? "; rm copy/checkpoints/best copy/checkpoints/last" : "")
        #expect(try Command.run(["/bin/sh", "-c", line], in: place.path).status == 0)
        try place.succeed("evaluate --checkpoint copy --data set --device cpu")
        try place.succeed("--resume copy")
        try place.expectSameModel("copy", "whole")
    }

    @Test func resumesInAnotherFolder() throws {
        try place.train("--out run --epochs 1")
        try place.makeFolder("elsewhere")
        let line = "cd elsewhere && mv ../run . && exec \"$0\" --resume run"
        let result = try Command.run(["/bin/sh", "-c", line, Command.path("trainer")], in: place.path)
        #expect(result.status == 0, "\(result)")
        try FileManager.default.moveItem(atPath: place.file("set"), toPath: place.file("other"))
        try place.expect(
            run("--resume elsewhere/run", 1, "set: no such folder", "give --data with the folder"))
        try place.succeed("--resume elsewhere/run --data other")
    }

    @Test func configurationWithAByteOrderMark() throws {
        let text = "\u{FEFF}data: set\nepochs: 1\nmodel: 8,M\nimage-size: 16\nbatch: 8\n"
        try place.write(text, "marked.yaml")
        try place.succeed("--config marked.yaml --out marked --device cpu")
    }

    // MARK: - Resume or start

    @Test func theSameLineStartsAndResumes() throws {
        try place.train("--out whole --epochs 16")
        let line = "--out run --epochs 16 --resume-or-start"
        let stopped = try place.train(line) { process in
            place.await("run/checkpoints/step-6")
            kill(process, SIGUSR1)
        }
        #expect(stopped.status == 75, "\(stopped)")
        #expect(try place.train(line).output.contains("resuming after step"))
        try place.expectSameModel("run", "whole")
        #expect(try place.train(line).output.contains("all 16 epochs were finished before"))
        try place.expect(
            run(
                "--out run --resume-or-start --seed 7 --data set", 2, "seed 7 (the run has 1)", "omit --seed")
        )
        try place.expect(run("--resume-or-start --data set", 2, "expected --out"))
        try place.expect(run("--resume-or-start --resume run", 2, "omit --resume"))
    }

    @Test func aRunWithoutACheckpointStartsAgain() throws {
        try place.makeFolder("run/checkpoints/.step-0.partial")
        try place.write("epochs: 9", "run/config.yaml")
        try place.train("--out run --epochs 1 --resume-or-start")
        #expect(try place.text("run/config.yaml").contains("epochs: 1"))
        #expect(try place.names("run/checkpoints").filter { $0.hasPrefix(".") } == [])
        // Folders that hold anything else are left as they are.
        try place.write("mine", "other/thesis.txt")
        try place.write("mine", "part/checkpoints/step-3/model.safetensors")
        try place.expect(
            train("--out other --resume-or-start", 1, "no complete checkpoint", "thesis.txt", "another --out")
        )
        try place.expect(train("--out part --resume-or-start", 1, "no complete checkpoint", "step-3"))
        #expect(try place.names("other") == ["thesis.txt"])
        #expect(place.exists("part/checkpoints/step-3/model.safetensors"))
    }

    @Test func secondSignalStopsAtOnce() throws {
        // Both signals are there before the program can do anything about the first.
        let result = try place.train("--out run --epochs 400") { process in
            place.await("run/checkpoints/step-0")
            kill(process, SIGSTOP)
            kill(process, SIGINT)
            kill(process, SIGTERM)
            kill(process, SIGCONT)
        }
        #expect([130, 143].contains(result.status))
        #expect(!result.output.contains("after step"), "\(result.output)")
    }

    @Test func fileSizeLimitKeepsTheLastCheckpoint() throws {
        try place.train("--out whole --epochs 4")
        // Blocks have 512 bytes: the limit is half a model.
        let blocks = try place.bytes("whole/checkpoints/last/model.safetensors").count / 1024
        let message = "model.safetensors: writing failed: File too large"
        try place.expect(train("--out small", 1, message, "ulimit -f"), fileBlocks: blocks)
        // A run that has a checkpoint keeps it when it reaches the limit, and can be resumed from it.
        try place.train("--out run --epochs 4 --keep 9")
        for step in [12, 18, 24] { try place.remove("run/checkpoints/step-\(step)") }
        let result = try place.expect(
            run("--resume run", 1, "step-12.partial/model.safetensors"), fileBlocks: blocks)
        let advice =
            "the last complete checkpoint is run/checkpoints/step-6; resume with: trainer --resume run"
        #expect(result.output.contains(advice), "\(result.output)")
        #expect(try place.names("run/checkpoints").filter { $0.hasPrefix(".") } == [])
        try place.succeed("--resume run")
        try place.expectSameModel("run", "whole")
    }
}
