/// Formats text in aligned columns for the terminal.
public struct TextTable {
    public enum Alignment: Sendable { case left, right }

    private let alignments: [Alignment]
    private let leastWidths: [Int]
    private var rows: [[String]] = []

    /// - Parameters:
    ///   - alignments: one per column; the last one also applies to all further columns.
    ///   - leastWidths: of the first columns, for a table whose rows are printed one by one.
    public init(header: [String]? = nil, _ alignments: [Alignment], leastWidths: [Int] = []) {
        self.alignments = alignments
        self.leastWidths = leastWidths
        if let header { rows.append(header) }
    }

    /// Adds a row, which may have fewer cells than other rows.
    public mutating func add(_ cells: [String]) { rows.append(cells) }

    /// The lines, with two spaces between columns and no trailing spaces.
    public var lines: [String] {
        let count = rows.map(\.count).max() ?? 0
        let widths = (0..<count).map { column in
            rows.map { column < $0.count ? $0[column].count : 0 }.reduce(leastWidth(column), max)
        }
        return rows.map { line($0, widths) }
    }

    /// Returns a row that the table does not keep, in columns of the least widths.
    public func line(_ cells: [String]) -> String { line(cells, cells.indices.map(leastWidth)) }

    private func leastWidth(_ column: Int) -> Int {
        column < leastWidths.count ? leastWidths[column] : 0
    }

    private func line(_ row: [String], _ widths: [Int]) -> String {
        let cells = row.enumerated().map { column, cell in
            let padding = String(repeating: " ", count: max(0, widths[column] - cell.count))
            let alignment = alignments[min(column, alignments.count - 1)]
            return alignment == .left ? cell + padding : padding + cell
        }
        return cells.joined(separator: "  ").replacing(/[ ]+$/, with: "")
    }

    public var text: String { lines.joined(separator: "\n") }
}
