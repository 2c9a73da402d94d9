import Configuration
import Foundation
import Runs

/// The learning rate of each step of a run: a linear warm-up to the peak, then the schedule.
struct LearningRate {
    let schedule: LearningRateSchedule
    /// The rate after the warm-up.
    let peak: Double
    let warmupSteps: Int
    let totalSteps: Int
    /// The state of the plateau schedule.
    private(set) var plateau: TrainingState.Plateau

    init(_ options: TrainingOptions, stepsPerEpoch: Int, plateau: TrainingState.Plateau) {
        schedule = options.schedule
        peak = options.learningRate
        warmupSteps = Int((options.warmupEpochs * Double(stepsPerEpoch)).rounded())
        totalSteps = stepsPerEpoch * options.epochs
        self.plateau = plateau
    }

    /// Returns the rate of step `index`, counted from 0.
    func rate(step index: Int) -> Double {
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

    /// Takes note of the validation loss at the end of an epoch.
    mutating func observe(validationLoss: Double) {
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
