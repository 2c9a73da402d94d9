@testable import Basics
import Foundation
import TestSupport
import Testing

extension Workplace {
    /// A folder with a trained run, `run`, which all tests of the command line share.
    static let shared: Result<Workplace, any Error> = Result {
        let place = try Workplace()
        atexit { try? Workplace.shared.get().remove("") }
        try place.train("--out run")
        return place
    }

    /// Writes a file and returns its name, as the program is given it.
    @discardableResult func file(_ name: String, _ content: [UInt8]) throws -> String {
        try write(content, name)
        return name
    }

    @discardableResult func file(_ name: String, _ text: String) throws -> String {
        try file(name, Array(text.utf8))
    }

    func json(_ file: String) throws -> JSON { try JSON.parse(bytes(file)) }

    /// Returns the first validation photograph of a class.
    func photograph(_ name: String) throws -> String {
        let folder = "set/val/" + name
        return try folder + "/" + (names(folder).first ?? "none")
    }
}

extension JSON {
    var keys: [String] { members?.map(\.key) ?? [] }

    static func list(_ value: JSON?) -> [JSON] { value?.array ?? [] }

    static func text(_ value: JSON?) -> String { value?.string ?? "" }

    static func number(_ value: JSON?) -> Double { value?.double ?? .nan }
}
