/// Converts to a JSON value.
public protocol JSONConvertible {
    var json: JSON { get }
}

/// Lets a dictionary literal be an object with its keys in the order written: `["step": 3, "loss": loss]`.
///
/// Values may be of any convertible type. An object within an object is written `[…] as JSON`.
extension JSON: ExpressibleByDictionaryLiteral, ExpressibleByArrayLiteral, JSONConvertible {
    public init(dictionaryLiteral members: (String, any JSONConvertible)...) {
        self = .object(members.map { Member($0, $1.json) })
    }

    public init(arrayLiteral values: any JSONConvertible...) { self = .array(values.map(\.json)) }

    public var json: JSON { self }

    /// Returns an object with the members of two objects, those of `left` first.
    public static func + (left: JSON, right: JSON) -> JSON {
        guard let first = left.members, let second = right.members else {
            preconditionFailure("only objects can be joined")
        }
        return .object(first + second)
    }
}

extension Bool: JSONConvertible { public var json: JSON { .bool(self) } }
extension Int: JSONConvertible { public var json: JSON { .integer(self) } }
extension Double: JSONConvertible { public var json: JSON { .number(self) } }
extension Float: JSONConvertible { public var json: JSON { .float(self) } }
extension String: JSONConvertible { public var json: JSON { .string(self) } }

extension Optional: JSONConvertible where Wrapped: JSONConvertible {
    public var json: JSON { self?.json ?? .null }
}

extension Array: JSONConvertible where Element: JSONConvertible {
    public var json: JSON { .array(map(\.json)) }
}
