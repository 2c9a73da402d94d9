import Foundation
import TestSupport
import Testing

/// Runs that must stop, or leave something out.
@Suite(.serialized) struct BadRunTests {
    let place: Workplace

    init() throws { place = try Workplace() }

    /// 2 of 62 photographs, one for training and one for validation.
    private func addBadFiles() throws {
        try place.write("", "set/train/ring/empty.jpg")
        try place.write("no photograph", "set/val/ring/text.jpg")
    }

    // MARK: Bad files

    @Test func badFilesAreListedAndTheirPositionsKept() throws {
        try addBadFiles()
        let result = try place.train("--out run --max-bad 4% --batch 7")
        let lines = try place.text("run/bad-files.txt").split(separator: "\n")
        #expect(lines.count == 2)
        #expect(lines[0].hasPrefix("set/train/ring/empty.jpg: an empty file"))
        #expect(lines[1].hasPrefix("set/val/ring/text.jpg: not a JPEG, PNG or WebP file"))
        #expect(
            result.output.contains("left out: set/train/ring/empty.jpg: an empty file"), "\(result.output)")
        // What was left out does not depend on threads, nor on stopping: no file is counted twice.
        try place.train("--out twin --max-bad 2 --batch 7 --workers 5")
        try place.expectSameModel("run", "twin")
        try place.remove("run/checkpoints/step-14")
        try place.succeed("--resume run")
        try place.expectSameModel("run", "twin")
        #expect(try place.text("run/bad-files.txt").split(separator: "\n").count == 2)
    }

    @Test func tooManyBadFiles() throws {
        try addBadFiles()
        // 1 % of 62 is less than one: the statistics' pass already finds one too many.
        try place.expect(
            train(
                "--out run", 1, "1 of 62 photographs cannot be used, more than the allowed 1%; repair or",
                "allow more with --max-bad 2, and type", "this run   set/train/ring/empty.jpg: an empty file",
                "The whole list is run/bad-files.txt"))
        #expect(try place.text("run/bad-files.txt").hasPrefix("set/train/ring/empty.jpg"))
        // One is let pass; the second is found in validation.
        let message = "2 of 62 photographs cannot be used, more than the allowed 1"
        try place.expect(train("--out later --max-bad 1", 1, message))
        #expect(try place.text("later/bad-files.txt").split(separator: "\n").count == 2)
        try place.succeed("--resume later --max-bad 2")
    }

    @Test(arguments: ["-1", "101%", "some", "1.5", "nan%"]) func wrongLimit(_ limit: String) throws {
        try place.expect(train("--max-bad=\(limit)", 2, "a share such as 1%"))
    }

    // MARK: Losses that are not finite

    @Test func divergenceIsNamedAndNothingSaved() throws {
        let result = try place.expect(
            train(
                "--out run --learning-rate 1e30 --warmup-epochs 0 --checkpoint-every 1", 1, "not finite",
                "; try a new run with a lower --learning-rate (1e+29)", "--clip-norm"))
        let step = try FileManager.default.destinationOfSymbolicLink(
            atPath: place.file("run/checkpoints/last"))
        let message = "the last good checkpoint is run/checkpoints/\(step)"
        #expect(result.errors.contains(message), "\(result.errors)")
        // The checkpoint loads, so all its numbers are finite; what they give for a photograph may not be,
        // and is then no measurement.
        let evaluated = try place.run(["evaluate", "--checkpoint", "run", "--data", "set"])
        let refusal = "is not a number; its weights are damaged or its training diverged"
        #expect(evaluated.status == 0 || evaluated.errors.contains(refusal))
        #expect(try !place.text("run/metrics.jsonl").contains("null"))
    }

    @Test func divergenceNamesStepRateAndLayer() throws {
        let result = try place.expect(
            train(
                "--out run --learning-rate 1e30 --warmup-epochs 0", 1, "; the first that is not finite is"))
        let message = /step [2-6]: the loss is not finite at learning rate [0-9.]+e\+(29|30); the first that/
        #expect(result.errors.contains(message), "\(result.errors)")
        #expect(result.errors.contains(/layer [1-9] \((conv|fc|pool|dropout)/), "\(result.errors)")
        #expect(try place.names("run/checkpoints") == ["last", "step-0"])
    }

    // MARK: Starting from another model

    @Test func initialModel() throws {
        try place.train("--out first --seed 5")
        for part in ["train", "val"] { try place.remove("set/\(part)/ring") }
        let result = try place.train("--out second --init first --freeze features --checkpoint-every 1")
        #expect(
            result.output.contains(
                "took features.0.weight, features.0.bias, classifier.0.weight, classifier.0.bias and its "
                    + "normalisation; initialised classifier.3.weight, classifier.3.bias"),
            "\(result.output)")
        // The convolution is the first run's; only the classifier has learnt and has velocities.
        func tensor(_ run: String, _ name: String, _ file: String = "model") throws -> [Float]? {
            try place.tensor("\(run)/checkpoints/last/\(file).safetensors", name)
        }
        #expect(try tensor("second", "features.0.weight") == tensor("first", "features.0.weight"))
        #expect(try tensor("second", "classifier.0.weight") != tensor("first", "classifier.0.weight"))
        #expect(try tensor("second", "features.0.weight", "optimizer") == nil)
        #expect(try tensor("second", "classifier.3.weight", "optimizer")?.count == 2 * 16)
        #expect(try place.metadata("second", "mean") == place.metadata("first", "mean"))
        // Such a run is resumed like any other.
        try FileManager.default.copyItem(atPath: place.file("second"), toPath: place.file("resumed"))
        let steps = try place.names("second/checkpoints").compactMap { Int($0.dropFirst(5)) }.sorted()
        try place.remove("resumed/checkpoints/step-\(steps.last ?? 0)")
        try place.succeed("--resume resumed")
        try place.expectSameModel("resumed", "second")
    }

    @Test func lastLayerFollowsTheNamesOfTheClasses() throws {
        try place.train("--out first --epochs 1")
        let same = try place.train("--out same --init first --epochs 1")
        #expect(!same.output.contains("; initialised"), "\(same.output)")
        for part in ["train", "val"] {
            try FileManager.default.moveItem(
                atPath: place.file("set/\(part)/ring"), toPath: place.file("set/\(part)/a ring"))
        }
        let renamed = try place.train(
            "--out renamed --init first/checkpoints/last/model.safetensors --epochs 1")
        #expect(renamed.output.contains("; initialised classifier.3.weight"), "\(renamed.output)")
    }

    @Test func initialModelThatDoesNotFit() throws {
        try place.train("--out first --epochs 1")
        for mistake in [
            train(
                "--init first --model linear", 1, "no layer of '16,M,F16' fits 'linear'", "; give the --model"
            ),
            train("--init first --freeze features --model 16,16,M", 1, "has no features.2.weight that fits"),
            train("--init nowhere", 1, "nowhere: no such file or folder"),
            train("--freeze features", 2, "--freeze features: give --init too"),
        ] { try place.expect(mistake) }
    }
}
