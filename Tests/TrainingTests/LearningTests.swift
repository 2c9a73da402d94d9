import Configuration
import Foundation
import TestSupport
import Testing

/// What a run says about how well it learns, and when it ends.
@Suite struct LearningTests {
    let place: Workplace

    init() throws { place = try Workplace() }

    /// The lines of a run's log with this event.
    private func log(_ run: String, _ event: String) throws -> [Substring] {
        try place.text("\(run)/metrics.jsonl").split(separator: "\n").filter {
            $0.contains("\"event\":\"\(event)\"")
        }
    }

    /// A rate that changes no weight leaves the loss at ln(3), and each validation as it was.
    @Test func aNetworkThatDoesNotLearnIsReportedAndStopped() throws {
        let options = "--learning-rate 1e-12 --epochs 9 --patience 2 --augment none --dropout 0"
        let result = try place.train("\(options) --out run")
        #expect(result.output.contains("warning: the network does not learn"), "\(result.output)")
        #expect(result.output.contains("guessing gives 1.099"), "\(result.output)")
        #expect(result.output.contains("stopped after epoch 3: 2 epochs without a better validation"))
        let warnings = try log("run", "warning")
        #expect(warnings.count == 1 && warnings[0].contains("\"kind\":\"guessing\""), "\(warnings)")
        #expect(try log("run", "validate").count == 3)
        // A stopped run stays stopped.
        try place.succeed("--resume run")
        #expect(try log("run", "validate").count == 3)
    }

    @Test func epochsReportTraining() throws {
        let result = try place.train("--epochs 6 --augment none --out run")
        #expect(result.output.contains("epoch 6: training top-1 "), "\(result.output)")
        #expect(!result.output.contains("warning"), "\(result.output)")
        let last = try #require(log("run", "validate").last)
        let losses = try [Substring("\"training_loss\":"), "\"training_top1\":"].map { key in
            try #require(
                last.firstRange(of: key).flatMap { range in
                    Double(last[range.upperBound...].prefix { "0123456789.e-".contains($0) })
                })
        }
        #expect(losses[0] >= 0 && losses[0] < 1 && losses[1] > 0.6 && losses[1] <= 1, "\(last)")
        // The sums survive a stop in the middle of an epoch.
        try place.train("--epochs 6 --augment none --out other --checkpoint-every 4 --keep 99")
        try place.remove("other/checkpoints/step-36")
        try place.succeed("--resume other")
        func validations(_ run: String) throws -> [Substring] {
            try place.untimedLog(run).split(separator: "\n").filter { $0.contains("training_loss") }
        }
        #expect(try validations("other") == validations("run"))
    }

    /// The search leaves no trace but the rate: a run with the rate that it found ends with the same bytes.
    @Test(arguments: ["sgd", "adamw"]) func theLearningRateIsFound(optimizer: String) throws {
        let options = "--epochs 10 --augment none --warmup-epochs 0 --optimizer \(optimizer)"
        let result = try place.train("\(options) --learning-rate auto --out run")
        let line = try #require(result.output.split(separator: "\n").first { $0.hasPrefix("learning rate ") })
        let rate = line.dropFirst("learning rate ".count).prefix { $0 != "," }
        #expect(line.contains("found in"), "\(line)")
        try place.train("\(options) --learning-rate \(rate) --out given")
        try place.expectSameModel("run", "given")
        let two = try place.mpirun(
            2,
            "train " + Workplace.small.joined(separator: " ")
                + " \(options) --micro-batches 2 --learning-rate auto --out ranks")
        #expect(two.status == 0, "\(two)")
        // Two ranks see the losses, to the last bit, that one process with two micro-batches sees.
        try place.train("\(options) --micro-batches 2 --learning-rate auto --out alone")
        try place.expectSameModel("ranks", "alone")
        #expect(try log("ranks", "validate").count == 10)
    }

    /// `find-rate` finds what a run does, draws it, and leaves no run.
    @Test func theCurveIsDrawn() throws {
        let options = "--epochs 10 --augment none"
        let result = try place.train("\(options) --learning-rate auto --warmup-epochs 0 --out run")
        let set = "--data set --model 16,M,F16 --image-size 16 --batch 8 --optimizer sgd --device cpu"
        let found = try place.succeed("find-rate \(set) \(options) --out rates.svg --json rates.json")
        let line = try #require(result.output.split(separator: "\n").first { $0.hasPrefix("learning rate ") })
        #expect(found.output.contains(line), "\(found.output)")
        let drawing = try place.text("rates.svg")
        #expect(drawing.contains("<svg ") && drawing.contains("chosen: "))
        let json =
            try JSONSerialization.jsonObject(with: Data(place.text("rates.json").utf8)) as? [String: Any]
        let curve = json?["curve"] as? [[String: Double]] ?? []
        // As many points in the drawing as rates were tried.
        let polyline = try #require(drawing.split(separator: "\n").first { $0.contains("<polyline") })
        #expect(curve.count >= 10 && polyline.split(separator: ",").count - 1 == curve.count)
        #expect(!place.exists("runs"))
        let mistake = try place.run(
            "find-rate \(set) --learning-rate 1".split(separator: " ").map { String($0) })
        #expect(mistake.status == 2 && mistake.errors.contains("--learning-rate"), "\(mistake)")
    }

    /// Deep networks and trained weights get lower rates, and a given rate stays.
    @Test func theUsualRateFollowsTheNetworkAndItsStart() {
        let deep = "16,16,M,32,32,M,64,64,F64"
        for (model, start, rate) in [
            ("mini", nil, 0.002), (deep, nil, 0.001), ("mini", "run", 0.001), (deep, "run", 0.0003),
        ] {
            var options = TrainingOptions()
            options.model = model
            options.initialModel = start
            #expect(options.givenLearningRate == rate, "\(model), \(start ?? "new")")
            options.learningRate = .rate(0.3)
            #expect(options.givenLearningRate == 0.3)
        }
    }

    /// Without `--batch`, a small set gets small mini-batches, and the run records them.
    @Test func smallSetsGetSmallBatches() throws {
        let options = "--data set --model 16,M,F16 --image-size 16 --epochs 1 --device cpu"
        let result = try place.succeed("train \(options) --out run")
        #expect(result.output.contains("batch 8, because the training set has only 48"), "\(result.output)")
        #expect(try place.text("run/config.yaml").contains("batch: 8\n"))
        #expect(try log("run", "train").count == 6)
        let ranks = try place.mpirun(2, "train \(options) --out ranks")
        #expect(ranks.status == 0, "\(ranks)")
        #expect(try place.text("ranks/config.yaml").contains("batch: 8\n"))
    }

    @Test func aFinishedRunGoesOnForLonger() throws {
        try place.train("--epochs 2 --schedule constant --out run")
        try place.expect(TestSupport.run("--resume run --epochs 1", 2, "epochs 1 (the run has 2)"))
        let result = try place.succeed("--resume run --epochs 4")
        #expect(result.output.contains("resuming after step 12"), "\(result.output)")
        #expect(try log("run", "validate").count == 4)
        // With a schedule that does not depend on the length, the weights are those of one run.
        try place.train("--epochs 4 --schedule constant --out whole")
        try place.expectSameModel("run", "whole")
    }

    /// A run stands for its best checkpoint.
    @Test func theBestCheckpointIsEvaluated() throws {
        try place.train("--epochs 3 --out run")
        let best = try FileManager.default.destinationOfSymbolicLink(
            atPath: place.file("run/checkpoints/best"))
        let whole = try place.succeed("evaluate --checkpoint run --data set --device cpu")
        let named = try place.succeed(
            "evaluate --checkpoint run/checkpoints/\(best) --data set --device cpu")
        #expect(whole.output.split(separator: "\n")[1...] == named.output.split(separator: "\n")[1...])
    }
}
