@testable import Basics
import Foundation
import TestSupport
import Testing

/// Describes a mistake, parts of the message about it and the exit status: 2 if the command line or the
/// configuration is wrong, 1 if the work fails.
struct Mistake: CustomTestStringConvertible, Sendable {
    let name: String
    let arguments: [String]
    let status: Int32
    let message: [String]
    var environment: [String: String] = [:]

    init(
        _ name: String, _ arguments: [String], status: Int32, _ message: String...,
        environment: [String: String] = [:]
    ) {
        self.name = name
        self.arguments = arguments
        self.status = status
        self.message = message
        self.environment = environment
    }

    var testDescription: String { name }
}

/// Returns a command line of `train` on the small set. `arguments` come last, so that they override others.
private func train(_ arguments: String...) -> [String] {
    ["train"] + Workplace.small + ["--out", "never"] + arguments
}

@Suite(.serialized) struct CommandLineTests {
    let place: Workplace

    init() throws { place = try Workplace.shared.get() }

    private func expect(_ mistake: Mistake) throws {
        let result = try place.run(mistake.arguments, environment: mistake.environment)
        #expect(result.status == mistake.status, "\(result.errors)")
        let lines = result.errors.split(separator: "\n").filter {
            !$0.hasPrefix("Help:") && !$0.hasPrefix("Usage:")
        }
        let message = lines.joined(separator: " ")
        for part in mistake.message { #expect(message.contains(part), "'\(part)' is not in: \(message)") }
        // Neither an error code of OpenCL or Foundation nor a trap.
        for part in ["OpenCL error", "CL_", "NSCocoa", "Fatal error", "Backtrace"] {
            #expect(!message.contains(part), "\(message)")
        }
        #expect(!place.exists("never"), "a run that cannot start leaves no folder")
    }

    // MARK: - Options

    @Test(arguments: [
        Mistake(
            "batch 0", train("--batch", "0"), status: 2, "'0' is invalid for '--batch",
            "expected 1 to 65536 images"),
        Mistake(
            "batch of letters", train("--batch", "many"), status: 2, "'many' is invalid for '--batch",
            "expected a whole number"),
        Mistake(
            "batch larger than the set", train("--batch", "49"), status: 2, "a batch of 49",
            "only 48 training photographs", "give --batch 48 or less"),
        Mistake(
            "batch and micro-batches larger than the set",
            train("--batch", "64", "--micro-batches", "32"), status: 2, "a batch of 64",
            "only 48 training photographs for 32 micro-batches", "give --batch 32 or less"),
        Mistake(
            "image size 1", train("--image-size", "1"), status: 2, "'1' is invalid for '--image-size",
            "expected 2 to 4096 pixels"),
        Mistake(
            "unknown token", train("--model", "32,X,F16"), status: 2,
            "unknown token 'X' in '32,X,F16'", "M (2×2 max-pooling)"),
        Mistake(
            "empty specification", train("--model", ""), status: 2, "--model", "the specification is empty"),
        Mistake(
            "convolution behind F", train("--model", "F16,32"), status: 2,
            "'32' follows a fully connected layer"),
        Mistake(
            "more poolings than the image allows", train("--model", "16,M,M,M,M,M"), status: 2,
            "--model 16,M,M,M,M,M", "poolings need images of 32 pixels or more", "the image size is 16"),
        Mistake(
            "micro-batches", train("--micro-batches", "3"), status: 2, "'3' is invalid for '--micro-batches",
            "expected a power of two"),
        Mistake(
            "micro-batches and batch", train("--micro-batches", "16"), status: 2, "--micro-batches 16",
            "divides the batch of 8"),
        Mistake(
            "short side", train("--short-side", "8"), status: 2, "--short-side 8",
            "the image size (16) or more"),
        Mistake(
            "learning rate 0", train("--learning-rate", "0"), status: 2, "--learning-rate",
            "expected a number above 0"),
        Mistake(
            "learning rate nan", train("--learning-rate", "nan"),
            status: 2, "--learning-rate", "expected a number"),
        Mistake("momentum 1", train("--momentum", "1"), status: 2, "--momentum", "0 or more and below 1"),
        Mistake("dropout 1", train("--dropout", "1"), status: 2, "--dropout", "0 or more and below 1"),
        Mistake(
            "schedule", train("--schedule", "linear"), status: 2, "--schedule",
            "one of constant, step, plateau, cosine"),
        Mistake("workers 0", train("--workers", "0"), status: 2, "--workers", "1 to 256 threads"),
        Mistake(
            "validation fraction", train("--val-fraction", "1"), status: 2, "--val-fraction",
            "a share between 0 and 1"),
        Mistake(
            "bad files", train("--max-bad", "many"), status: 2,
            "'many' is invalid for '--max-bad", "a share such as 1%"),
        Mistake(
            "frozen at random", train("--freeze", "features"),
            status: 2, "--freeze features", "expected --init too"),
        Mistake(
            "clip at 0", train("--clip-norm", "0"), status: 2,
            "'0' is invalid for '--clip-norm", "a number above 0"),
        Mistake(
            "keep 0", train("--keep", "0"), status: 2, "'0' is invalid for '--keep",
            "1 to 1000000 checkpoints"),
        Mistake(
            "no steps", train("--checkpoint-every", "0"), status: 2,
            "'0' is invalid for '--checkpoint-every", "steps"),
        Mistake(
            "unknown flag", train("--lerning-rate", "1"), status: 2,
            "Unknown option '--lerning-rate'", "'--learning-rate'"),
        // Something else is wrong too, perhaps because of the misspelt option.
        Mistake(
            "misspelt and needed", ["scenes", "--otu", "never"],
            status: 2, "Unknown option '--otu'", "'--out'"),
        Mistake(
            "misspelt and checked", ["evaluate", "--checkpoint", "run", "--dta=set"], status: 2,
            "Unknown option '--dta'", "'--data'"),
        Mistake(
            "misspelt behind a list", ["predict", "--checkpoint", "run", "set", "--tpo", "3"], status: 2,
            "Unknown option '--tpo'", "'--top'"),
        Mistake(
            "misspelt of bench", ["bench", "input", "--dta", "set"],
            status: 2, "Unknown option '--dta'", "'--data'"),
        Mistake("unknown command", ["trian"], status: 2, "Unknown command 'trian'. Did you mean 'train'?"),
        Mistake(
            "unknown command of bench", ["bench", "stpe"], status: 2,
            "Unknown command 'stpe'. Did you mean 'step'?"),
        Mistake(
            "too large a matrix", ["bench", "gemm", "--size", "4096", "--device-memory", "64M"], status: 1,
            "larger than the largest", "try a smaller --size"),
        Mistake(
            "no checkpoint", ["evaluate", "--data", "set"], status: 2,
            "Missing expected argument '--checkpoint"),
        Mistake(
            "no photograph", ["predict", "--checkpoint", "run"], status: 2,
            "Missing expected argument '<images>"),
        Mistake(
            "top 0", ["predict", "--checkpoint", "run", "--top", "0", "a.jpg"],
            status: 2, "--top 0", "1 or more"),
        Mistake(
            "gradients of no image", ["check-gradients", "--batch", "0"], status: 2, "--batch 0", "1 to 65536"
        ),
        Mistake(
            "gradients of no class", ["check-gradients", "--classes", "0"],
            status: 2, "--classes 0", "2 to 1000000 classes"),
        Mistake(
            "gradients of no pixel", ["check-gradients", "--image-size", "0"],
            status: 2, "--image-size 0", "1 to 4096"),
        Mistake(
            "poolings of bench", ["bench", "step", "--model", "M,M", "--image-size", "2"], status: 2,
            "need images of 4 pixels"),
        Mistake(
            "augmentation of micro-batches",
            ["bench", "step", "--augment", "paper", "--micro-batches", "2"],
            status: 2, "--augment paper", "--micro-batches"),
        Mistake(
            "micro-batches of bench", ["bench", "step", "--micro-batches", "3"], status: 2,
            "--micro-batches 3", "a power of two"),
        Mistake("size of bench", ["bench", "gemm", "--size", "0"], status: 2, "--size 0", "1 to 16384"),
        Mistake(
            "too many classes", ["scenes", "--out", "never", "--classes", "99"],
            status: 2, "99 classes", "2 to 14"),
        Mistake(
            "too few pictures", ["scenes", "--out", "never", "--count", "3"],
            status: 2, "3 pictures", "at least 50"),
    ]) func badOption(_ mistake: Mistake) throws { try expect(mistake) }

    // MARK: - Photographs

    @Test(arguments: [
        Mistake("missing folder", train("--data", "nowhere"), status: 1, "nowhere: no such folder"),
        Mistake("a file", train("--data", "states/file"), status: 1, "states/file: not a folder"),
        Mistake(
            "no class folders", train("--data", "states/no-classes"), status: 1,
            "states/no-classes: no class folders"),
        Mistake(
            "one class", train("--data", "states/one-class"), status: 1,
            "states/one-class: only one class, “a”"),
        Mistake(
            "few of them", ["train", "--data", "states/few", "--out", "never"], status: 2, "a batch of 32",
            "only 4 training", "--batch 4 or"),
        Mistake(
            "empty class", train("--data", "states/empty-class"), status: 1,
            "states/empty-class/b: an empty class"),
        Mistake(
            "val has a class that train lacks", train("--data", "states/other-val"), status: 1,
            "states/other-val/val: class “c” is not in", "rename it, or add its training images"),
        Mistake(
            "a class that the model lacks",
            ["evaluate", "--checkpoint", "run", "--data", "states/other-classes"], status: 1,
            "is not among the model's 3 classes", "“ring”"),
    ]) func badPhotographs(_ mistake: Mistake) throws {
        let picture = try place.bytes(place.photograph("ring"))
        for name in [
            "one-class/a/1.jpg", "empty-class/a/1.jpg", "other-val/train/a/1.jpg", "other-val/train/b/1.jpg",
            "other-val/val/c/1.jpg", "other-classes/train/a/1.jpg", "other-classes/train/b/1.jpg",
            "other-classes/val/a/1.jpg", "few/train/a/1.jpg", "few/train/a/2.jpg", "few/train/b/1.jpg",
            "few/train/b/2.jpg", "few/val/a/1.jpg",
        ] { _ = try place.file("states/" + name, picture) }
        _ = try place.file("states/no-classes/notes.txt", "nothing")
        _ = try place.file("states/empty-class/b/notes.txt", "nothing")
        _ = try place.file("states/file", "nothing")
        try expect(mistake)
    }

    // MARK: - Devices

    /// A folder that contains no driver's file.
    private static let noDrivers = ["OCL_ICD_VENDORS": "/proc/self/fdinfo"]

    @Test(arguments: [
        Mistake(
            "no such number", train("--device", "opencl:99"), status: 1,
            "--device opencl:99: no such device here; there is opencl:0"),
        Mistake(
            "no such name", train("--device", "fast"), status: 2, "'fast' is invalid for '--device",
            "auto, cpu, gpu, opencl:N"),
        Mistake(
            "no such number to list", ["devices", "--device", "opencl:99"], status: 1,
            "--device opencl:99: no such device here"),
        Mistake(
            "no such name to list", ["devices", "--device", "fast"], status: 2,
            "--device fast: expected auto, cpu, gpu, opencl:N"),
        Mistake(
            "no such name in predict", ["predict", "--checkpoint", "run", "--device", "fast", "a.jpg"],
            status: 2, "--device fast", "auto, cpu, gpu, opencl:N"),
        Mistake(
            "no OpenCL", train(), status: 1,
            "no OpenCL device found; install a runtime: `apt-get install pocl-opencl-icd`",
            environment: noDrivers),
        Mistake(
            "no OpenCL to list", ["devices"], status: 1, "no OpenCL device found; install",
            environment: noDrivers),
    ]) func badDevice(_ mistake: Mistake) throws { try expect(mistake) }

    @Test(.enabled(if: !presentDevices.contains { $0.kind == .gpu })) func noGPU() throws {
        try expect(
            Mistake(
                "no GPU", train("--device", "gpu"), status: 1,
                "--device gpu: no such device here; there is opencl:0 (cpu"))
    }

    // MARK: - The output folder

    @Test(arguments: [
        Mistake(
            "it exists", train("--out", "run"), status: 1,
            "run: this exists already, and a run is never overwritten", "another --out"),
        Mistake(
            "it is below a file", train("--out", "/dev/null/x"), status: 1,
            "/dev/null/x/checkpoints: creating this folder failed", "Not a directory", "Check the path"),
        Mistake(
            "nothing to begin from", train("--init", "nowhere"), status: 1,
            "nowhere: no such file or folder"),
        Mistake("nothing to resume", ["--resume", "nowhere"], status: 1, "nowhere: no run's folder"),
        Mistake("not a run", ["--resume", "set"], status: 1, "set: no run's folder"),
        Mistake("the set exists", ["scenes", "--out", "set"], status: 1, "set: exists already"),
        Mistake(
            "the set is below a file", ["scenes", "--out", "/dev/null/x"], status: 1,
            "/dev/null/x: cannot be made: Not a directory"),
        Mistake(
            "JSON to a missing folder",
            ["evaluate", "--checkpoint", "run", "--data", "set", "--json", "no/where.json"], status: 2,
            "--json no/where.json: there is no folder"),
        Mistake(
            "JSON to a folder", ["predict", "--checkpoint", "run", "--json", "set", "a.jpg"], status: 2,
            "--json set: this is a folder"),
        Mistake(
            "JSON below a file", ["bench", "gemm", "--json", "/dev/null/x"], status: 2,
            "--json /dev/null/x: there is no folder /dev/null"),
    ]) func badOutput(_ mistake: Mistake) throws { try expect(mistake) }

    @Test func fullDiskAtTheFirstCheckpoint() throws {
        // 32 KB, less than the model needs.
        let result = try place.train("--out", "full", fileBlocks: 64)
        #expect(result.status == 1)
        #expect(
            result.errors.contains("model.safetensors: writing failed: File too large"), "\(result.errors)")
        #expect(result.errors.contains("ulimit -f"))
        let left = try FileManager.default.subpathsOfDirectory(atPath: place.path + "/full")
        #expect(!left.contains { $0.hasSuffix(".safetensors") || $0.contains("partial") }, "\(left)")
    }

    @Test func fullDiskInTheMiddleLeavesTheLastCheckpoint() throws {
        // The model has a few hundred bytes; the log exceeds 16 KB after about ten epochs.
        let tiny = [
            "--model", "linear", "--image-size", "2", "--short-side", "2", "--batch", "8", "--data", "set",
        ]
        // Compile the kernels without the limit first: the compiler's files are larger.
        try #require(try place.run(["train", "--epochs", "1", "--out", "small"] + tiny).status == 0)
        let result = try place.run(["train", "--epochs", "100", "--out", "middle"] + tiny, fileBlocks: 32)
        #expect(result.status == 1)
        #expect(
            result.errors.contains("middle/metrics.jsonl: writing failed: File too large"), "\(result.errors)"
        )
        let evaluation = try place.run(["evaluate", "--checkpoint", "middle", "--data", "set"])
        #expect(evaluation.status == 0, "\(evaluation.errors)")
        // The log ends with a whole line.
        let log = try place.bytes("middle/metrics.jsonl")
        #expect(log.last == UInt8(ascii: "\n"))
        #expect(log.count <= 16384)
    }

    @Test func fullDiskUnderTheDemoSet() throws {
        let result = try place.run(
            ["scenes", "--out", "no-room", "--count", "60", "--size", "96"], fileBlocks: 2)
        #expect(result.status == 1)
        #expect(
            result.errors.hasPrefix("error: no-room/") && !result.errors.contains("NSCocoa"),
            "\(result.errors)")
        #expect(
            result.errors.contains(".jpg: cannot be written: File too large; make room on this disk"),
            "\(result.errors)")
        #expect(
            try !FileManager.default.contentsOfDirectory(atPath: place.path).contains {
                $0.contains("no-room")
            })
    }

    // MARK: - What works

    /// A class without validation photographs is named once, before training begins.
    @Test func classesThatAreNotHeldOut() throws {
        for name in ["train/a/1", "train/b/1", "train/c/1", "val/b/1"] {
            for index in 0..<8 {
                _ = try place.file("gap/\(name)\(index).jpg", place.bytes(place.photograph("ring")))
            }
        }
        let note =
            "no photograph of class “a”, “c” is held out, so validation does not cover them: "
            + "put some into val/, or "
        let result = try place.train("--data", "gap", "--out", "gap-run")
        #expect(result.status == 0 && result.output.split(separator: note).count == 2, "\(result)")
        let whole = try place.train("--out", "whole-run")
        #expect(whole.status == 0 && !whole.output.contains("held out"), "\(whole)")
    }

    /// Only the devices that `--device` selects are measured.
    @Test func devicesThatAreMeant() throws {
        let result = try place.run(["devices", "--device", "opencl:0"])
        #expect(result.status == 0, "\(result)")
        let names = result.output.split(separator: "\n").filter { $0.hasPrefix("opencl:") }
        #expect(names.count == 1 && names.first?.hasPrefix("opencl:0 ") == true, "\(result.output)")
    }

    @Test func helpAndVersionAreQuick() throws {
        let help = try place.run(["--help"])
        #expect(help.status == 0)
        // The help is wrapped at the terminal's width.
        let text = help.output.split(whereSeparator: \.isWhitespace).joined(separator: " ")
        #expect(
            text.contains(
                "Exit status: 0 The command succeeded. 1 The work failed. 2 The command line or the "
                    + "configuration file is wrong. 128 + n Signal n ended the command."))
        for command in [
            "train", "evaluate", "predict", "compare", "scenes", "check-gradients", "bench", "devices",
        ] { #expect(help.output.contains("  \(command) "), "\(command) is not in the help") }
        let version = try place.run(["--version"])
        #expect(version.status == 0)
        #expect(version.output.split(separator: ".").count == 3)
    }

    /// A state that no run can reach is an error, not a trap.
    @Test(arguments: [
        ("step", "-6"), ("step", "3000"), ("validatedEpochs", "-1"), ("validatedEpochs", "1000000000000"),
        ("metricsByteCount", "-5"),
    ]) func impossibleState(key: String, value: String) throws {
        let run = "tampered-\(key)\(value)"
        try FileManager.default.copyItem(atPath: place.path + "/run", toPath: place.path + "/" + run)
        let folder = try FileManager.default.destinationOfSymbolicLink(
            atPath: place.path + "/" + run + "/checkpoints/last")
        let path = "\(run)/checkpoints/\(folder)/state.json"
        let text = String(decoding: try place.bytes(path), as: UTF8.self)
        let changed = text.replacing(
            try Regex("\"\(key)\" : [0-9]+,?(?=\n  \"|\n})"), with: "\"\(key)\" : \(value),")
        try #require(changed != text)
        _ = try place.file(path, changed)
        let result = try place.run(["--resume", run])
        #expect(result.status == 1, "\(result)")
        #expect(
            result.errors.contains("state.json") && result.errors.contains("cannot be"), "\(result.errors)")
    }

    /// Without --val-fraction, a run is measured on the photographs that it held out.
    @Test func evaluateHoldsOutWhatTheRunDid() throws {
        for fraction in ["0.3", "0.5"] {
            let run = "held-out-\(fraction)"
            let trained = try place.train("--data", "set/train", "--val-fraction", fraction, "--out", run)
            #expect(trained.status == 0, "\(trained)")
            let own = try place.run(["evaluate", "--checkpoint", run, "--data", "set/train"])
            let named = try place.run([
                "evaluate", "--checkpoint", run, "--data", "set/train", "--val-fraction", fraction,
            ])
            // The photographs are the same; only the line about their choice differs.
            #expect(
                own.output.contains("those that `train` holds out")
                    && named.output.contains("a share of \(fraction)"), "\(own) \(named)")
            func figures(_ text: String) -> ArraySlice<Substring> { text.split(separator: "\n").dropFirst() }
            #expect(
                figures(own.output) == figures(named.output) && own.output.contains("images"),
                "\(own) \(named)")
        }
    }

    @Test func evaluateWritesItsNumbers() throws {
        let result = try place.run([
            "evaluate", "--checkpoint", "run", "--data", "set", "--json", "evaluation.json",
        ])
        #expect(result.status == 0, "\(result.errors)")
        guard case .object(let members) = try JSON.parse(place.bytes("evaluation.json")) else {
            Issue.record("not an object")
            return
        }
        #expect(members.map(\.key).prefix(4) == ["top1", "top5", "loss", "images"])
        #expect(members[3].value == .integer(12))
        for key in ["top1", "top5"] {
            #expect((0...1).contains(number(members.first { $0.key == key }?.value)))
        }
        // With three classes, each answer is among the five best. Guessing has a loss of ln 3; a run of six
        // steps is near it.
        #expect(number(members[1].value) == 1)
        #expect((0.1..<10).contains(number(members[2].value)))
    }

    @Test func predictNamesWhatItCannotRead() throws {
        let photograph = try place.photograph("ring")
        let damaged = try place.file("states/damaged.jpg", Array(try place.bytes(photograph).prefix(400)))
        let result = try place.run([
            "predict", "--checkpoint", "run", photograph, damaged, "nothing.jpg", "--json", "answers.json",
        ])
        #expect(result.status == 1)
        #expect(result.errors.contains("2 of 3 photographs could not be used"))
        guard case .array(let answers) = try JSON.parse(place.bytes("answers.json")), answers.count == 3
        else {
            Issue.record("not a list of three")
            return
        }
        #expect(keys(answers[0]) == ["file", "top"])
        #expect(answers[0]["file"] == .string(photograph))
        guard case .array(let best)? = answers[0]["top"], best.count == 3 else {
            Issue.record("not a list of the three classes")
            return
        }
        for entry in best { #expect(keys(entry) == ["class", "probability"]) }
        let probabilities = best.map { number($0["probability"]) }
        #expect(probabilities == probabilities.sorted(by: >))
        // The rounding of three numbers in single precision.
        #expect(abs(probabilities.reduce(0, +) - 1) < 1e-6)
        for (answer, name) in zip(answers[1...], [damaged, "nothing.jpg"]) {
            #expect(keys(answer) == ["file", "error"])
            #expect(answer["file"] == .string(name))
            guard case .string(let error)? = answer["error"] else {
                Issue.record("no error")
                continue
            }
            #expect(error.hasPrefix(name + ": "))
        }
    }

    @Test func predictEndsWellWhereAllCanBeRead() throws {
        let result = try place.run(["predict", "--checkpoint", "run", "--top", "1", place.photograph("ring")])
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.output.split(separator: "\n").count == 2)
    }

    /// The reported ratio is the median over the pairs of steps.
    @Test func benchStepComparesAugmentations() throws {
        let result = try place.run([
            "bench", "step", "--model", "4", "--image-size", "8", "--batch", "4", "--augment", "paper",
            "--steps", "3", "--json", "pairs.json",
        ])
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.output.contains("3 pairs"))
        let json = try JSON.parse(place.bytes("pairs.json"))
        guard case .array(let plain)? = json["seconds_none"],
            case .array(let augmented)? = json["seconds_augmented"]
        else {
            Issue.record("no seconds")
            return
        }
        let ratios = zip(augmented, plain).map { number($0) / number($1) }.sorted()
        #expect(
            ratios.count == 3 && ratios.allSatisfy { $0 > 0 } && number(json["ratio"]) == ratios[1], "\(json)"
        )
    }

    private func keys(_ value: JSON) -> [String] {
        guard case .object(let members) = value else { return [] }
        return members.map(\.key)
    }

    private func number(_ value: JSON?) -> Double {
        switch value {
        case .integer(let value): Double(value)
        case .number(let value): value
        default: .nan
        }
    }
}
