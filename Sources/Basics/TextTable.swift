/// Formats text in aligned columns for the terminal.
public struct TextTable {
    public enum Alignment: Sendable { case left, right }

    private let alignments: [Alignment]
    private var rows: [[String]] = []

    /// - Parameter alignments: one per column; the last one also applies to all further columns.
    public init(header: [String]? = nil, _ alignments: [Alignment]) {
        self.alignments = alignments
        if let header { rows.append(header) }
    }

    /// Adds a row, which may have fewer cells than other rows.
    public mutating func add(_ cells: [String]) { rows.append(cells) }

    /// The lines, with two spaces between columns and no trailing spaces.
    public var lines: [String] {
        let count = rows.map(\.count).max() ?? 0
        let widths = (0..<count).map { column in
            rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0
        }
        return rows.map { row in
            let cells = row.enumerated().map { column, cell in
                let padding = String(repeating: " ", count: widths[column] - cell.count)
                let alignment = alignments[min(column, alignments.count - 1)]
                return alignment == .left ? cell + padding : padding + cell
            }
            return cells.joined(separator: "  ").replacing(/[ ]+$/, with: "")
        }
    }

    public var text: String { lines.joined(separator: "\n") }
}
