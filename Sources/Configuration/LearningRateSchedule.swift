import Foundation

/// How the learning rate goes from step to step.
public enum LearningRateSchedule: String, CaseIterable, Sendable, Codable {
    /// The same rate throughout.
    case constant
    /// A tenth after each third of the run.
    case step
    /// A tenth whenever the validation loss has not improved for two epochs.
    case plateau
    /// Half a cosine down to zero at the last step.
    case cosine
}

/// The rate of each step of one run: a linear warm-up to the peak, then the schedule.
public struct LearningRate: Sendable {
    public let schedule: LearningRateSchedule
    /// The rate after the warm-up.
    public let peak: Double
    public let warmupSteps: Int
    public let totalSteps: Int
    /// What `plateau` needs to remember: part of a run's state.
    public var plateau = Plateau()

    public init(schedule: LearningRateSchedule, peak: Double, warmupSteps: Int, totalSteps: Int) {
        self.schedule = schedule
        self.peak = peak
        self.warmupSteps = warmupSteps
        self.totalSteps = totalSteps
    }

    /// The memory of the plateau schedule.
    public struct Plateau: Sendable, Equatable, Codable {
        public var best: Double?
        public var epochsSinceBest = 0
        public var reductions = 0

        public init() {}
    }

    /// The rate of step `index`, counted from 0.
    public func rate(step index: Int) -> Double {
        if index < warmupSteps { return peak * Double(index + 1) / Double(warmupSteps) }
        switch schedule {
        case .constant: return peak
        case .step: return peak * pow(0.1, Double(min(2, index * 3 / max(1, totalSteps))))
        case .plateau: return peak * pow(0.1, Double(plateau.reductions))
        case .cosine:
            let share = Double(index - warmupSteps) / Double(max(1, totalSteps - warmupSteps))
            return peak * 0.5 * (1 + cos(.pi * share))
        }
    }

    /// Tells the schedule the validation loss at an epoch's end.
    public mutating func observe(validationLoss: Double) {
        guard schedule == .plateau else { return }
        // A relative threshold, so that noise in the fourth digit is not progress.
        if validationLoss < (plateau.best ?? .infinity) * (1 - 1e-3) {
            plateau.best = validationLoss
            plateau.epochsSinceBest = 0
        } else {
            plateau.epochsSinceBest += 1
            if plateau.epochsSinceBest >= 2 {
                plateau.epochsSinceBest = 0
                plateau.reductions += 1
            }
        }
    }
}
