import Configuration
import ArgumentParser
import Foundation

/// An option on the command line that its command does not have.
///
/// The parser names one only where nothing else is wrong: without this, a misspelt `--out` is told as a
/// missing one, and after a command's own checks.
struct UnknownOption {
    /// As it was given, with its dashes.
    let name: String
    /// The command's options, without dashes.
    private let known: [String]

    /// The first one among `arguments`, which are those behind the program's name; nil where all are known.
    init?(in arguments: some Collection<String>) {
        guard let tool = try? JSONDecoder().decode(Tool.self, from: Data(TrainerCommand._dumpHelp().utf8))
        else { return nil }
        var command = tool.command
        var rest = arguments[...]
        while let next = command.subcommand(rest.first) {
            command = next
            rest = rest.dropFirst()
        }
        command = command.subcommand(command.defaultSubcommand) ?? command
        let builtIn =
            tool.command.options + ["help-hidden", "generate-completion-script", "experimental-dump-help"]
        // No option takes a value that begins with two dashes, so whatever does is meant as an option.
        let names = rest.prefix { $0 != "--" }.filter { $0.hasPrefix("--") }.map {
            $0.dropFirst(2).prefix { $0 != "=" }
        }
        guard let unknown = names.first(where: { !(command.options + builtIn).contains(String($0)) }) else {
            return nil
        }
        name = "--" + unknown
        known = command.options
    }

    /// The parser's message for another mistake, with this one in its place.
    func message(inPlaceOf message: String) -> String {
        let nearest = nearestName(to: String(name.dropFirst(2)), among: known)
        let usage = message.range(of: "\nUsage:").map { message[$0.lowerBound...] } ?? ""
        return "Error: Unknown option '\(name)'" + (nearest.map { ". Did you mean '--\($0)'?" } ?? "") + usage
    }

    /// What is said of a first word that names no command; nil where it does, or is an option.
    static func unknownCommand(in arguments: some Collection<String>) -> String? {
        let names = TrainerCommand.configuration.subcommands.map { $0._commandName } + ["help"]
        guard let first = arguments.first, !first.hasPrefix("-"), !names.contains(first) else { return nil }
        let nearest = nearestName(to: first, among: names)
        return "Error: Unknown command '\(first)'" + (nearest.map { ". Did you mean '\($0)'?" } ?? "")
            + "\n  There are: \(names.joined(separator: ", ")); see 'trainer --help'."
    }

    /// What the parser tells of the commands.
    private struct Tool: Decodable { let command: Command }

    private struct Command: Decodable {
        let commandName: String
        let subcommands: [Command]?
        let defaultSubcommand: String?
        let arguments: [Argument]?

        func subcommand(_ name: String?) -> Command? { subcommands?.first { $0.commandName == name } }

        var options: [String] {
            (arguments ?? []).flatMap { ($0.names ?? []).filter { $0.kind == "long" }.map(\.name) }
        }
    }

    private struct Argument: Decodable {
        struct Name: Decodable {
            let kind: String
            let name: String
        }
        let names: [Name]?
    }
}
