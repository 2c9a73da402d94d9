import Configuration
import Runs
import ArgumentParser
import Collectives
import Basics
import Foundation
import Photographs

/// The program's version, for `--version` and the run's log.
let programVersion = "0.1.0"

struct TrainerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trainer",
        abstract: "Trains convolutional networks on folders of photographs, on any OpenCL device.",
        discussion: """
            Exit status: 0 done; 1 the work failed; 2 the command line is wrong; 128 + n ended by signal n.
            """, version: programVersion,
        subcommands: [
            TrainCommand.self, EvaluateCommand.self, PredictCommand.self, CompareCommand.self,
            ScenesCommand.self, AugmentCommand.self, CheckGradientsCommand.self, BenchCommand.self,
            PlanCommand.self, DevicesCommand.self, KernelsCommand.self,
        ], defaultSubcommand: TrainCommand.self)
}

/// A command that several ranks run together; all others are one process's.
protocol RunsOnRanks {}

/// How a command ends when it fails.
enum Failure {
    /// Prints what went wrong, and returns the exit status.
    static func report(_ error: any Error) -> Int32 {
        if isParserError(error) {
            let status = TrainerCommand.exitCode(for: error)
            let message = TrainerCommand.fullMessage(for: error)
            if status.isSuccess {
                print(message)
                return 0
            }
            let arguments = CommandLine.arguments.dropFirst()
            let shown =
                UnknownOption.unknownCommand(in: arguments) ?? UnknownOption(in: arguments)?.message(
                    inPlaceOf: message) ?? message
            StandardStreams.writeError(shown + "\n")
            return 2
        }
        if let stop = error as? TrainingInterrupted {
            print(stop)
            return 128 + stop.signal
        }
        let rank = MPICommunicator.launchedRanks > 1 ? "rank \(MPICommunicator.launchedRank): " : ""
        let remedy = (error as? DatasetError)?.remedy.map { "; " + $0 } ?? ""
        StandardStreams.writeError("\(rank)error: \(error)\(remedy)\n")
        return status(error)
    }

    /// The exit status of an error.
    static func status(_ error: any Error) -> Int32 {
        if isParserError(error) { return TrainerCommand.exitCode(for: error).isSuccess ? 0 : 2 }
        switch error {
        case let error as TrainingError where error.isUsage: return 2
        case let error as DatasetError where error.isUsage: return 2
        default: return 1
        }
    }

    /// The parser's own errors know how to print usage; all others describe themselves.
    private static func isParserError(_ error: any Error) -> Bool {
        error is CleanExit || error is ValidationError
            || String(reflecting: type(of: error)).hasPrefix("ArgumentParser.")
    }
}
