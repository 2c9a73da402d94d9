import ArgumentParser
import Testing

@testable import trainer

/// The help stays short: details belong into docs/.
@Suite struct HelpTests {
    private static let commands: [any ParsableCommand.Type] =
        (TrainerCommand.configuration.subcommands + BenchCommand.configuration.subcommands)
        .filter { $0 != BenchCommand.self }

    /// Returns the lines of each option or argument, at 80 columns.
    private func entries(_ command: any ParsableCommand.Type) -> [[String]] {
        let help = TrainerCommand.helpMessage(for: command, columns: 80)
        return help.split(separator: "\n", omittingEmptySubsequences: false).reduce(into: []) {
            entries, line in
            if line.hasPrefix("  -") || line.hasPrefix("  <") {
                entries.append([String(line)])
            } else if line.hasPrefix(String(repeating: " ", count: 26)), !entries.isEmpty {
                entries[entries.count - 1].append(String(line))
            }
        }
    }

    @Test func optionsOfTrainTakeTwoLines() {
        let entries = entries(TrainCommand.self)
        #expect(entries.count > 50)
        for entry in entries { #expect(entry.count <= 2, "\(entry.joined(separator: "\n"))") }
    }

    /// A name that is too long for its column has a line of its own.
    @Test func explanationsTakeTwoLines() {
        for command in Self.commands {
            let entries = entries(command)
            #expect(!entries.isEmpty, "\(command)")
            for entry in entries {
                let isNameOnly = entry[0].wholeMatch(of: #/  [-<]\S*(?: <[^>]+>| \.\.\.|, \S+)*/#) != nil
                let lines = entry.count - (isNameOnly ? 1 : 0)
                #expect(lines <= 2, "\(command):\n\(entry.joined(separator: "\n"))")
            }
        }
    }
}
