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
    /// The flag of a row: with a value, or in the two forms `--name` and `--no-name`.
    private enum Wrapper {
        case valued(Option<TrainingConfiguration.Setting?>)
        case paired(Flag<Bool?>)

        var wrapped: Any {
            switch self {
            case .valued(let option): option
            case .paired(let flag): flag
            }
        }
    }

    private let flags: [(name: String, flag: Wrapper)]

    /// The values that were given.
    var settings: [TrainingConfiguration.Setting] {
        flags.compactMap { name, flag in
            switch flag {
            case .valued(let option): option.wrappedValue
            // The texts of a Boolean value are always right.
            case .paired(let flag): flag.wrappedValue.flatMap { try? .init(name, "\($0)") }
            }
        }
    }

    init() {
        flags = TrainingOption.all.filter(Selection.contains).map { option in
            let name = option.name
            let help = ArgumentHelp(
                option.help, valueName: TrainingFlags.fits(name) ? nil : option.valueName)
            return (
                name,
                option.isFlag
                    ? .paired(Flag(name: .customLong(name), inversion: .prefixedNo, help: help))
                    : .valued(
                        Option(name: .customLong(name), help: help) {
                            try TrainingConfiguration.Setting(name, $0)
                        })
            )
        }
    }

    /// Whether the help of an option whose value has the option's name begins on the same line.
    private static func fits(_ name: String) -> Bool { 2 * name.count + "  -- <> ".count < 26 }

    /// The parser finds a command's flags by reflection.
    var customMirror: Mirror { Mirror(self, children: flags.map { ($0.name, $0.flag.wrapped) }) }

    private struct Key: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }

        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: Key.self)
        flags = try TrainingOption.all.filter(Selection.contains).map { option in
            let key = Key(stringValue: option.name)
            return (
                option.name,
                option.isFlag
                    ? .paired(try values.decode(Flag<Bool?>.self, forKey: key))
                    : .valued(try values.decode(Option<TrainingConfiguration.Setting?>.self, forKey: key))
            )
        }
    }
}
