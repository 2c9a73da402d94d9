/// Explains why a run cannot start or continue.
public struct TrainingError: Error, CustomStringConvertible, Equatable {
    public let description: String
    /// Whether the command line or a configuration is wrong, rather than the work.
    public let isUsage: Bool

    public init(_ description: String, isUsage: Bool = false) {
        self.description = description
        self.isUsage = isUsage
    }

    /// Returns an error of the command line or of a configuration.
    public static func usage(_ description: String) -> TrainingError { .init(description, isUsage: true) }
}
