extension CSV {
    /// A line of a table and the fields in it.
    public struct Row: Sendable, Equatable {
        /// The number of the line, from 1.
        public let line: Int
        public let fields: [String]
    }

    /// A quotation mark without its partner.
    public struct OpenQuote: Error, Equatable {
        /// The number of the line with the quotation mark, from 1.
        public let line: Int
    }

    /// Reads a table of values that are separated by commas, semicolons or tabs; empty lines are left out.
    ///
    /// The separator is the one that the first line has most of. Lines end in LF, CRLF or CR. A quoted field
    /// may contain separators, line ends and doubled quotation marks. Spaces around a field are removed.
    /// - Throws: `OpenQuote`.
    public static func rows(_ text: String) throws(OpenQuote) -> [Row] {
        let bytes = Array(text.utf8)
        let first = bytes.prefix { $0 != 10 && $0 != 13 }
        let separators = [UInt8](",;\t".utf8)
        let separator = separators.max { left, right in
            first.count { $0 == left } < first.count { $0 == right }
        }
        var reader = Reader(bytes: bytes, separator: separator ?? separators[0])
        return try reader.rows()
    }

    private struct Reader {
        let bytes: [UInt8]
        let separator: UInt8
        private var at = 0
        private var line = 1

        init(bytes: [UInt8], separator: UInt8) {
            self.bytes = bytes
            self.separator = separator
        }

        mutating func rows() throws(OpenQuote) -> [Row] {
            var rows: [Row] = []
            while at < bytes.count {
                let start = line
                var fields = [try field()]
                while at < bytes.count, bytes[at] == separator {
                    at += 1
                    fields.append(try field())
                }
                skipLineEnd()
                if fields.contains(where: { !$0.isEmpty }) { rows.append(Row(line: start, fields: fields)) }
            }
            return rows
        }

        private func isEnd(_ byte: UInt8) -> Bool { byte == separator || byte == 10 || byte == 13 }

        private func isBlank(_ byte: UInt8) -> Bool { byte == 32 || (byte == 9 && separator != 9) }

        private mutating func skipLineEnd() {
            guard at < bytes.count else { return }
            if bytes[at] == 13, at + 1 < bytes.count, bytes[at + 1] == 10 { at += 1 }
            at += 1
            line += 1
        }

        /// Reads up to the separator or the end of the line.
        private mutating func field() throws(OpenQuote) -> String {
            while at < bytes.count, isBlank(bytes[at]) { at += 1 }
            var content: [UInt8] = []
            if at < bytes.count, bytes[at] == UInt8(ascii: "\"") {
                content = try quoted()
            }
            let start = at
            while at < bytes.count, !isEnd(bytes[at]) { at += 1 }
            content += bytes[start..<at]
            while let last = content.last, isBlank(last) { content.removeLast() }
            return String(decoding: content, as: UTF8.self)
        }

        private mutating func quoted() throws(OpenQuote) -> [UInt8] {
            let start = line
            var content: [UInt8] = []
            at += 1
            while at < bytes.count {
                let byte = bytes[at]
                at += 1
                if byte == UInt8(ascii: "\"") {
                    guard at < bytes.count, bytes[at] == byte else { return content }
                    at += 1
                }
                if byte == 10 { line += 1 }
                content.append(byte)
            }
            throw OpenQuote(line: start)
        }
    }
}
