import ArgumentParser
import Compute
import Testing

@testable import trainer

/// An error in a command, and what the remedy says and does not say.
private struct Advice: CustomTestStringConvertible, Sendable {
    let command: any ParsableCommand.Type
    let kind: ComputeError.Kind
    let contains: [String]
    var lacks: [String] = []

    var testDescription: String { "\(command) \(kind)" }
}

@Suite struct RemedyTests {
    @Test(arguments: [
        Advice(
            command: TrainCommand.self, kind: .outOfMemory,
            contains: ["too little free memory", "smaller --batch or more --micro-batches"]),
        Advice(
            command: TrainCommand.self, kind: .bufferTooLarge,
            contains: ["smaller --batch or more --micro-batches"], lacks: ["--scales"]),
        Advice(
            command: BenchStep.self, kind: .bufferTooLarge,
            contains: ["smaller --batch or more --micro-batches"]),
        Advice(
            command: EvaluateCommand.self, kind: .bufferTooLarge,
            contains: ["smaller --batch or smaller --scales"], lacks: ["--micro-batches"]),
        Advice(
            command: PredictCommand.self, kind: .bufferTooLarge,
            contains: ["smaller --scales"], lacks: ["--batch", "--micro-batches"]),
        Advice(
            command: BenchGEMM.self, kind: .outOfMemory, contains: ["smaller --size"], lacks: ["--batch"]),
        Advice(command: AugmentCommand.self, kind: .bufferTooLarge, contains: ["smaller --image-size"]),
        Advice(
            command: KernelsCommand.self, kind: .outOfMemory,
            contains: ["too little free memory"], lacks: ["--", "try"]),
        Advice(command: PredictCommand.self, kind: .deviceNotFound, contains: ["trainer devices"]),
        Advice(command: TrainCommand.self, kind: .noPlatform, contains: ["apt-get install pocl-opencl-icd"]),
        Advice(
            command: DevicesCommand.self, kind: .noPlatform, contains: ["apt-get install pocl-opencl-icd"]),
    ]) private func remedy(_ advice: Advice) throws {
        let text = try #require(
            Remedy.text(for: ComputeError("it failed", kind: advice.kind), command: advice.command))
        for part in advice.contains { #expect(text.contains(part)) }
        for part in advice.lacks { #expect(!text.contains(part)) }
    }

    @Test func nothingToAdd() {
        for kind in [ComputeError.Kind.bufferTooLarge, .deviceNotFound, .unknownDevice, .other] {
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

    @Test func optionNamesAreThoseOfTheHelp() {
        let names = DevicesCommand.optionNames
        #expect(names == ["ranks", "device", "version", "help"])
        #expect(TrainCommand.optionNames.contains("micro-batches"))
    }
}
