import ArgumentParser
import Compute
import Configuration
import Photographs
import Testing

@testable import trainer

/// An error in a command, and what the remedy says and does not say.
private struct Advice: CustomTestStringConvertible, Sendable {
    let command: any ParsableCommand.Type
    let kind: ComputeError.Kind
    let contains: String
    let lacks: [String]

    init(_ command: any ParsableCommand.Type, _ kind: ComputeError.Kind, _ text: String, lacks: String...) {
        (self.command, self.kind, contains, self.lacks) = (command, kind, text, lacks)
    }

    var testDescription: String { "\(command) \(kind)" }
}

@Suite struct RemedyTests {
    @Test(arguments: [
        Advice(
            TrainCommand.self, .outOfMemory,
            "the device has too little free memory: try a smaller --batch or more --micro-batches"),
        Advice(
            TrainCommand.self, .bufferTooLarge, "smaller --batch or more --micro-batches", lacks: "--scales"),
        Advice(BenchStep.self, .bufferTooLarge, "smaller --batch or more --micro-batches"),
        Advice(
            EvaluateCommand.self, .bufferTooLarge, "smaller --batch or smaller --scales",
            lacks: "--micro-batches"),
        Advice(PredictCommand.self, .bufferTooLarge, "smaller --scales", lacks: "--batch", "--micro-batches"),
        Advice(BenchGEMM.self, .outOfMemory, "smaller --size", lacks: "--batch"),
        Advice(AugmentCommand.self, .bufferTooLarge, "smaller --image-size"),
        Advice(KernelsCommand.self, .outOfMemory, "too little free memory", lacks: "--", "try"),
        Advice(PredictCommand.self, .deviceNotFound, "trainer devices"),
        Advice(PredictCommand.self, .unknownDevice, "give one of these to --device"),
        Advice(PredictCommand.self, .tooManyDevices(2), "give a single device to --device", lacks: "mpirun"),
        Advice(TrainCommand.self, .tooManyDevices(2), "mpirun -n 2", lacks: "single"),
        Advice(TrainCommand.self, .tooFewDevices, "one to --device for each rank"),
        Advice(TrainCommand.self, .noPlatform, "apt-get install pocl-opencl-icd"),
        Advice(DevicesCommand.self, .noPlatform, "apt-get install pocl-opencl-icd"),
    ]) private func remedy(_ advice: Advice) throws {
        let text = try #require(
            Remedy.text(for: ComputeError("it failed", kind: advice.kind), command: advice.command))
        #expect(text.contains(advice.contains))
        for part in advice.lacks { #expect(!text.contains(part)) }
    }

    @Test(arguments: [
        (TrainingError.Kind.changedOptions(["seed", "init"]), "omit --seed, --init, or start a new run"),
        (.changed(.device), "resume on that device, or train a new run from this one with --init"),
        (.changed(.version), "with that version"), (.changed(.photographs), "restore the files"),
        (.changed(.kernels), "--init"), (.foreignCheckpoint("run/step-6"), "--init run/step-6"),
        (.runExists("run"), "resume it (trainer --resume run), give another --out"),
        (.noRun, "the path of --resume"), (.noCheckpoint, "another --out"),
        (.initialModelDoesNotFit, "the --model that the checkpoint of --init has"),
        (.cacheTooLarge(room: "3G"), "--cache 3G or less, or --cache auto"),
        (.cacheTooLarge(room: nil), "give --cache auto"),
        (.tooLittleMemory(anyBatch: true), "a smaller --batch or more --micro-batches"),
        (.tooLittleMemory(anyBatch: false), "a smaller --model or --image-size"),
        (.diverged(learningRate: 0.5, hasLearnt: false), "a lower --learning-rate (0.05)"),
        (.diverged(learningRate: 0.5, hasLearnt: true), "--clip-norm 1, perhaps from this checkpoint"),
        (.tooManyBadFiles, "allow more with --max-bad"),
    ]) func training(_ kind: TrainingError.Kind, _ remedy: String) throws {
        let error = TrainingError("it failed", kind: kind)
        let text = try #require(Remedy.text(for: error, command: TrainCommand.self))
        #expect(text.contains(remedy))
        // A command that lacks the options does not name them.
        #expect(Remedy.text(for: error, command: KernelsCommand.self)?.contains("--") != true)
    }

    /// A list below an error's first line stays below its remedy.
    @Test func remedyFollowsTheFirstLine() {
        let error = TrainingError("too many\n  a.jpg\n  b.jpg", kind: .tooManyBadFiles)
        let remedy = "repair or remove the files, or allow more with --max-bad"
        #expect(
            Remedy.message(for: error, command: TrainCommand.self)
                == "too many; \(remedy)\n  a.jpg\n  b.jpg")
        #expect(Remedy.message(for: error, command: nil) == error.description)
    }

    @Test func resumedRunKeepsItsBatch() {
        let error = ComputeError("it failed", kind: .outOfMemory)
        let text = Remedy.text(for: error, command: TrainCommand.self, isResuming: true)
        #expect(text == "the device has too little free memory: try a smaller --cache")
        let tooLarge = DatasetError(.batchTooLarge(largestBatch: 4), "it failed")
        #expect(Remedy.text(for: tooLarge, command: TrainCommand.self, isResuming: true) == nil)
        let tooLittle = TrainingError("it failed", kind: .tooLittleMemory(anyBatch: true))
        #expect(Remedy.text(for: tooLittle, command: TrainCommand.self, isResuming: true) == nil)
    }

    @Test func nothingToAdd() {
        for kind in [ComputeError.Kind.bufferTooLarge, .deviceNotFound, .other] {
            let error = ComputeError("it failed", kind: kind)
            #expect(Remedy.text(for: error, command: DevicesCommand.self) == nil)
        }
        struct Other: Error {}
        #expect(Remedy.text(for: Other(), command: TrainCommand.self) == nil)
    }

    /// No remedy names an option that the command does not have.
    @Test func namesOnlyOptionsOfTheCommand() {
        let commands = TrainerCommand.configuration.subcommands + BenchCommand.configuration.subcommands
        for command in commands where command != BenchCommand.self {
            for kind in [ComputeError.Kind.outOfMemory, .bufferTooLarge, .deviceNotFound, .noPlatform] {
                let text = Remedy.text(for: ComputeError("it failed", kind: kind), command: command) ?? ""
                for name in text.matches(of: #/--([a-z-]+)/#).map({ String($0.1) }) {
                    #expect(command.optionNames.contains(name), "\(command): \(text)")
                }
            }
        }
    }

    /// What to do about photographs is said in the words of the command.
    @Test func photographs() {
        func text(_ kind: DatasetError.Kind, _ command: any ParsableCommand.Type, isResuming: Bool = false)
            -> String
        {
            let error = DatasetError(kind, "it failed")
            return Remedy.text(for: error, command: command, isResuming: isResuming) ?? ""
        }
        #expect(text(.flat(list: "D/l.csv"), TrainCommand.self).hasSuffix("with --labels D/l.csv"))
        #expect(text(.flat(list: nil), EvaluateCommand.self).contains("--labels FILE.csv; `trainer predict`"))
        #expect(text(.nested(folder: "D/p"), TrainCommand.self).hasSuffix("give --data D/p"))
        #expect(
            text(.missingFolder, TrainCommand.self, isResuming: true).contains(
                "in which the photographs are now"))
        #expect(text(.missingFolder, PredictCommand.self).isEmpty)
        let kinds: [DatasetError.Kind] = [
            .flat(list: nil), .nested(folder: "D"), .missingFolder, .noClasses, .noneHeldOut,
            .partsAsClasses(training: "D"), .batchTooLarge(largestBatch: 0),
        ]
        let commands =
            [
                TrainCommand.self, EvaluateCommand.self, CompareCommand.self, AugmentCommand.self,
            ] as [any ParsableCommand.Type]
        for (command, kind) in commands.flatMap({ command in kinds.map { (command, $0) } }) {
            let names = text(kind, command).matches(of: #/--([a-z-]+)/#).map { String($0.1) }
            for name in names where name != "micro-batches" {
                #expect(command.optionNames.contains(name), "\(command): \(name)")
            }
        }
    }

    @Test func optionNamesAreThoseOfTheHelp() {
        let names = DevicesCommand.optionNames
        #expect(names == ["ranks", "device", "version", "help"])
        #expect(TrainCommand.optionNames.contains("micro-batches"))
    }
}
