import Basics
import Foundation
import Yams

/// The options of one `train`: those of a configuration file, overridden by flags.
public struct TrainingConfiguration: Sendable {
    /// A flag and its value, which has been checked.
    public struct Setting: Sendable {
        fileprivate let option: TrainingOption
        fileprivate let text: String

        /// - Throws: `TrainingError` with what was expected.
        public init(_ name: String, _ text: String) throws(TrainingError) {
            guard let option = TrainingOption.named(name) else {
                throw .usage("there is no option '\(name)'")
            }
            var scratch = TrainingOptions()
            if let problem = option.set(text, in: &scratch) { throw .usage(problem) }
            self.option = option
            self.text = text
        }
    }

    /// A file larger than this is not a configuration.
    private static let longestFile = 1 << 16

    /// The values of the file and the flags, and those that neither sets.
    private var values: TrainingOptions
    /// The recipe that the other values follow already.
    private let initialRecipe: Recipe
    /// The names of the options that the file or a flag sets.
    private var given: Set<String> = []
    /// The place, `file:line:column`, of each option that the file sets and no flag overrides.
    private var places: [String: String] = [:]

    /// - Parameter options: the values that neither a file nor a flag sets
    public init(_ options: TrainingOptions = TrainingOptions()) {
        values = options
        initialRecipe = options.recipe
    }

    /// The options, with the recipe's values for those that neither a file nor a flag sets.
    public var options: TrainingOptions {
        guard values.recipe != initialRecipe else { return values }
        var options = values
        for (name, text) in values.recipe.settings where !given.contains(name) {
            _ = TrainingOption.named(name)?.set(text, in: &options)
        }
        return options
    }

    /// Reads a YAML file: a mapping from the names of `TrainingOption.all` to values.
    ///
    /// Relative paths in it start at the working folder, as on the command line.
    ///
    /// - Throws: `TrainingError`: `file:line:column: what is wrong, what is known`.
    public mutating func read(_ path: String) throws(TrainingError) {
        try read(try TrainingConfiguration.content(path), path: path)
    }

    /// - Parameter path: how messages name the file
    package mutating func read(_ bytes: [UInt8], path: String) throws(TrainingError) {
        // Some editors begin a file with a byte-order mark.
        let content = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? bytes.dropFirst(3) : bytes[...]
        guard let text = String(validating: content, as: UTF8.self) else {
            throw .usage("\(path): this is not UTF-8 text; expected a configuration in YAML")
        }
        try TrainingConfiguration.refuseNesting(text, path: path)
        for (key, value) in try TrainingConfiguration.pairs(text, path: path) {
            try read(key, value, path: path)
        }
    }

    /// Sets an option by its flag, which overrides a file.
    public mutating func apply(_ setting: Setting) {
        _ = setting.option.set(setting.text, in: &values)
        given.insert(setting.option.name)
        places[setting.option.name] = nil
    }

    /// Checks the options, also against each other.
    ///
    /// - Throws: `TrainingError` that names the line or the flag.
    public func validate() throws(TrainingError) {
        try options.validate { option, value in
            places[option].map { "\($0): \(option) \(value)" } ?? "--\(option) \(value)"
        }
    }

    /// Returns the options as YAML, one a line, in the order of `TrainingOption.all`.
    ///
    /// The text does not contain the run's folder, so that another run can use it.
    public static func text(_ options: TrainingOptions) -> String {
        TrainingOption.all.filter { $0.effect != .invocation }.map { option in
            let text = option.text(options)
            // JSON's strings are YAML's in double quotation marks.
            let value = text.map { option.isText ? JSON.string($0).text : $0 } ?? "null"
            return "\(option.name): \(value)\n"
        }.joined()
    }

    // MARK: - Reading

    private static func content(_ path: String) throws(TrainingError) -> [UInt8] {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
            throw .usage("--config \(path): no such file; expected a configuration in YAML")
        }
        guard !isFolder.boolValue else {
            throw .usage("--config \(path): this is a folder; expected a file, such as a run's config.yaml")
        }
        do {
            let file = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
            defer { try? file.close() }
            let bytes = try file.read(upToCount: longestFile + 1) ?? Data()
            guard bytes.count <= longestFile else {
                throw TrainingError.usage(
                    "--config \(path): more than \(longestFile) bytes; expected a list of options")
            }
            return Array(bytes)
        } catch let error as TrainingError { throw error } catch {
            throw .usage("--config \(path): cannot be read (\(error.reason)); check its permissions")
        }
    }

    /// Refuses a text with many of the characters that nest values.
    ///
    /// A list of options is flat, while deep nesting exhausts the parser's stack, and aliases that multiply
    /// it exhaust its time.
    private static func refuseNesting(_ text: String, path: String) throws(TrainingError) {
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
                    throw .usage(
                        "\(path):\(number + 1):\(column + 1): nested values; expected \(example)")
                }
                previous = scalar
            }
        }
    }

    private static func pairs(_ text: String, path: String) throws(TrainingError) -> [(Node, Node)] {
        let node: Node?
        do { node = try Yams.compose(yaml: text, .default, .default, .utf8) } catch {
            throw .usage(explain(error, path: path))
        }
        guard let node else { throw .usage("\(path): the file is empty; expected \(example)") }
        guard case .mapping(let mapping) = node else {
            throw .usage("\(path)\(place(node.mark)): not a list of options; expected \(example)")
        }
        return mapping.map { ($0.key, $0.value) }
    }

    private mutating func read(_ key: Node, _ value: Node, path: String) throws(TrainingError) {
        func at(_ node: Node) -> String { path + TrainingConfiguration.place(node.mark) }
        let names = TrainingOption.all.map(\.name)
        let known = "known: " + names.joined(separator: ", ")
        guard case .scalar(let name) = key else {
            throw .usage("\(at(key)): a list or a mapping where an option's name was expected; \(known)")
        }
        guard let option = TrainingOption.named(name.string) else {
            let nearest = nearestName(to: name.string, among: names)
            let advice = nearest.map { "; did you mean '\($0)'?" } ?? ";"
            throw .usage("\(at(key)): unknown option '\(name.string)'\(advice) \(known)")
        }
        guard case .scalar(let scalar) = value else {
            throw .usage("\(at(value)): \(option.name) is a list or a mapping; expected a single value")
        }
        if scalar.style == .plain, ["", "~", "null"].contains(scalar.string) {
            guard option.isOptional else { throw .usage("\(at(value)): \(option.name) has no value") }
            option.leaveOpen(in: &values)
        } else {
            let isQuoted = scalar.style != .plain && scalar.style != .any
            let problem =
                isQuoted && !option.isText
                ? "it is in quotation marks; expected it without" : option.set(scalar.string, in: &values)
            if let problem { throw .usage("\(at(value)): \(option.name) is '\(scalar.string)'; \(problem)") }
        }
        given.insert(option.name)
        places[option.name] = at(value)
    }

    private static let example = "one option a line, such as batch: 64"

    private static func place(_ mark: Mark?) -> String { mark.map { ":\($0.line):\($0.column)" } ?? "" }

    private static func explain(_ error: any Error, path: String) -> String {
        switch error as? YamlError {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            "\(path)\(place(mark)): not YAML: \(problem)"
        case .duplicatedKeysInMapping(let keys, let context):
            "\(path)\(place(context.mark)): '\(keys.first ?? "")' is set twice; keep one of the lines"
        case .reader(let problem, _, let value, _):
            "\(path): not YAML: \(problem)"
                + (value > 0 ? " (U+\(String(value, radix: 16, uppercase: true)))" : "")
        default: "\(path): not YAML: \(error)"
        }
    }
}

/// Returns the name that differs from a text in the fewest letters; nil if all differ in many.
package func nearestName(to text: String, among names: [String]) -> String? {
    // A long text is no misspelt name, and comparing it takes long.
    guard text.count <= 64 else { return nil }
    let text = text.lowercased().map { $0 == "_" ? "-" : $0 }
    let nearest = names.map { ($0, editDistance(Array($0), text)) }.min { $0.1 < $1.1 }
    return nearest.flatMap { $0.1 <= max(2, $0.0.count / 3) ? $0.0 : nil }
}

/// Returns the number of insertions, deletions and replacements that turn `a` into `b`.
private func editDistance(_ a: [Character], _ b: [Character]) -> Int {
    var row = Array(0...b.count)
    for (i, x) in a.enumerated() {
        var diagonal = row[0]
        row[0] = i + 1
        for (j, y) in b.enumerated() {
            let changed = diagonal + (x == y ? 0 : 1)
            diagonal = row[j + 1]
            row[j + 1] = min(changed, diagonal + 1, row[j] + 1)
        }
    }
    return row[b.count]
}
