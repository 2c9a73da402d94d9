/// Represents a JSON value whose objects keep the order of their keys.
///
/// Foundation's reader accepts repeated keys and more than JSON, and turns integers into floating point,
/// which is wrong for a checkpoint's header; its writer does not keep the order of keys.
public enum JSON: Equatable, Sendable {
    case null
    case bool(Bool)
    /// A number without fraction and exponent.
    case integer(Int)
    case number(Double)
    case string(String)
    case array([JSON])
    case object([Member])

    public struct Member: Equatable, Sendable {
        public var key: String
        public var value: JSON

        public init(_ key: String, _ value: JSON) {
            self.key = key
            self.value = value
        }
    }

    /// Returns a number with the digits that single precision needs (0.1, not 0.10000000149011612).
    public static func float(_ value: Float) -> JSON { .number(Double(value.description) ?? Double(value)) }

    /// Returns the value of this key; nil if it is missing or this is not an object.
    public subscript(key: String) -> JSON? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.key == key }?.value
    }

    /// The value of true and false; nil for other values.
    public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }

    /// The text of a string; nil for other values.
    public var string: String? { if case .string(let text) = self { text } else { nil } }

    /// The elements of an array; nil for other values.
    public var array: [JSON]? { if case .array(let elements) = self { elements } else { nil } }

    /// The members of an object; nil for other values.
    public var members: [Member]? { if case .object(let members) = self { members } else { nil } }

    /// The value of a number without fraction and exponent; nil for other values.
    public var integer: Int? { if case .integer(let value) = self { value } else { nil } }

    /// The value of any number; nil for other values.
    public var double: Double? {
        if case .number(let value) = self { value } else { integer.map { Double($0) } }
    }

    /// The value as JSON on one line, without spaces.
    ///
    /// Numbers have the fewest digits that read back to the same value. NaN and infinities, which JSON does
    /// not have, become null.
    public var text: String {
        switch self {
        case .null: return "null"
        case .bool(let value): return value ? "true" : "false"
        case .integer(let value): return String(value)
        case .number(let value): return value.isFinite ? value.description : "null"
        case .string(let value): return quoted(value)
        case .array(let values): return "[" + values.map(\.text).joined(separator: ",") + "]"
        case .object(let members):
            return "{" + members.map { "\(quoted($0.key)):\($0.value.text)" }.joined(separator: ",") + "}"
        }
    }

    private func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case "\n": quoted += "\\n"
            case "\r": quoted += "\\r"
            case "\t": quoted += "\\t"
            case _ where scalar.value < 0x20 || scalar.value == 0x7F:
                let digits = String(scalar.value, radix: 16)
                quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }
}

/// Describes what is wrong with a JSON text, and where.
public struct JSONError: Error, Equatable, CustomStringConvertible {
    public let offset: Int
    public let message: String

    public var description: String { "byte \(offset): \(message)" }
}

extension JSON {
    /// Reads one JSON value from UTF-8, strictly by RFC 8259.
    ///
    /// Repeated keys in one object, numbers beyond double precision and nesting deeper than 64 are errors.
    ///
    /// - Throws: `JSONError`.
    public static func parse(_ bytes: [UInt8]) throws -> JSON {
        var parser = JSONParser(bytes: bytes)
        let value = try parser.value()
        parser.skipSpaces()
        if parser.next != nil { throw parser.error("text follows the value") }
        return value
    }

    public static func parse(_ text: String) throws -> JSON { try parse(Array(text.utf8)) }
}

private struct JSONParser {
    let bytes: [UInt8]
    var position = 0
    var depth = 0

    func error(_ message: String, at offset: Int? = nil) -> JSONError {
        JSONError(offset: offset ?? position, message: message)
    }

    var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    mutating func skipSpaces() {
        while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { position += 1 }
    }

    mutating func take(_ byte: Character) -> Bool {
        guard next == byte.asciiValue else { return false }
        position += 1
        return true
    }

    mutating func value() throws -> JSON {
        skipSpaces()
        guard let byte = next else { throw error("the text ends where a value was expected") }
        switch Character(UnicodeScalar(byte)) {
        case "{": return try nested { try $0.object() }
        case "[": return try nested { try $0.array() }
        case "\"": return .string(try string())
        case "t": return try literal("true", .bool(true))
        case "f": return try literal("false", .bool(false))
        case "n": return try literal("null", .null)
        case "-", "0"..."9": return try number()
        default: throw error("a value was expected")
        }
    }

    /// Limits the recursion, so that a file of a million brackets cannot exhaust the stack.
    mutating func nested(_ body: (inout JSONParser) throws -> JSON) throws -> JSON {
        guard depth < 64 else { throw error("values are nested deeper than 64") }
        depth += 1
        position += 1
        let value = try body(&self)
        depth -= 1
        return value
    }

    mutating func literal(_ word: String, _ value: JSON) throws -> JSON {
        guard bytes[position...].starts(with: word.utf8) else { throw error("a value was expected") }
        position += word.utf8.count
        return value
    }

    mutating func object() throws -> JSON {
        var members: [JSON.Member] = []
        var keys: Set<String> = []
        skipSpaces()
        if take("}") { return .object([]) }
        repeat {
            skipSpaces()
            let start = position
            guard next == 0x22 else { throw error("a key in quotation marks was expected") }
            let key = try string()
            guard keys.insert(key).inserted else { throw error("the key \"\(key)\" is repeated", at: start) }
            skipSpaces()
            guard take(":") else { throw error("a colon was expected") }
            members.append(JSON.Member(key, try value()))
            skipSpaces()
        } while take(",")
        guard take("}") else { throw error("a comma or } was expected") }
        return .object(members)
    }

    mutating func array() throws -> JSON {
        var values: [JSON] = []
        skipSpaces()
        if take("]") { return .array([]) }
        repeat {
            values.append(try value())
            skipSpaces()
        } while take(",")
        guard take("]") else { throw error("a comma or ] was expected") }
        return .array(values)
    }

    var isAtDigit: Bool { next.map { (0x30...0x39).contains($0) } ?? false }

    mutating func digits() throws {
        guard isAtDigit else { throw error("a digit was expected") }
        while isAtDigit { position += 1 }
    }

    mutating func number() throws -> JSON {
        let start = position
        _ = take("-")
        if !take("0") { try digits() }
        if isAtDigit { throw error("a number begins with 0") }
        let endOfInteger = position
        if take(".") { try digits() }
        if take("e") || take("E") {
            if !take("+") { _ = take("-") }
            try digits()
        }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        if position == endOfInteger, let integer = Int(text), text != "-0" { return .integer(integer) }
        guard let number = Double(text), number.isFinite else {
            throw error("the number \(text) is out of range", at: start)
        }
        return .number(number)
    }

    mutating func string() throws -> String {
        let start = position
        position += 1
        var content: [UInt8] = []
        while true {
            guard let byte = next else { throw error("the string is not closed", at: start) }
            position += 1
            switch byte {
            case 0x22:
                guard let string = String(validating: content, as: UTF8.self) else {
                    throw error("the string is not UTF-8", at: start)
                }
                return string
            case 0x5C: try escape(into: &content)
            case 0..<0x20: throw error("the string contains a control character", at: position - 1)
            default: content.append(byte)
            }
        }
    }

    /// The character after a backslash, and the byte that it stands for.
    static let escapes: [Character: UInt8] = [
        "\"": 0x22, "\\": 0x5C, "/": 0x2F, "b": 0x08, "f": 0x0C, "n": 0x0A, "r": 0x0D, "t": 0x09,
    ]

    mutating func escape(into content: inout [UInt8]) throws {
        let start = position - 1
        guard let byte = next else { throw error("the string is not closed") }
        if let plain = JSONParser.escapes[Character(UnicodeScalar(byte))] {
            position += 1
            return content.append(plain)
        }
        guard take("u") else { throw error("an unknown escape", at: start) }
        var value = try hexadecimal()
        if (0xD800..<0xDC00).contains(value), take("\\"), take("u") {
            let low = try hexadecimal()
            // The value of a pair without its second half is not a scalar.
            if (0xDC00..<0xE000).contains(low) { value = 0x10000 + (value - 0xD800) << 10 + (low - 0xDC00) }
        }
        guard let scalar = UnicodeScalar(value) else { throw error("half of a surrogate pair", at: start) }
        content += Array(String(Character(scalar)).utf8)
    }

    mutating func hexadecimal() throws -> UInt32 {
        let digits = String(decoding: bytes[position...].prefix(4), as: UTF8.self)
        guard digits.utf8.count == 4, digits.allSatisfy(\.isHexDigit), let value = UInt32(digits, radix: 16)
        else { throw error("four hexadecimal digits were expected") }
        position += 4
        return value
    }
}
