import Evaluation
import Photographs

/// What a run tells while it goes on.
public enum TrainingEvent: Sendable {
    /// One line about the set, the network, the device, or what has happened.
    case note(String)
    /// The run goes on from a checkpoint: steps done, and seconds that they took.
    case resumed(step: Int, seconds: Double)
    case step(StepReport)
    case validation(done: Int, of: Int)
    case epoch(EpochReport)
}

/// One finished step.
public struct StepReport: Sendable {
    public let epoch: Int
    public let epochs: Int
    public let step: Int
    public let totalSteps: Int
    /// Means over the mini-batch.
    public let loss: Double
    public let top1: Double
    public let top5: Double
    public let learningRate: Double
    public let imagesPerSecond: Double
    /// Share of the step's time spent waiting for photographs.
    public let dataWait: Double
    /// CPU seconds that the loader's threads have taken for the step.
    public let loaderSeconds: Double
    /// Since the run's start.
    public let seconds: Double
}

/// One finished epoch.
public struct EpochReport: Sendable {
    public let epoch: Int
    public let step: Int
    public let validation: Metrics
    /// Photographs that validation could not use.
    public let failures: [ImageError]
    public let isBest: Bool
    /// Over the epoch's steps, validation left out.
    public let imagesPerSecond: Double
    public let dataWait: Double
    public let loaderSecondsPerStep: Double
    public let seconds: Double
}
