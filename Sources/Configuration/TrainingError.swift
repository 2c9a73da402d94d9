/// Explains why a run cannot start or continue: facts, to which a command adds what its user can do.
public struct TrainingError: Error, CustomStringConvertible, Equatable {
    /// The kinds of errors that a command can advise on.
    public enum Kind: Equatable, Sendable {
        /// The command line or a configuration is wrong, rather than the work.
        case usage
        /// A file that the command line names cannot hold what it is to hold.
        case unusableFile(FileContent)
        /// Options of these names differ from a resumed run's and would change its result.
        case changedOptions([String])
        /// The run's `config.yaml` was edited in a way that would change its result.
        case changedConfiguration(String)
        /// Something else differs from a resumed run's, and would change its result.
        case changed(Circumstance)
        /// Another version of the program has saved this checkpoint.
        case foreignCheckpoint(String)
        /// A new run's folder exists.
        case runExists(String)
        /// The folder is not a run's.
        case noRun
        /// The run has no complete checkpoint.
        case noCheckpoint
        /// Layers that the initial model must have do not fit its own.
        case initialModelDoesNotFit
        /// Training fits the device, but not beside the cache, unless that takes no more than `room`.
        case cacheTooLarge(room: String?)
        /// Training does not fit the device; `anyBatch` if a smaller batch does.
        case tooLittleMemory(anyBatch: Bool)
        /// The loss or the weights are not finite; `hasLearnt` if the last checkpoint follows a step.
        case diverged(learningRate: Double, hasLearnt: Bool)
        /// More photographs cannot be used than are allowed; `run` is the run's folder, nil before training.
        case tooManyBadFiles(count: Int, run: String?)
        case other
    }

    /// What files of options hold.
    public enum FileContent: Sendable { case configuration, machine }

    /// What a run's result depends on, beside its options.
    public enum Circumstance: Sendable {
        case device, version, photographs, kernels
    }

    public let description: String
    public let kind: Kind

    /// Whether the command line or a configuration is wrong, rather than the work.
    public var isUsage: Bool {
        switch kind {
        case .usage, .unusableFile, .changedOptions, .changedConfiguration: true
        default: false
        }
    }

    public init(_ description: String, kind: Kind = .other) {
        self.description = description
        self.kind = kind
    }

    /// Returns an error of the command line or of a configuration.
    public static func usage(_ description: String) -> TrainingError { .init(description, kind: .usage) }
}
