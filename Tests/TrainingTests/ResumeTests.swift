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
        let result = try place.train(
            "--out", "run", "--epochs", "4", "--checkpoint-every", "2", "--keep", "2")
        try #require(result.status == 0, "\(result.errors)")
        // 6 steps an epoch: the newest two, and the best epoch's.
        let names = try place.names("run/checkpoints")
        let best = try FileManager.default.destinationOfSymbolicLink(
            atPath: place.file("run/checkpoints/best"))
        #expect(Set(names) == Set(["best", "last", "step-22", "step-24", best]))
        #expect(
            try place.names("run/checkpoints/last") == [
                "model.safetensors", "optimizer.safetensors", "state.json",
            ])
    }

    @Test func newestWholeCheckpointCounts() throws {
        _ = try place.train("--out", "whole", "--checkpoint-every", "2", "--keep", "9")
        _ = try place.train("--out", "run", "--checkpoint-every", "2", "--keep", "9")
        // As after a kill in the middle of step 10, before the link: leftovers, a link of long ago, a log
        // that is further.
        for step in [10, 12] { try place.remove("run/checkpoints/step-\(step)") }
        for folder in [".step-10.partial", ".step-2.removed"] {
            try place.makeFolder("run/checkpoints/" + folder)
        }
        try place.write("x", "run/checkpoints/step-8/.partial-1-1")
        try place.remove("run/checkpoints/last")
        try FileManager.default.createSymbolicLink(
            atPath: place.file("run/checkpoints/last"), withDestinationPath: "step-2")
        let result = try place.run("--resume", "run")
        try #require(result.status == 0, "\(result.errors)")
        #expect(result.output.contains("resuming after step 8"), "\(result.output)")
        try place.expectSameModel("run", "whole")
        #expect(
            try place.bytes("run/checkpoints/last/optimizer.safetensors")
                == place.bytes("whole/checkpoints/last/optimizer.safetensors"))
        #expect(try place.untimedLog("run") == place.untimedLog("whole"))
        let left =
            try place.names("run/checkpoints").filter { $0.hasPrefix(".") }
            + place.names("run/checkpoints/step-8").filter { $0.hasPrefix(".") }
        #expect(left == [])
    }

    @Test(arguments: ["plateau", "step"]) func scheduleIsResumed(_ schedule: String) throws {
        let options = [
            "--schedule", schedule, "--epochs", "5", "--keep", "9",
            "--micro-batches", "2", "--clip-norm", "0.5",
        ]
        // Two classes change their names in validation, whose loss then rises as the network learns.
        for (from, to) in [("ring", "kept"), ("striped-disc", "ring"), ("kept", "striped-disc")] {
            try FileManager.default.moveItem(
                atPath: place.file("set/val/" + from), toPath: place.file("set/val/" + to))
        }
        let whole = try place.run(Workplace.small + options + ["--out", "whole"])
        try #require(whole.status == 0, "\(whole.errors)")
        let names = try place.names("whole/checkpoints").filter { $0.hasPrefix("step-") }
        for name in names where name != "step-18" && name != "step-0" {
            try place.remove("whole/checkpoints/" + name)
        }
        _ = try place.run(Workplace.small + options + ["--out", "twin"])
        #expect(try place.run("--resume", "whole").status == 0)
        try place.expectSameModel("whole", "twin")
        #expect(try place.untimedLog("whole") == place.untimedLog("twin"))
        let rates = try place.events("twin", "train").compactMap { $0["learning_rate"] as? Double }
        #expect((rates.last ?? 1) < 0.2 * (rates.max() ?? 0), "\(rates)")
    }

    @Test func optionsThatChangeTheResultAreRefused() throws {
        let model = "run/checkpoints/last/model.safetensors"
        _ = try place.train("--out", "run")
        let before = try place.bytes(model)
        let refused = try place.run(
            "--resume", "run", "--seed", "7", "--batch", "4", "--epochs", "3", "--model", "linear")
        #expect(refused.status == 2)
        for part in [
            "--seed 7 (the run has 1)", "--batch 4 (the run has 8)", "--epochs 3 (the run has 2)",
            "--model linear (the run has 16,M,F16)",
        ] { #expect(refused.errors.contains(part), "\(refused.errors)") }
        let other = try place.run("--resume", "run", "--out", "elsewhere")
        #expect(other.status == 2 && other.errors.contains("omit --out"), "\(other.errors)")
        let allowed = try place.run(
            "--resume", "run", "--workers", "3", "--keep", "5", "--checkpoint-every", "3", "--max-bad", "2%")
        #expect(
            allowed.status == 0 && allowed.output.contains("all 2 epochs were finished before"),
            "\(allowed.errors)")
        #expect(try place.bytes(model) == before)
        try place.expectLearnt("run")
    }

    @Test func changedPhotographsAreRefused() throws {
        _ = try place.train("--out", "run")
        try FileManager.default.moveItem(atPath: place.file("set"), toPath: place.file("moved"))
        #expect(try place.run("--resume", "run", "--data", "moved").status == 0)
        let name = try place.names("moved/val/ring").first ?? ""
        try place.remove("moved/val/ring/" + name)
        let refused = try place.run("--resume", "run", "--data", "moved")
        #expect(
            refused.status == 1 && refused.errors.contains("photographs' fingerprint"), "\(refused.errors)")
    }

    @Test func nothingToResume() throws {
        var result = try place.run("--resume", "nowhere")
        #expect(result.status == 1 && result.errors.contains("nowhere: no run's folder"), "\(result.errors)")
        try place.makeFolder("empty/checkpoints")
        result = try place.run("--resume", "empty")
        #expect(result.status == 1 && result.errors.contains("no complete checkpoint"), "\(result.errors)")
        _ = try place.train("--out", "run")
        try place.write("{\"step\":", "run/checkpoints/step-12/state.json")
        result = try place.run("--resume", "run")
        #expect(
            result.status == 1 && result.errors.contains("step-12/state.json: not the state of a run"),
            "\(result.errors)")
        // A run that a version with other options has saved.
        _ = try place.train("--out", "old", "--epochs", "1")
        let state = "old/checkpoints/last/state.json"
        let old = try place.text(state).replacing("\"micro-batches\"", with: "\"shards\"")
        try Data(old.utf8).write(to: URL(fileURLWithPath: place.file(state)))
        result = try place.run("--resume", "old")
        #expect(
            result.status == 1 && result.errors.contains("only the version that saved it can resume it"),
            "\(result.errors)")
    }

    @Test func oneProcessAtATime() throws {
        _ = try place.run(Workplace.small + ["--out", "run", "--epochs", "400"]) { process in
            place.await("run/checkpoints/step-0")
            let second = try place.run("--resume", "run")
            #expect(
                second.status == 1 && second.errors.contains("another process trains in this folder"),
                "\(second.errors)")
            kill(process, SIGKILL)
        }
    }

    @Test(arguments: [SIGINT, SIGTERM]) func signalsWriteACheckpoint(_ signal: Int32) throws {
        let whole = try place.train("--out", "whole", "--epochs", "16")
        try #require(whole.status == 0)
        let stopped = try place.run(Workplace.small + ["--out", "run", "--epochs", "16"]) { process in
            place.await("run/checkpoints/step-6")
            kill(process, signal)
        }
        #expect(stopped.status == 128 + signal, "\(stopped.errors)")
        #expect(
            stopped.output.contains("stopped by \(signal == SIGINT ? "SIGINT" : "SIGTERM") after step"),
            "\(stopped.output)")
        #expect(stopped.output.contains("resume with: trainer --resume run"), "\(stopped.output)")
        #expect(try place.run("--resume", "run").status == 0)
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
        _ = try place.train("--out", "whole")
        let stopped = try place.run(Workplace.small + ["--out", "run"]) { process in
            place.await("run/checkpoints/step-6")
            kill(process, SIGINT)
        }
        try #require(stopped.status == 130, "\(stopped.errors)")
        #expect(stopped.output.contains("after step 6;"), "\(stopped.output)")
        #expect(try place.text("run/checkpoints/step-6/state.json").contains("\"validatedEpochs\" : 0"))
        #expect(try place.run("--resume", "run").status == 0)
        try place.expectSameModel("run", "whole")
        #expect(try place.untimedLog("run") == place.untimedLog("whole"))
    }

    @Test func secondSignalStopsAtOnce() throws {
        // Both signals are there before the program can do anything about the first.
        let result = try place.run(Workplace.small + ["--out", "run", "--epochs", "400"]) { process in
            place.await("run/checkpoints/step-0")
            kill(process, SIGSTOP)
            kill(process, SIGINT)
            kill(process, SIGTERM)
            kill(process, SIGCONT)
        }
        #expect([130, 143].contains(result.status))
        #expect(!result.output.contains("stopped by"), "\(result.output)")
    }

    @Test func fileSizeLimitKeepsTheLastCheckpoint() throws {
        let whole = try place.train("--out", "whole", "--epochs", "4")
        try #require(whole.status == 0)
        let size = try place.bytes("whole/checkpoints/last/model.safetensors").count
        // Blocks have 512 bytes: the limit is half a model.
        var result = try place.train("--out", "small", fileBlocks: size / 1024)
        #expect(result.status == 1, "\(result.errors)")
        #expect(
            result.errors.contains("model.safetensors: writing failed: File too large"), "\(result.errors)")
        #expect(result.errors.contains("ulimit -f"), "\(result.errors)")
        // A run that has a checkpoint keeps it when it reaches the limit, and can be resumed from it.
        _ = try place.train("--out", "run", "--epochs", "4", "--keep", "9")
        for step in [12, 18, 24] { try place.remove("run/checkpoints/step-\(step)") }
        result = try place.run(["--resume", "run"], fileBlocks: size / 1024)
        #expect(
            result.status == 1 && result.errors.contains("step-12.partial/model.safetensors"),
            "\(result.errors)")
        #expect(
            result.output.contains(
                "the last complete checkpoint is run/checkpoints/step-6; resume with: trainer --resume run"),
            "\(result.output)")
        #expect(try place.names("run/checkpoints").filter { $0.hasPrefix(".") } == [])
        #expect(try place.run("--resume", "run").status == 0)
        try place.expectSameModel("run", "whole")
    }
}
