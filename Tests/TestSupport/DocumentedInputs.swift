import Foundation

/// Returns the rows of the tables of inputs in docs/data.md.
public func documentedInputs() throws -> [(number: Int, name: String)] {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    let text = try String(contentsOf: root.appendingPathComponent("docs/data.md"), encoding: .utf8)
    return text.split(separator: "\n").compactMap { line in
        let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
        guard cells.count == 3, let number = Int(cells[0]) else { return nil }
        return (number, cells[1])
    }
}
