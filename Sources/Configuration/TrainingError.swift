/// Why a run cannot start or go on.
public struct TrainingError: Error, CustomStringConvertible, Equatable {
    public let description: String
    /// Whether the command line is at fault, rather than the work.
    public let isUsage: Bool

    public init(_ description: String) {
        self.description = description
        isUsage = false
    }

    private init(usage description: String) {
        self.description = description
        isUsage = true
    }

    public static func usage(_ description: String) -> TrainingError { TrainingError(usage: description) }
}
