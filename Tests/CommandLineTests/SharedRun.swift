@testable import Basics
import Foundation
import TestSupport
import Testing

extension Workplace {
    /// A folder with a trained run, `run`, which all tests of the command line share.
    static let shared: Result<Workplace, any Error> = Result {
        let place = try Workplace()
        atexit { try? Workplace.shared.get().remove("") }
        let result = try place.train("--out", "run")
        guard result.status == 0 else { throw Unexpected(description: "\(result)") }
        return place
    }

    private struct Unexpected: Error, CustomStringConvertible { let description: String }

    /// Writes a file and returns its name, as the program is given it.
    @discardableResult func file(_ name: String, _ content: [UInt8]) throws -> String {
        try write(content, name)
        return name
    }

    @discardableResult func file(_ name: String, _ text: String) throws -> String {
        try file(name, Array(text.utf8))
    }

    // MARK: - Command lines, with spaces between the words and '' for an empty word

    /// Runs a command that must succeed.
    @discardableResult func succeed(_ line: String, sourceLocation: SourceLocation = #_sourceLocation) throws
        -> Command.Result
    {
        let result = try run(words(line))
        try #require(result.status == 0, "\(result)", sourceLocation: sourceLocation)
        return result
    }

    /// Runs a command that must fail with this status and message.
    @discardableResult func expect(
        _ mistake: Mistake, fileBlocks: Int? = nil, sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> Command.Result {
        let result = try run(mistake.arguments, environment: mistake.environment, fileBlocks: fileBlocks)
        #expect(result.status == mistake.status, "\(result)", sourceLocation: sourceLocation)
        let lines = result.errors.split(separator: "\n").filter {
            !$0.hasPrefix("Help:") && !$0.hasPrefix("Usage:")
        }
        let message = lines.joined(separator: " ")
        for part in mistake.message {
            #expect(message.contains(part), "'\(part)' is missing", sourceLocation: sourceLocation)
        }
        // Neither an error code of OpenCL or Foundation nor a trap.
        for part in ["OpenCL error", "CL_", "NSCocoa", "Fatal error", "Backtrace"] {
            #expect(!message.contains(part), sourceLocation: sourceLocation)
        }
        #expect(!exists("never"), "a run that cannot start leaves no folder", sourceLocation: sourceLocation)
        return result
    }

    func json(_ file: String) throws -> JSON { try JSON.parse(bytes(file)) }

    /// Returns the first validation photograph of a class.
    func photograph(_ name: String) throws -> String {
        let folder = "set/val/" + name
        return try folder + "/" + (names(folder).first ?? "none")
    }
}

/// Describes a command that fails: its arguments, exit status and parts of the message.
///
/// The status is 2 if the command line or the configuration is wrong, 1 if the work fails.
struct Mistake: CustomTestStringConvertible, Sendable {
    let arguments: [String]
    let status: Int32
    let message: [String]
    var environment: [String: String] = [:]

    var testDescription: String { arguments.joined(separator: " ") }
}

private func words(_ line: String) -> [String] {
    line.split(separator: " ").map { $0 == "''" ? "" : String($0) }
}

/// Describes a command line that fails.
func run(
    _ line: String, _ status: Int32, _ message: String..., environment: [String: String] = [:]
)
    -> Mistake
{
    Mistake(arguments: words(line), status: status, message: message, environment: environment)
}

/// Describes a command line of `train` on the small set that fails.
func train(
    _ line: String, _ status: Int32, _ message: String..., environment: [String: String] = [:]
)
    -> Mistake
{
    // The given options come last, so that they override others.
    let arguments = ["train"] + Workplace.small + ["--out", "never"] + words(line)
    return Mistake(arguments: arguments, status: status, message: message, environment: environment)
}

extension JSON {
    var keys: [String] { if case .object(let members) = self { members.map(\.key) } else { [] } }

    static func list(_ value: JSON?) -> [JSON] { if case .array(let values)? = value { values } else { [] } }

    static func text(_ value: JSON?) -> String { if case .string(let text)? = value { text } else { "" } }

    static func number(_ value: JSON?) -> Double {
        switch value {
        case .integer(let value): Double(value)
        case .number(let value): value
        default: .nan
        }
    }
}
