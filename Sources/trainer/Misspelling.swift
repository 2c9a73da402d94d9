import ArgumentParser
import Basics
import Configuration
import Foundation

/// The first command or option on a command line that does not exist.
///
/// The parser names an unknown option only if nothing else is wrong: it would report a misspelt `--out` as a
/// missing `--out`.
struct Misspelling {
    private let kind: String
    private let name: String
    private let known: [String]

    /// Looks for it among the arguments after the program's name; returns nil if all names are known.
    init?(in arguments: some Sequence<String>) {
        var command: any ParsableCommand.Type = TrainerCommand.self
        var rest = Array(arguments)[...]
        while let next = command.configuration.subcommands.first(where: { $0.name == rest.first }) {
            command = next
            rest = rest.dropFirst()
        }
        let commands = command.configuration.subcommands.map { $0.name }
        if let first = rest.first, !commands.isEmpty, !first.hasPrefix("-") {
            (kind, name, known) = ("command", first, commands + ["help"])
        } else {
            // No option takes a value that begins with two dashes.
            let names = rest.prefix { $0 != "--" }.filter { $0.hasPrefix("--") }.map {
                String($0.prefix { $0 != "=" })
            }
            let options = (command.configuration.defaultSubcommand ?? command).optionNames.map { "--" + $0 }
            guard let unknown = names.first(where: { !options.contains($0) }) else { return nil }
            (kind, name, known) = ("option", unknown, options)
        }
        if known.contains(name) || name == "--generate-completion-script" { return nil }
    }

    /// Returns the message about it, with the usage lines of the parser's message about another mistake.
    func message(inPlaceOf message: String) -> String {
        let nearest = nearestName(to: name, among: known).map { ". Did you mean '\($0)'?" } ?? ""
        let rest =
            kind == "command"
            ? "\n  Commands: \(known.joined(separator: ", ")). See 'trainer --help'."
            : message.range(of: "\nUsage:").map { message[$0.lowerBound...] } ?? ""
        return "Error: Unknown \(kind) '\(name)'\(nearest)\(rest)"
    }
}

/// Words that are right, but not in this place.
enum Misplacement {
    /// Returns the message about them; nil if there is nothing of the kind.
    ///
    /// - Parameters:
    ///   - arguments: those after the program's name.
    ///   - message: the parser's message.
    static func message(_ arguments: some Sequence<String>, _ message: String) -> String? {
        let words = Array(arguments)
        let usage = message.range(of: "\nUsage:").map { message[$0.lowerBound...] } ?? ""
        if words.first == "launch", !words.contains("--"), let place = words.firstIndex(of: "train") {
            let line = words[..<place] + ["--"] + words[place...]
            return "Error: launch: expected -- before train. Type: trainer "
                + line.map(shellQuoted).joined(separator: " ") + usage
        }
        let isTrain = words.first == "train"
        let rest = isTrain ? Array(words.dropFirst()) : words
        let isOther = TrainerCommand.configuration.subcommands.contains { $0.name == words.first } && !isTrain
        // Of `--option VALUE`, the value may be a path too.
        guard !isOther, let path = rest.first, !path.hasPrefix("-"),
            FileManager.default.fileExists(atPath: path)
        else { return nil }
        let line = ["trainer", "train", "--data", path] + rest.dropFirst()
        return "Error: Unexpected argument '\(path)'; photographs to train on are given by --data. Type: "
            + line.map(shellQuoted).joined(separator: " ") + usage
    }
}

extension ParsableCommand {
    /// The command's name, as it is typed.
    static var name: String { configuration.commandName ?? "" }

    /// The names of the command's options, without dashes, as its help lists them.
    static var optionNames: [String] { optionSections.flatMap(\.names) }

    /// The sections of the command's help with the names of their options.
    static var optionSections: [(heading: String, names: [String])] {
        let help = TrainerCommand.helpMessage(for: self, includeHidden: true, columns: 200)
        return help.split(separator: "\n").reduce(into: [("", [])]) { sections, line in
            if let heading = line.wholeMatch(of: #/([A-Z]+):/#) {
                sections.append((String(heading.1), []))
            } else if let option = line.prefixMatch(of: #/  (?:-\w, )?--([a-z][a-z-]*)(?:\/--([a-z-]+))?/#) {
                sections[sections.count - 1].names += [option.1, option.2].compactMap { $0.map(String.init) }
            }
        }
    }
}
