import Testing

/// Describes a command that fails: its arguments, exit status and parts of the message.
///
/// The status is 2 if the command line or the configuration is wrong, 1 if the work fails.
public struct Mistake: CustomTestStringConvertible, Sendable {
    let arguments: [String]
    let status: Int32
    let message: [String]
    let environment: [String: String]

    public init(
        arguments: [String], status: Int32, message: [String], environment: [String: String] = [:]
    ) {
        (self.arguments, self.status) = (arguments, status)
        (self.message, self.environment) = (message, environment)
    }

    public var testDescription: String { arguments.joined(separator: " ") }
}

/// Describes a command line that fails.
public func run(
    _ line: String, _ status: Int32, _ message: String..., environment: [String: String] = [:]
) -> Mistake { Mistake(arguments: words(line), status: status, message: message, environment: environment) }

/// Describes a command line of `train` on the small set that fails.
public func train(
    _ line: String, _ status: Int32, _ message: String..., environment: [String: String] = [:]
) -> Mistake {
    // The given options come last, so that they override others.
    let arguments = ["train"] + Workplace.small + ["--out", "never"] + words(line)
    return Mistake(arguments: arguments, status: status, message: message, environment: environment)
}

/// Returns the words of a command line: they are separated by spaces, and '' is an empty one.
func words(_ line: String) -> [String] {
    line.split(separator: " ").map { $0 == "''" ? "" : String($0) }
}
