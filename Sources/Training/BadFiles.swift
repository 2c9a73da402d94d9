import Foundation
import ImageData
import ModelFiles

/// How many photographs may be unusable before a run stops: a share of all (`1%`) or a number (`20`).
public struct BadFileLimit: RawRepresentable, Sendable, Equatable {
    public let rawValue: String

    public init?(rawValue: String) {
        self.rawValue = rawValue
        guard BadFileLimit.parse(rawValue) != nil else { return nil }
    }

    public static let onePercent = BadFileLimit(checked: "1%")

    private init(checked text: String) { rawValue = text }

    /// The largest number of bad files among `count` that is let pass.
    func allowed(of count: Int) -> Int {
        guard let (value, isShare) = BadFileLimit.parse(rawValue) else { return 0 }
        return isShare ? Int(value / 100 * Double(count)) : Int(value)
    }

    private static func parse(_ text: String) -> (value: Double, isShare: Bool)? {
        let isShare = text.hasSuffix("%")
        guard let value = Double(isShare ? text.dropLast() : text[...]), value >= 0,
            value <= (isShare ? 100 : 1e9), isShare || value == value.rounded()
        else { return nil }
        return (value, isShare)
    }
}

/// The photographs of a run that could not be used: each counted once, and listed in the run's
/// `bad-files.txt`.
final class BadFiles {
    private let limit: BadFileLimit
    private let fileCount: Int
    /// Nil: only the lines are kept, for rank 0 to write.
    private let path: String?
    private var lines: [String] = []
    private var known: Set<String> = []
    /// Lines that are not in the file yet; the file is made with the first one.
    private var unwritten = 0

    /// - Parameters:
    ///   - fileCount: photographs of the whole set
    ///   - path: of the list; one that is there is gone on with
    init(limit: BadFileLimit, fileCount: Int, path: String?) {
        self.limit = limit
        self.fileCount = fileCount
        self.path = path
        let content =
            path.flatMap { FileManager.default.contents(atPath: $0) }.map {
                String(decoding: $0, as: UTF8.self)
            } ?? ""
        for line in content.split(separator: "\n") { _ = add(String(line)) }
        unwritten = 0
    }

    private func add(_ line: String) -> Bool {
        guard known.insert(line).inserted else { return false }
        lines.append(line)
        unwritten += 1
        return true
    }

    /// Adds files to the list.
    ///
    /// - Returns: those that were not on it before, a line each: the file, what was found and what to do.
    /// - Throws: `TrainingError` where they are more than the limit now; `ModelFileError` where the list
    ///   cannot be written.
    func record(_ errors: [ImageError]) throws -> [String] {
        // A file's name may hold a line's end.
        try record(lines: errors.map { $0.description.replacingOccurrences(of: "\n", with: "\\n") })
    }

    /// Adds lines that `record` has given, here or on another rank.
    func record(lines: [String]) throws -> [String] {
        let fresh = lines.filter { add($0) }
        guard !fresh.isEmpty else { return [] }
        try write()
        guard self.lines.count <= limit.allowed(of: fileCount) else {
            let shown = self.lines.prefix(5).joined(separator: "\n  ")
            throw TrainingError(
                "\(self.lines.count) of \(fileCount) photographs cannot be used, more than --max-bad \(limit.rawValue) allows:\n  \(shown)\n"
                    + (path.map { "The whole list is \($0); mend" } ?? "Mend")
                    + " or remove the files, or allow more with --max-bad")
        }
        return fresh
    }

    private func write() throws {
        guard let path else { return }
        guard let file = fopen(path, "a") else { throw ModelFileError.system(path, "opening") }
        fputs(lines.suffix(unwritten).map { $0 + "\n" }.joined(), file)
        guard fclose(file) == 0 else { throw ModelFileError.system(path, "writing") }
        unwritten = 0
    }
}
