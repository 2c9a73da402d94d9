import Foundation
import NeuralNet
import TestSupport
import Testing

/// Options that change what a network is trained towards, which photographs it sees, and which weights are
/// kept.
@Suite(.serialized) struct TrainingOptionTests {
    let place: Workplace

    /// Classes of 4, 16 and 16 pictures.
    init() throws {
        place = try Workplace()
        let folder = "set/train/" + TintedPictures.classes[0]
        for name in try place.names(folder).dropFirst(4) { try place.remove(folder + "/" + name) }
    }

    static let choices = [
        "--label-smoothing 0.1", "--mixup 0.2", "--ema 0.9",
        "--class-weights balanced", "--balanced-sampling",
        "--label-smoothing 0.1 --mixup 0.2 --ema 0.9 --class-weights balanced --micro-batches 2",
        "--balanced-sampling --mixup 0.2 --ema 0.8 --optimizer adamw --learning-rate 0.003",
    ]
    private static let common = "--epochs 8 --augment standard --dropout 0.2 --checkpoint-every 5 --keep 99"

    @Test(arguments: choices) func aStoppedRunEndsWithTheSameBytes(_ options: String) throws {
        for run in ["whole", "run"] { try place.train("\(Self.common) \(options) --out \(run)") }
        // 4 steps an epoch: as after a kill between the steps 15 and 16, in the fourth epoch.
        for step in try place.names("run/checkpoints").compactMap({ Int($0.dropFirst(5)) }) where step > 15 {
            try place.remove("run/checkpoints/step-\(step)")
        }
        let result = try place.succeed("--resume run")
        #expect(result.output.contains("resuming after step 15"), "\(result.output)")
        try place.expectSameModel("run", "whole")
        for file in ["optimizer.safetensors", "model.safetensors"] {
            for checkpoint in ["last", "best"] {
                let path = "checkpoints/\(checkpoint)/\(file)"
                #expect(try place.bytes("run/\(path)") == place.bytes("whole/\(path)"), "\(path)")
            }
        }
        #expect(try place.untimedLog("run") == place.untimedLog("whole"))
        // The option has an effect, and the configuration has the option.
        try place.train("\(Self.common) --out plain")
        let model = "checkpoints/last/model.safetensors"
        #expect(try place.bytes("whole/" + model) != place.bytes("plain/" + model))
        let words = options.split(separator: " ")
        for (name, value) in zip(words, words.dropFirst()) where name.hasPrefix("--") {
            let line = "\n\(name.dropFirst(2)): \(value.hasPrefix("--") ? "true" : value)\n"
            #expect(try place.text("run/config.yaml").contains(line), "\(line)")
        }
        try place.succeed("train --config run/config.yaml --out again")
        try place.expectSameModel("again", "whole")
    }

    /// One and several ranks, which share validation too.
    @Test(arguments: [
        "--label-smoothing 0.1 --mixup 0.2 --ema 0.9 --class-weights balanced",
        "--balanced-sampling --mixup 0.2 --ema 0.9",
    ]) func sameBytesOnAnyNumberOfRanks(_ options: String) throws {
        let small = Workplace.small.joined(separator: " ")
        for ranks in [1, 2, 4] {
            let result = try place.mpirun(
                ranks, "train \(small) --micro-batches 4 \(Self.common) \(options) --out run-\(ranks)")
            try #require(result.status == 0, "\(result)")
        }
        // Ranks add the losses of micro-batches, and the shares of mixed hits, in another order than one
        // process.
        func validations(_ run: String) throws -> [String] {
            try place.untimedLog(run).split(separator: "\n").filter { $0.contains(#""event":"validate""#) }
                .map { String($0).replacing(/,"training_(loss|top1)":[-0-9.e]+/, with: "") }
        }
        for ranks in [2, 4] {
            try place.expectSameModel("run-\(ranks)", "run-1")
            let optimizer = "checkpoints/last/optimizer.safetensors"
            #expect(try place.bytes("run-\(ranks)/" + optimizer) == place.bytes("run-1/" + optimizer))
            #expect(try validations("run-\(ranks)") == validations("run-1"))
        }
    }

    /// The model that is saved is the average of every step's weights, which are those of a run without it.
    @Test func theAverageOfTheWeights() throws {
        let options = "--epochs 4 --checkpoint-every 1 --keep 99 --ema 0.75"
        try place.train("\(options) --out run")
        try place.train("--epochs 4 --checkpoint-every 1 --keep 99 --out plain")
        for name in ["features.0.weight", "classifier.3.bias"] {
            func tensor(_ run: String, _ step: Int, _ file: String, _ name: String) throws -> [Float] {
                try #require(try place.tensor("\(run)/checkpoints/step-\(step)/\(file).safetensors", name))
            }
            var average = try tensor("plain", 0, "model", name)
            #expect(try tensor("run", 0, "model", name) == average)
            for step in 1...16 {
                let weights = try tensor("plain", step, "model", name)
                #expect(try tensor("run", step, "optimizer", name + ".not_averaged") == weights)
                // The first steps keep 2/11, 3/12, 4/13 …, and those from the 25th on would keep 3/4.
                let rate = Float(1 - min(0.75, Double(step + 1) / Double(step + 10)))
                average = zip(average, weights).map { $0.addingProduct(rate, $1 - $0) }
                #expect(try tensor("run", step, "model", name) == average, "\(name), step \(step)")
                #expect(average != weights)
            }
        }
        // Validation, in training and later, is the average's.
        let (own, others) = try (place.events("run", "validate"), place.events("plain", "validate"))
        let losses = [own, others].map { $0.compactMap { $0["loss"] as? Double } }
        #expect(zip(losses[0], losses[1]).allSatisfy { $0 != $1 })
        #expect(
            zip(own, others).allSatisfy { $0["training_loss"] as? Double == $1["training_loss"] as? Double })
        let evaluated = try place.succeed(
            "evaluate --checkpoint run/checkpoints/last --data set --device cpu --json out.json")
        #expect(evaluated.output.contains(String(format: "%.4f", losses[0][3])), "\(evaluated.output)")
        try place.expectLearnt("run")
    }

    @Test func ratesAreFoundWithoutATraceInTheAverage() throws {
        let options = "--epochs 12 --augment none --warmup-epochs 0 --ema 0.9 --optimizer adamw"
        let result = try place.train("\(options) --learning-rate auto --out run")
        let line = try #require(result.output.split(separator: "\n").first { $0.hasPrefix("learning rate ") })
        let rate = line.dropFirst("learning rate ".count).prefix { $0 != "," }
        try place.train("\(options) --learning-rate \(rate) --out given")
        try place.expectSameModel("run", "given")
    }

    @Test func imbalanceIsReported() throws {
        let few = "a class has 4 (checkered-square) to 16 (ring) training images, a ratio of 4.0"
        let result = try place.train("--out few --epochs 1")
        #expect(result.output.contains(few) && !result.output.contains("warning"), "\(result.output)")
        let start = try #require(place.events("few", "start").first)
        #expect(start["largest_class"] as? String == "ring" && start["largest_class_images"] as? Int == 16)
        #expect(start["smallest_class_images"] as? Int == 4 && start["class_ratio"] as? Double == 4)

        let folder = "set/train/" + TintedPictures.classes[0]
        for name in try place.names(folder).dropFirst() { try place.remove(folder + "/" + name) }
        let warned = try place.train("--out run")
        #expect(
            warned.output.contains(
                "warning: class ring has 16 times as many training images as class checkered-square. Try "
                    + "--balanced-sampling or --class-weights balanced."), "\(warned.output)")
        func warnings() throws -> Int {
            try place.events("run", "warning").count { $0["kind"] as? String == "imbalance" }
        }
        #expect(try warnings() == 1)
        for options in ["--balanced-sampling", "--class-weights balanced"] {
            let run = options.split(separator: " ")[0].dropFirst(2)
            #expect(!(try place.train("\(options) --out \(run)")).output.contains("warning: class"))
        }
        // A resumed run does not repeat it.
        try place.remove("run/checkpoints/step-8")
        try place.succeed("--resume run")
        #expect(try warnings() == 1)
        try place.expect(
            train(
                "--balanced-sampling --class-weights balanced", 2,
                "--balanced-sampling true: omit --class-weights balanced"))
    }

    @Test(arguments: [
        ("--mixup 0", "expected 0.001 to 1000.0 for A"),
        ("--mixup 1 --batch 8 --micro-batches 8", "--mixup 1.0: expected micro-batches of 2 images or more"),
        ("--label-smoothing 1", "expected 0 or more and below 1"),
        ("--ema 1", "expected a share above 0 and below 1"), ("--ema 0", "expected a share above 0"),
        ("--class-weights square", "expected one of none, balanced"),
    ]) func mistakes(options: String, message: String) throws {
        try place.expect(train(options, 2, message))
    }

    /// The mean weight of all images is 1, and all classes have the same sum.
    @Test func balancedWeights() {
        let exact: [Double] = [10.0 / 3, 10.0 / 12, 10.0 / 15]
        #expect(LossRule.balancedWeights([1, 4, 5]) == exact.map { Float($0) })
    }

    @Test func thePapersRecipe() throws {
        func values(_ run: String) throws -> [String: String] {
            let lines = try place.text(run + "/config.yaml").split(separator: "\n").map {
                $0.split(separator: ":", maxSplits: 1).map(String.init)
            }
            return Dictionary(
                uniqueKeysWithValues: lines.map { ($0[0], $0[1].trimmingCharacters(in: [" "])) })
        }
        let data = "train --data set --model 16,M,F16 --image-size 16 --device cpu --epochs 1"
        try place.succeed("\(data) --batch 32 --recipe paper --out run")
        let found = try values("run")
        for (name, value) in [
            "recipe": "paper", "optimizer": "sgd", "learning-rate": "null", "schedule": "step",
            "momentum": "0.9", "weight-decay": "0.0005", "warmup-epochs": "1.0", "dropout": "0.5",
        ] { #expect(found[name] == value, "\(name)") }
        // Flags and a configuration override it, wherever they stand.
        let file = "paper.yaml"
        try place.write("momentum: 0.8\nrecipe: paper\nweight-decay: null\n", file)
        try place.succeed(
            "\(data) --schedule constant --warmup-epochs 0 --config \(file) --batch 16 --out other")
        let changed = try values("other")
        for (name, value) in [
            "momentum": "0.8", "schedule": "constant", "warmup-epochs": "0.0", "weight-decay": "null",
            "recipe": "paper", "optimizer": "sgd",
        ] { #expect(changed[name] == value, "\(name)") }
        // 0.01 for a batch of 256.
        let rates = try place.events("other", "train").map { $0["learning_rate"] as? Double }
        #expect(rates == [0.000625, 0.000625], "\(rates)")
        // A resumed run keeps what it had, and a run's configuration repeats it.
        try place.succeed("--resume other")
        try place.expect(run("--resume other --recipe default", 2, "recipe default (the run has paper)"))
        try place.succeed("train --config other/config.yaml --out again")
        #expect(try place.text("again/config.yaml") == place.text("other/config.yaml"))
        try place.expect(train("--recipe vgg", 2, "expected one of default, paper"))
    }
}
