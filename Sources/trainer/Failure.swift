import ArgumentParser
import Basics
import Collectives
import Configuration
import Foundation
import Photographs
import Runs

/// Describes how a command ends when it fails: its exit status and its message.
struct Failure {
    let error: any Error
    /// The command that was running; nil if the command line could not be parsed.
    let command: (any ParsableCommand)?

    /// The exit status, as `trainer --help` lists it.
    var status: Int32 {
        if let code = error as? ExitCode { return code.rawValue }
        if isFromParser { return TrainerCommand.exitCode(for: error).isSuccess ? 0 : 2 }
        return switch error {
        case is TrainingInterrupted: TrainingInterrupted.status
        case let error as StoppedEarly: error.status
        case let error as TrainingError where error.isUsage: 2
        case let error as DatasetError where error.isUsage: 2
        case is ForeignLauncher: 2
        case let error as CollectiveError where error.kind == .lostConnection: RankReport.lostStatus
        default: 1
        }
    }

    /// Prints the message: help and interruptions to the standard output, errors to the standard error.
    func report() {
        // A command that has said everything itself.
        if error is ExitCode { return }
        if isFromParser {
            let message = parserMessage
            if status == 0 { return print(message) }
            let mistake =
                command == nil ? Misplacement.message(CommandLine.arguments.dropFirst(), message) : nil
            let misspelling = command == nil ? Misspelling(in: CommandLine.arguments.dropFirst()) : nil
            StandardStreams.writeError(
                (mistake ?? misspelling?.message(inPlaceOf: message) ?? message) + "\n")
        } else if error is TrainingInterrupted || error is StoppedEarly {
            RunConsole.print(message)
        } else {
            let rank = MPICommunicator.launchedRanks > 1 ? "rank \(MPICommunicator.launchedRank): " : ""
            let line = "\(rank)error: \(message)"
            StandardStreams.writeError(line + "\n")
            if command is TrainCommand { RunConsole.note(line) }
        }
    }

    /// What this rank reports to `launch` about its end; nil if nothing has failed.
    var end: RankReport.End? {
        switch error {
        case let error as TrainingInterrupted: error.reason == .signal(SIGTERM) ? .terminated : .stopped
        case let error as CollectiveError where error.kind == .lostConnection: .lostRanks
        default: status == 0 ? nil : .failed
        }
    }

    /// The parser's message; for what a command itself finds, with the command's usage and not the program's.
    private var parserMessage: String {
        let message = TrainerCommand.fullMessage(for: error)
        guard let command, let usage = message.range(of: "\nUsage:") else { return message }
        let commandUsage = TrainerCommand.usageString(for: type(of: command))
        // The words before the first option or argument, such as `trainer bench step`.
        let path = commandUsage.split(separator: " ").prefix { $0.first?.isLetter == true }
        return message[..<usage.lowerBound] + "\nUsage: \(commandUsage)\n"
            + "  See '\(path.joined(separator: " ")) --help' for more information."
    }

    private var message: String {
        Remedy.message(
            for: error, command: command.map { type(of: $0) },
            isResuming: (command as? TrainCommand)?.isResuming ?? false)
    }

    /// Whether the parser words the message, as for help; all other errors describe themselves.
    private var isFromParser: Bool {
        command == nil || error is ValidationError || TrainerCommand.exitCode(for: error).isSuccess
    }
}
