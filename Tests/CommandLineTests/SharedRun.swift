import Foundation
import TestSupport

extension Workplace {
    /// A folder with a trained run, `run`, which all tests of the command line share.
    static let shared: Result<Workplace, any Error> = Result {
        let place = try Workplace()
        atexit { try? Workplace.shared.get().remove("") }
        let result = try place.train("--out", "run")
        guard result.status == 0 else { throw Unexpected(description: "\(result)") }
        return place
    }

    struct Unexpected: Error, CustomStringConvertible { let description: String }

    /// Writes a file and returns its name, as the program is given it.
    func file(_ name: String, _ content: [UInt8]) throws -> String {
        try write(content, name)
        return name
    }

    func file(_ name: String, _ text: String) throws -> String { try file(name, Array(text.utf8)) }

    /// Returns the first validation photograph of a class.
    func photograph(_ name: String) throws -> String {
        let folder = "set/val/" + name
        return try folder + "/" + (names(folder).first ?? "none")
    }
}
