import Basics
import Configuration
import Foundation
import Photographs

/// Lists the photographs that a run cannot use in its `bad-files.txt`, each once, and limits their number.
package final class BadFiles {
    private let limit: BadFileLimit
    private let fileCount: Int
    /// The run's folder.
    private let run: String?
    /// The file; nil on all ranks except the first.
    private let path: String?
    private var lines: [String] = []
    private var known: Set<String> = []
    /// Number of lines that are not in the file yet.
    private var unwritten = 0

    /// - Parameters:
    ///   - fileCount: photographs of the whole set
    ///   - run: the run's folder
    ///   - path: the list's file; an existing one is continued
    package init(limit: BadFileLimit, fileCount: Int, run: String? = nil, path: String?) {
        self.limit = limit
        self.run = run
        self.fileCount = fileCount
        self.path = path
        let content = path.flatMap { FileManager.default.contents(atPath: $0) } ?? Data()
        for line in String(decoding: content, as: UTF8.self).split(separator: "\n") { _ = add(String(line)) }
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
    /// - Returns: a line for each new one: the file, what was found and what to do.
    /// - Throws: `TrainingError` if the list exceeds the limit now; `FileError` if it cannot be written.
    package func record(_ errors: [ImageError]) throws -> [String] {
        // A file's name may contain a line break.
        try record(lines: errors.map { $0.description.replacingOccurrences(of: "\n", with: "\\n") })
    }

    /// Adds lines that `record` returned, here or on another rank.
    package func record(lines: [String]) throws -> [String] {
        let fresh = lines.filter { add($0) }
        guard !fresh.isEmpty else { return [] }
        try write()
        let shown = self.lines.prefix(5).joined(separator: "\n  ")
        let list = "\n  \(shown)" + (path.map { "\nThe whole list is \($0)" } ?? "")
        if let error = Self.excess(self.lines.count, of: fileCount, limit: limit, list: list, run: run) {
            throw error
        }
        return fresh
    }

    /// Returns the error for a number of unusable photographs; nil if it is within the limit.
    ///
    /// - Parameters:
    ///   - list: lines that name them.
    ///   - run: the folder of the run that finds them.
    package static func excess(
        _ count: Int, of fileCount: Int, limit: BadFileLimit, list: String = "", run: String? = nil
    ) -> TrainingError? {
        guard count > limit.allowed(of: fileCount) else { return nil }
        return TrainingError(
            "\(count) of \(fileCount) photographs cannot be used, more than the allowed \(limit.rawValue)"
                + list, kind: .tooManyBadFiles(count: count, run: run))
    }

    private func write() throws {
        guard let path else { return }
        guard let file = fopen(path, "a") else { throw FileError.system(path, "opening") }
        fputs(lines.suffix(unwritten).map { $0 + "\n" }.joined(), file)
        guard fclose(file) == 0 else { throw FileError.system(path, "writing") }
        unwritten = 0
    }
}
