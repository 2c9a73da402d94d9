/// Why an evaluation gave no whole answer.
public struct EvaluationError: Error, CustomStringConvertible, Equatable {
    public let description: String

    public init(_ description: String) { self.description = description }
}
