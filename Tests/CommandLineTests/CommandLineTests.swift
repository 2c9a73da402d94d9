@testable import Basics
import Compute
import Foundation
import TestSupport
import Testing

@Suite(.serialized) struct CommandLineTests {
    let place: Workplace

    init() throws { place = try Workplace.shared.get() }

    // MARK: - Options

    @Test(arguments: [
        train("--batch 0", 2, "'0' is invalid for '--batch", "expected 1 to 65536 images"),
        train("--batch many", 2, "'many' is invalid for '--batch", "expected a whole number"),
        train("--batch 49", 2, "a batch of 49", "only 48 training photographs", "give --batch 48 or less"),
        train(
            "--batch 64 --micro-batches 32", 2, "a batch of 64",
            "only 48 training photographs for 32 micro-batches", "give --batch 32 or less"),
        train("--image-size 1", 2, "'1' is invalid for '--image-size", "expected 2 to 4096 pixels"),
        train("--model 32,X,F16", 2, "unknown token 'X' in '32,X,F16'", "M (2×2 max-pooling)"),
        train("--model ''", 2, "--model", "the specification is empty"),
        train("--model F16,32", 2, "'32' follows a fully connected layer"),
        train(
            "--model 16,M,M,M,M,M", 2, "--model 16,M,M,M,M,M", "poolings need images of 32 pixels or more",
            "the image size is 16"),
        train("--micro-batches 3", 2, "'3' is invalid for '--micro-batches", "expected a power of two"),
        train("--micro-batches 16", 2, "--micro-batches 16", "divides the batch of 8"),
        train("--short-side 8", 2, "--short-side 8", "the image size (16) or more"),
        train("--learning-rate 0", 2, "--learning-rate", "expected a number above 0"),
        train("--learning-rate nan", 2, "--learning-rate", "expected a number"),
        train("--momentum 1", 2, "--momentum", "0 or more and below 1"),
        train("--dropout 1", 2, "--dropout", "0 or more and below 1"),
        train("--schedule linear", 2, "--schedule", "one of constant, step, plateau, cosine"),
        train("--workers 0", 2, "--workers", "1 to 256 threads"),
        train("--val-fraction 1", 2, "--val-fraction", "a share between 0 and 1"),
        train("--max-bad many", 2, "'many' is invalid for '--max-bad", "a share such as 1%"),
        train("--freeze features", 2, "--freeze features", "give --init too"),
        train("--clip-norm 0", 2, "'0' is invalid for '--clip-norm", "a number above 0"),
        train("--keep 0", 2, "'0' is invalid for '--keep", "1 to 1000000 checkpoints"),
        train("--checkpoint-every 0", 2, "'0' is invalid for '--checkpoint-every", "steps"),
        train("--lerning-rate 1", 2, "Unknown option '--lerning-rate'", "'--learning-rate'"),
        // Something else is wrong too, perhaps because of the misspelt option.
        run("scenes --otu never", 2, "Unknown option '--otu'", "'--out'"),
        run("evaluate --checkpoint run --dta=set", 2, "Unknown option '--dta'", "'--data'"),
        run("predict --checkpoint run set --tpo 3", 2, "Unknown option '--tpo'", "'--top'"),
        run("bench input --dta set", 2, "Unknown option '--dta'", "'--data'"),
        run("trian", 2, "Unknown command 'trian'. Did you mean 'train'?"),
        run("bench stpe", 2, "Unknown command 'stpe'. Did you mean 'step'?"),
        run(
            "bench gemm --size 4096 --device-memory 64M", 1, "larger than the largest", "try a smaller --size"
        ),
        run("evaluate --data set", 2, "Missing expected argument '--checkpoint"),
        run("predict --checkpoint run", 2, "Missing expected argument '<images>"),
        run("predict --checkpoint run --top 0 a.jpg", 2, "--top 0", "1 or more"),
        run("check-gradients --batch 0", 2, "--batch 0", "1 to 65536"),
        run("check-gradients --classes 0", 2, "--classes 0", "2 to 1000000 classes"),
        run("check-gradients --image-size 0", 2, "--image-size 0", "2 to 4096"),
        run("bench step --model M,M --image-size 2", 2, "need images of 4 pixels"),
        run("bench step --augment paper --micro-batches 2", 2, "--augment paper", "--micro-batches"),
        run(
            "bench step --micro-batches 3", 2, "--micro-batches 3", "a power of two",
            "See 'trainer bench step --help'"),
        run("bench fully-connected --device-memory 64M", 1, "larger than the largest", "fewer --inputs"),
        run("tune --image-size 0", 2, "--image-size 0", "2 to 4096"),
        run("tune --model X", 2, "--model X", "unknown token 'X'"),
        run("selftest --device fast", 2, "--device fast", "auto, cpu, gpu, opencl:N"),
        run("bench gemm --size 0", 2, "--size 0", "1 to 16384"),
        run("scenes --out never --classes 113", 2, "113 classes", "2 to 112"),
        run("scenes --out never --count 3", 2, "3 pictures", "at least 50"),
    ]) func badOption(_ mistake: Mistake) throws { try place.expect(mistake) }

    // MARK: - Photographs

    @Test(arguments: [
        ["PMI_SIZE": "2", "PMI_RANK": "1"], ["WORLD_SIZE": "2", "RANK": "0"],
        ["SLURM_STEP_ID": "0", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"],
    ]) func rankOfAnotherLauncher(_ environment: [String: String]) throws {
        let begin = ContinuousClock.now
        try place.expect(train("", 2, " of 2 by ", "; type mpirun -n 2 trainer", environment: environment))
        // Within a second on a machine that does nothing else; a join of MPI would wait for a minute.
        #expect(ContinuousClock.now - begin < .seconds(5))
        try place.succeed("--help", environment: environment)
    }

    @Test(arguments: [
        train("--data nowhere", 1, "nowhere: no such folder"),
        train("--data states/file", 1, "states/file: not a folder"),
        train("--data states/no-classes", 1, "states/no-classes: no class folders"),
        train("--data states/one-class", 1, "states/one-class: only one class, “a”"),
        run(
            "train --data states/few --batch 32 --out never", 2,
            "a batch of 32", "only 4 training", "--batch 4 or"),
        train("--data states/empty-class", 1, "states/empty-class/b: an empty class"),
        train(
            "--data states/other-val", 1, "states/other-val/val: class “c” is not in",
            "rename it, or add its training images"),
        run(
            "evaluate --checkpoint run --data states/other-classes", 1,
            "is not among the model's 3 classes", "“ring”"),
    ]) func badPhotographs(_ mistake: Mistake) throws {
        let picture = try place.bytes(place.photograph("ring"))
        for name in [
            "one-class/a/1.jpg", "empty-class/a/1.jpg", "other-val/train/a/1.jpg", "other-val/train/b/1.jpg",
            "other-val/val/c/1.jpg", "other-classes/train/a/1.jpg", "other-classes/train/b/1.jpg",
            "other-classes/val/a/1.jpg", "few/train/a/1.jpg", "few/train/a/2.jpg", "few/train/b/1.jpg",
            "few/train/b/2.jpg", "few/val/a/1.jpg",
        ] { try place.file("states/" + name, picture) }
        try place.file("states/no-classes/notes.txt", "nothing")
        try place.file("states/empty-class/b/notes.txt", "nothing")
        try place.file("states/file", "nothing")
        try place.expect(mistake)
    }

    // MARK: - Devices

    /// A folder that contains no driver's file.
    private static let noDrivers = ["OCL_ICD_VENDORS": "/proc/self/fdinfo"]

    @Test(arguments: [
        train(
            "--device opencl:99", 1, "no device opencl:99 here; there is opencl:0 (",
            "; give one of these to --device"),
        train("--device fast", 2, "'fast' is invalid for '--device", "auto, cpu, gpu, opencl:N"),
        run("devices --device opencl:99", 1, "no device opencl:99 here;", "one of these to --device"),
        run("plan --device opencl:0,opencl:0", 1, "2 devices for 1 rank", "give a single device to --device"),
        run("devices --device fast", 2, "--device fast: expected auto, cpu, gpu, opencl:N"),
        run("predict --checkpoint run --device fast a.jpg", 2, "--device fast", "auto, cpu, gpu, opencl:N"),
        train(
            "", 1, "no OpenCL device found; install a runtime: `apt-get install pocl-opencl-icd`",
            environment: noDrivers),
        run("devices", 1, "no OpenCL device found; install", environment: noDrivers),
        run(
            "devices", 1, "pocl is installed, but its kernel cache /proc/nowhere cannot be made",
            "set POCL_CACHE_DIR, or HOME,", environment: ["POCL_CACHE_DIR": "/proc/nowhere"]),
        run(
            "devices", 1, "pocl is installed, but its kernel cache /proc/.cache/pocl",
            "set POCL_CACHE_DIR, or HOME,",
            environment: ["HOME": "/proc", "POCL_CACHE_DIR": "", "XDG_CACHE_HOME": ""]),
    ]) func badDevice(_ mistake: Mistake) throws { try place.expect(mistake) }

    @Test(.enabled(if: !presentDevices.contains { $0.kind == .gpu })) func noGPU() throws {
        try place.expect(
            train("--device gpu", 1, "no device gpu here; there is opencl:0 (cpu"))
    }

    // MARK: - The output folder

    @Test(arguments: [
        train("--out run", 1, "run: this exists already, and a run is never overwritten", "another --out"),
        train(
            "--out /dev/null/x", 1, "/dev/null/x/checkpoints: creating this folder failed",
            "Not a directory", "Check the path"),
        train("--init nowhere", 1, "nowhere: no such file or folder"),
        run("--resume nowhere", 1, "nowhere: no run's folder"),
        run("--resume set", 1, "set: no run's folder"),
        run("scenes --out set", 1, "set: exists already"),
        run("scenes --out /dev/null/x", 1, "/dev/null/x: cannot be made: Not a directory"),
        run(
            "evaluate --checkpoint run --data set --json no/where.json", 2,
            "--json no/where.json: there is no folder"),
        run("predict --checkpoint run --json set a.jpg", 2, "--json set: this is a folder"),
        run("bench gemm --json /dev/null/x", 2, "--json /dev/null/x: there is no folder /dev/null"),
    ]) func badOutput(_ mistake: Mistake) throws { try place.expect(mistake) }

    @Test func fullDiskAtTheFirstCheckpoint() throws {
        // 32 KB, less than the model needs.
        try place.expect(
            train("--out full", 1, "model.safetensors: writing failed: File too large", "ulimit -f"),
            fileBlocks: 64)
        let left = try FileManager.default.subpathsOfDirectory(atPath: place.path + "/full")
        #expect(!left.contains { $0.hasSuffix(".safetensors") || $0.contains("partial") }, "\(left)")
    }

    @Test func fullDiskInTheMiddleLeavesTheLastCheckpoint() throws {
        // The model has a few hundred bytes; the log exceeds 16 KB after about ten epochs.
        let tiny = "train --model linear --image-size 2 --short-side 2 --batch 8 --data set"
        // Compile the kernels without the limit first: the compiler's files are larger.
        try place.succeed("\(tiny) --epochs 1 --out small")
        try place.expect(
            run(
                "\(tiny) --epochs 100 --out middle", 1,
                "middle/metrics.jsonl: writing failed: File too large"), fileBlocks: 32)
        try place.succeed("evaluate --checkpoint middle --data set")
        // The log ends with a whole line.
        let log = try place.bytes("middle/metrics.jsonl")
        #expect(log.last == UInt8(ascii: "\n"))
        #expect(log.count <= 16384)
    }

    @Test func fullDiskUnderTheDemoSet() throws {
        try place.expect(
            run(
                "scenes --out no-room --count 60 --size 96", 1, "error: no-room/",
                ".jpg: cannot be written: File too large; make room on this disk"), fileBlocks: 2)
        #expect(try !place.names().contains { $0.contains("no-room") })
    }

    // MARK: - What works

    /// A class without validation photographs is named once, before training begins.
    @Test func classesThatAreNotHeldOut() throws {
        for name in ["train/a/1", "train/b/1", "train/c/1", "val/b/1"] {
            for index in 0..<8 {
                try place.file("gap/\(name)\(index).jpg", place.bytes(place.photograph("ring")))
            }
        }
        let note =
            "no photograph of class “a”, “c” is held out, so validation does not cover them: "
            + "add some to gap/val"
        let result = try place.train("--data gap --out gap-run")
        #expect(result.output.split(separator: note).count == 2, "\(result)")
        let whole = try place.train("--out whole-run")
        #expect(!whole.output.contains("held out"), "\(whole)")
    }

    /// Only the devices that `--device` selects are measured.
    @Test func devicesThatAreMeant() throws {
        let result = try place.succeed("devices --device opencl:0")
        let names = result.output.split(separator: "\n").filter { $0.hasPrefix("opencl:") }
        #expect(names.count == 1 && names.first?.hasPrefix("opencl:0 ") == true, "\(result.output)")
    }

    @Test func selfTestPasses() throws {
        let output = try place.succeed("selftest --device opencl:0 --kernels cpu").output
        #expect(output.hasPrefix("opencl:0 ") && output.contains(", driver "), "\(output)")
        #expect(output.contains(" checks, 0 failed; 0 kernels not launched"), "\(output)")
        #expect(output.contains("\n  softmax "), "\(output)")
    }

    /// A damaged file costs a warning, and `--clear` removes it.
    @Test func storedTuning() throws {
        var description = try #require(presentDevices.first)
        description.kernels = .gpu
        let file = "tuned/" + (TuningStore(description).path as NSString).lastPathComponent
        try place.file(file, "{")
        let cache = ["DEEP_IMAGE_CACHE": place.file("tuned")]
        let product = "bench gemm --size 16 --steps 1 --device opencl:0 --kernels gpu"
        let warned = try place.succeed(product, environment: cache)
        #expect(
            warned.errors.split(separator: "\n").count == 1
                && warned.errors.contains("\(file): not the tuning of a device"), "\(warned)")
        let cleared = try place.succeed("tune --clear", environment: cache)
        #expect(cleared.output == "removed the stored values of 1 device\n" && !place.exists(file))
        #expect(try place.succeed(product, environment: cache).errors == "")
        let tuned = try place.succeed("tune --device opencl:0 --kernels cpu", environment: cache)
        #expect(tuned.output.contains("there is nothing to tune"), "\(tuned)")
    }

    @Test func helpAndVersionAreQuick() throws {
        let help = try place.succeed("--help")
        // The help is wrapped at the terminal's width.
        let text = help.output.split(whereSeparator: \.isWhitespace).joined(separator: " ")
        #expect(
            text.contains(
                "Exit status: 0 The command succeeded. 1 The work failed. 2 The command line or the "
                    + "configuration file is wrong. 75 Training stopped as asked, with a checkpoint: "
                    + "resume it. 76 Another rank, its machine or the network was lost: resume the run. "
                    + "128 + n Signal n ended the command."))
        for command in [
            "train", "evaluate", "predict", "compare", "scenes", "check-gradients", "bench", "devices",
            "selftest", "tune",
        ] { #expect(help.output.contains("  \(command) "), "\(command) is not in the help") }
        let version = try place.succeed("--version")
        #expect(version.output.split(separator: ".").count == 3)
    }

    /// A state that no run can reach is an error, not a trap.
    @Test(arguments: [
        ("step", "-6"), ("step", "3000"), ("validatedEpochs", "-1"), ("validatedEpochs", "1000000000000"),
        ("metricsByteCount", "-5"),
    ]) func impossibleState(key: String, value: String) throws {
        let folder = "tampered-\(key)\(value)"
        try FileManager.default.copyItem(atPath: place.file("run"), toPath: place.file(folder))
        let last = try FileManager.default.destinationOfSymbolicLink(
            atPath: place.file(folder + "/checkpoints/last"))
        let path = "\(folder)/checkpoints/\(last)/state.json"
        let text = try place.text(path)
        let changed = text.replacing(
            try Regex("\"\(key)\" : [0-9]+,?(?=\n  \"|\n})"), with: "\"\(key)\" : \(value),")
        try #require(changed != text)
        try place.file(path, changed)
        try place.expect(run("--resume \(folder)", 1, "state.json", "cannot be"))
    }

    /// Without --val-fraction, a run is measured on the photographs that it held out.
    @Test func evaluateHoldsOutWhatTheRunDid() throws {
        for fraction in ["0.3", "0.5"] {
            let run = "held-out-\(fraction)"
            try place.train("--data set/train --val-fraction \(fraction) --out \(run)")
            let own = try place.succeed("evaluate --checkpoint \(run) --data set/train").output
            let named = try place.succeed(
                "evaluate --checkpoint \(run) --data set/train --val-fraction \(fraction)"
            ).output
            // The photographs are the same; only the line about their choice differs.
            #expect(own.contains("those that training held out") && own.contains("images"), "\(own)")
            #expect(named.contains("a share of \(fraction)"), "\(named)")
            func figures(_ text: String) -> ArraySlice<Substring> { text.split(separator: "\n").dropFirst() }
            #expect(figures(own) == figures(named))
        }
    }

    @Test func evaluateWritesItsNumbers() throws {
        try place.succeed("evaluate --checkpoint run --data set --json evaluation.json")
        let json = try place.json("evaluation.json")
        #expect(json.keys.prefix(4) == ["top1", "top5", "loss", "images"])
        #expect(json["images"] == .integer(12))
        #expect((0...1).contains(JSON.number(json["top1"])))
        // With three classes, each answer is among the five best. Guessing has a loss of ln 3; a run of six
        // steps is near it.
        #expect(JSON.number(json["top5"]) == 1)
        #expect((0.1..<10).contains(JSON.number(json["loss"])))
    }

    @Test func predictNamesWhatItCannotRead() throws {
        let photograph = try place.photograph("ring")
        let damaged = try place.file("states/damaged.jpg", Array(try place.bytes(photograph).prefix(400)))
        try place.expect(
            run(
                "predict --checkpoint run \(photograph) \(damaged) nothing.jpg --json answers.json", 1,
                "2 of 3 photographs could not be used"))
        let answers = JSON.list(try place.json("answers.json"))
        try #require(answers.count == 3)
        #expect(answers[0].keys == ["file", "top"])
        #expect(answers[0]["file"] == .string(photograph))
        let best = JSON.list(answers[0]["top"])
        #expect(best.count == 3)
        for entry in best { #expect(entry.keys == ["class", "probability"]) }
        let probabilities = best.map { JSON.number($0["probability"]) }
        #expect(probabilities == probabilities.sorted(by: >))
        // The rounding of three numbers in single precision.
        #expect(abs(probabilities.reduce(0, +) - 1) < 1e-6)
        for (answer, name) in zip(answers[1...], [damaged, "nothing.jpg"]) {
            #expect(answer.keys == ["file", "error"])
            #expect(answer["file"] == .string(name))
            #expect(JSON.text(answer["error"]).hasPrefix(name + ": "))
        }
    }

    @Test func predictEndsWellWhereAllCanBeRead() throws {
        let result = try place.succeed("predict --checkpoint run --top 1 \(place.photograph("ring"))")
        #expect(result.output.split(separator: "\n").count == 2)
    }

    /// The reported ratio is the median over the pairs of steps.
    @Test func benchStepComparesAugmentations() throws {
        let result = try place.succeed(
            "bench step --model 4 --image-size 8 --batch 4 --augment paper --steps 3 --json pairs.json")
        #expect(result.output.contains("3 pairs"))
        let json = try place.json("pairs.json")
        let ratios = zip(JSON.list(json["seconds_augmented"]), JSON.list(json["seconds_none"])).map {
            JSON.number($0) / JSON.number($1)
        }.sorted()
        #expect(ratios.count == 3 && ratios.allSatisfy { $0 > 0 }, "\(json)")
        #expect(JSON.number(json["ratio"]) == ratios[1], "\(json)")
    }
}
