import Basics
import Foundation
import Yams

/// Reads YAML files that are a flat list: names, each with a single value.
package struct FlatYAML: Sendable {
    /// A name of the file and its value, with their places, `file:line:column`.
    package struct Entry {
        /// Nil if a list or a mapping stands where a name was expected.
        package let name: String?
        package let namePlace: String
        /// Nil if the value is a list or a mapping.
        package let value: Value?
        package let valuePlace: String
    }

    package struct Value {
        package let text: String
        package let isQuoted: Bool
        /// Whether there is none, or `null`.
        package let isMissing: Bool
    }

    /// A file larger than this is not a list of options.
    private static let longestFile = 1 << 16

    /// What the file holds.
    package let content: TrainingError.FileContent
    /// What its lines look like, such as "one option a line, such as batch: 64".
    package let lines: String

    package init(_ content: TrainingError.FileContent, lines: String) {
        self.content = content
        self.lines = lines
    }

    /// Returns a file's content.
    ///
    /// - Throws: `TrainingError` if it cannot be read, or is too long.
    package func bytes(of path: String) throws(TrainingError) -> [UInt8] {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
            throw unusable("\(path): no such file")
        }
        guard !isFolder.boolValue else {
            throw unusable("\(path): this is a folder")
        }
        do {
            let file = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
            defer { try? file.close() }
            let bytes = try file.read(upToCount: FlatYAML.longestFile + 1) ?? Data()
            guard bytes.count <= FlatYAML.longestFile else {
                throw unusable("\(path): more than \(FlatYAML.longestFile) bytes; expected \(lines)")
            }
            return Array(bytes)
        } catch let error as TrainingError { throw error } catch {
            throw .usage("\(path): cannot be read (\(error.reason)); check its permissions")
        }
    }

    private func unusable(_ description: String) -> TrainingError {
        TrainingError(description, kind: .unusableFile(content))
    }

    /// Returns the entries of a file's content, in its order.
    ///
    /// - Parameter path: how messages name the file
    /// - Throws: `TrainingError`: `file:line:column: what is wrong`.
    package func entries(_ bytes: [UInt8], path: String) throws(TrainingError) -> [Entry] {
        // Some editors begin a file with a byte-order mark.
        let content = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? bytes.dropFirst(3) : bytes[...]
        guard let text = String(validating: content, as: UTF8.self) else {
            throw unusable("\(path): this is not UTF-8 text")
        }
        try refuseNesting(text, path: path)
        func place(_ node: Node) -> String { path + FlatYAML.place(node.mark) }
        return try pairs(text, path: path).map { key, value in
            Entry(
                name: key.scalar?.string, namePlace: place(key), value: value.scalar.map(FlatYAML.value),
                valuePlace: place(value))
        }
    }

    private static func value(_ scalar: Node.Scalar) -> Value {
        Value(
            text: scalar.string, isQuoted: scalar.style != .plain && scalar.style != .any,
            isMissing: scalar.style == .plain && ["", "~", "null"].contains(scalar.string))
    }

    /// Refuses a text with many of the characters that nest values.
    ///
    /// A list of options is flat, while deep nesting exhausts the parser's stack, and aliases that multiply
    /// it exhaust its time.
    private func refuseNesting(_ text: String, path: String) throws(TrainingError) {
        var count = 0
        let lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
        for (number, line) in lines.enumerated() {
            if line.drop(while: \.isWhitespace).first == "#" { continue }
            var previous: Unicode.Scalar = "\n"
            for (column, scalar) in line.unicodeScalars.enumerated() {
                let opens = "[{*&".unicodeScalars.contains(scalar)
                let isItem = "-?".unicodeScalars.contains(previous) && (scalar == " " || scalar == "\t")
                if opens || isItem { count += 1 }
                guard count <= 32 else {
                    throw .usage("\(path):\(number + 1):\(column + 1): nested values; expected \(self.lines)")
                }
                previous = scalar
            }
        }
    }

    private func pairs(_ text: String, path: String) throws(TrainingError) -> [(Node, Node)] {
        let node: Node?
        do { node = try Yams.compose(yaml: text, .default, .default, .utf8) } catch {
            throw .usage(explain(error, path: path))
        }
        guard let node else { throw .usage("\(path): the file is empty; expected \(lines)") }
        guard case .mapping(let mapping) = node else {
            throw .usage("\(path)\(FlatYAML.place(node.mark)): not a flat list; expected \(lines)")
        }
        return mapping.map { ($0.key, $0.value) }
    }

    private static func place(_ mark: Mark?) -> String { mark.map { ":\($0.line):\($0.column)" } ?? "" }

    private func explain(_ error: any Error, path: String) -> String {
        switch error as? YamlError {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            "\(path)\(FlatYAML.place(mark)): not YAML: \(problem)"
        case .duplicatedKeysInMapping(let keys, let context):
            "\(path)\(FlatYAML.place(context.mark)): '\(keys.first ?? "")' is set twice; "
                + "keep one of the lines"
        case .reader(let problem, _, let value, _):
            "\(path): not YAML: \(problem)"
                + (value > 0 ? " (U+\(String(value, radix: 16, uppercase: true)))" : "")
        default: "\(path): not YAML: \(error)"
        }
    }
}
