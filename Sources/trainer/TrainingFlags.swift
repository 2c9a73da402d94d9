import ArgumentParser
import Configuration

/// Chooses the rows of `TrainingOption.all` that a command, or a section of its help, has.
protocol OptionSelection: Sendable {
    static func contains(_ option: TrainingOption) -> Bool
}

/// Chooses the rows of one group.
protocol GroupSelection: OptionSelection {
    static var group: TrainingOption.Group { get }
}

extension GroupSelection {
    static func contains(_ option: TrainingOption) -> Bool { option.group == group }
}

/// The flags of some rows of `TrainingOption.all`, made from the rows: a flag has no property of its own.
struct TrainingFlags<Selection: OptionSelection>: ParsableArguments, CustomReflectable {
    private typealias Flag = Option<TrainingConfiguration.Setting?>

    private let flags: [(name: String, flag: Flag)]

    /// The values that were given.
    var settings: [TrainingConfiguration.Setting] { flags.compactMap(\.flag.wrappedValue) }

    init() {
        flags = TrainingOption.all.filter(Selection.contains).map { option in
            let name = option.name
            let flag = Flag(name: .customLong(name), help: ArgumentHelp(stringLiteral: option.help)) {
                try TrainingConfiguration.Setting(name, $0)
            }
            return (name, flag)
        }
    }

    /// The parser finds a command's flags by reflection.
    var customMirror: Mirror { Mirror(self, children: flags.map { ($0.name, $0.flag) }) }

    private struct Key: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }

        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: Key.self)
        flags = try TrainingOption.all.filter(Selection.contains).map {
            ($0.name, try values.decode(Flag.self, forKey: Key(stringValue: $0.name)))
        }
    }
}
