/// Describes why an evaluation has no result.
public struct EvaluationError: Error, CustomStringConvertible, Equatable {
    /// What the command line needs to know to say which option to change.
    public enum Kind: Sendable, Equatable {
        /// A view's short side is smaller than what the model looks at in one piece.
        case viewTooSmall(isDense: Bool)
        /// A view needs a larger buffer than the device allows.
        case viewTooLarge
        /// No model has the class whose score map was requested.
        case unknownClass
        case other
    }

    public let kind: Kind
    public let description: String

    public init(_ description: String, kind: Kind = .other) {
        self.kind = kind
        self.description = description
    }
}
