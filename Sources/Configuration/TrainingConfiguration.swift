import Basics

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
        try read(try TrainingConfiguration.file.bytes(of: path), path: path)
    }

    /// - Parameter path: how messages name the file
    package mutating func read(_ bytes: [UInt8], path: String) throws(TrainingError) {
        for entry in try TrainingConfiguration.file.entries(bytes, path: path) { try read(entry) }
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

    private static let file = FlatYAML(.configuration, lines: "one option a line, such as batch: 64")

    private mutating func read(_ entry: FlatYAML.Entry) throws(TrainingError) {
        let names = TrainingOption.all.map(\.name)
        let known = "known: " + names.joined(separator: ", ")
        guard let name = entry.name else {
            throw .usage(
                "\(entry.namePlace): a list or a mapping where an option's name was expected; \(known)")
        }
        guard let option = TrainingOption.named(name) else {
            let nearest = nearestName(to: name, among: names)
            let advice = nearest.map { "; did you mean '\($0)'?" } ?? ";"
            throw .usage("\(entry.namePlace): unknown option '\(name)'\(advice) \(known)")
        }
        guard let value = entry.value else {
            throw .usage(
                "\(entry.valuePlace): \(option.name) is a list or a mapping; expected a single value")
        }
        if value.isMissing {
            guard option.isOptional else { throw .usage("\(entry.valuePlace): \(option.name) has no value") }
            option.leaveOpen(in: &values)
        } else {
            let problem =
                value.isQuoted && !option.isText
                ? "it is in quotation marks; expected it without" : option.set(value.text, in: &values)
            if let problem {
                throw .usage("\(entry.valuePlace): \(option.name) is '\(value.text)'; \(problem)")
            }
        }
        given.insert(option.name)
        places[option.name] = entry.valuePlace
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
