import Basics
import Foundation

/// A list of files and their classes, as a table of comma-separated values.
///
/// The column of files is the one whose values are on disk. If there are two columns, the other one has the
/// classes; if there are more, its name says so, or there is one column of 0 and 1 for each class.
struct LabelList {
    struct Row {
        let line: Int
        let file: String
        let className: String
    }

    let path: String
    private(set) var rows: [Row] = []
    private(set) var linesWithoutClass: [Int] = []

    private static let fileNames = [
        "file", "filename", "filepath", "path", "image", "imageid", "imagename", "imagepath", "img", "imgid",
        "id", "name", "photo", "photograph", "picture",
    ]
    private static let classNames = [
        "class", "classname", "classid", "label", "labels", "labelname", "breed", "category", "species",
        "target", "dx", "diagnosis", "tags", "tag", "type", "y",
    ]

    /// - Throws: `DatasetError.badList`.
    init(path: String, disk: FilesOnDisk) throws {
        self.path = path
        let rows: [CSV.Row]
        do { rows = try CSV.rows(Self.text(path)) } catch let error as CSV.OpenQuote {
            throw DatasetError(.badList, "\(path):\(error.line): a quotation mark without its partner")
        }
        guard let first = rows.first else { throw Self.error(path, "an empty list") }
        let width = first.fields.count
        guard width > 1 else {
            throw Self.error(path, "one column in its first line; expected a file and its class")
        }
        if let odd = rows.first(where: { $0.fields.count != width }) {
            throw DatasetError(
                .badList,
                "\(path):\(odd.line): \(odd.fields.count) columns, and \(width) in the first line; put names "
                    + "with a comma in quotation marks")
        }
        let fileColumn = Self.fileColumn(rows, disk)
        let header = Self.header(rows, fileColumn, disk)
        let body = header == nil ? rows[...] : rows.dropFirst()
        if let column = Self.classColumn(width, fileColumn, header) {
            for row in body { add(row, fileColumn, row.fields[column]) }
        } else if let header, let columns = Self.oneHot(body, fileColumn) {
            for (row, column) in zip(body, columns) { add(row, fileColumn, header[column]) }
        } else {
            throw Self.error(
                path,
                "\(width) columns (\(quoted(first.fields))), and none is called class or label; keep two, "
                    + "the file and its class")
        }
        guard !self.rows.isEmpty else { throw Self.error(path, "no line with a file and its class") }
    }

    private mutating func add(_ row: CSV.Row, _ fileColumn: Int, _ name: String) {
        let file = row.fields[fileColumn]
        if name.isEmpty || file.isEmpty {
            linesWithoutClass.append(row.line)
        } else {
            rows.append(Row(line: row.line, file: file, className: name.inOneForm))
        }
    }

    private static func error(_ path: String, _ found: String) -> DatasetError {
        DatasetError(.badList, "\(path): \(found)")
    }

    /// Reads a file in UTF-8, or in UTF-16 with a byte order mark.
    private static func text(_ path: String) throws -> String {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
            throw error(path, "no such file")
        }
        guard !isFolder.boolValue else { throw error(path, "a folder; expected a list of files and classes") }
        let data: Data
        do { data = try Data(contentsOf: URL(fileURLWithPath: path)) } catch let problem as CocoaError {
            throw error(path, "cannot be read (\(problem.reason))")
        }
        let bytes = [UInt8](data)
        if bytes.starts(with: [0xFF, 0xFE]) || bytes.starts(with: [0xFE, 0xFF]) {
            if let text = String(data: data, encoding: .utf16) { return text }
        } else if !bytes.contains(0),
            let text = String(
                bytes: bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? bytes.dropFirst(3) : bytes[...],
                encoding: .utf8)
        {
            return text
        }
        throw error(path, "neither UTF-8 nor UTF-16 text; save the list as UTF-8")
    }

    // MARK: - Columns

    /// Returns the column with the most different values, in the first thousand lines, that are on disk.
    private static func fileColumn(_ rows: [CSV.Row], _ disk: FilesOnDisk) -> Int {
        let counts = rows[0].fields.indices.map { column in
            Set(rows.prefix(1000).map { $0.fields[column] }).count {
                disk.find($0, ignoringFolders: true) != .none
            }
        }
        let most = counts.max() ?? 0
        if most > 0 { return counts.firstIndex(of: most) ?? 0 }
        return rows[0].fields.firstIndex { fileNames.contains(word($0)) } ?? 0
    }

    /// Returns the names of the columns; nil if the first line is a file and its class.
    private static func header(_ rows: [CSV.Row], _ fileColumn: Int, _ disk: FilesOnDisk) -> [String]? {
        let first = rows[0].fields
        guard disk.find(first[fileColumn], ignoringFolders: true) == .none else { return nil }
        let words = first.map(word)
        if fileNames.contains(words[fileColumn]) || words.contains(where: classNames.contains) {
            return first
        }
        // A file that is not on disk has a class that other files have too.
        let isClassOfOthers = first.indices.contains { column in
            column != fileColumn && rows.dropFirst().contains { $0.fields[column] == first[column] }
        }
        return isClassOfOthers ? nil : first
    }

    /// Returns the column of the classes; nil if there are several columns and none has a usual name.
    private static func classColumn(_ width: Int, _ fileColumn: Int, _ header: [String]?) -> Int? {
        if width == 2 { return 1 - fileColumn }
        let words = header?.map(word) ?? []
        return classNames.compactMap { words.firstIndex(of: $0) }.first { $0 != fileColumn }
    }

    /// Returns the column that holds 1 in each row; nil unless the others hold 0.
    private static func oneHot(_ rows: ArraySlice<CSV.Row>, _ fileColumn: Int) -> [Int]? {
        var columns: [Int] = []
        for row in rows {
            let others = row.fields.indices.filter { $0 != fileColumn }
            let ones = others.filter { Double(row.fields[$0]) == 1 }
            guard ones.count == 1, others.allSatisfy({ Double(row.fields[$0]) == 0 || $0 == ones[0] }) else {
                return nil
            }
            columns.append(ones[0])
        }
        return columns
    }

    /// Returns a column's name in lower-case letters only: `image_id` and `Image ID` are the same.
    private static func word(_ text: String) -> String { text.lowercased().filter(\.isLetter) }
}
