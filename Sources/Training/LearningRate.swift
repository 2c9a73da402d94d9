import Configuration
import Foundation
import Runs

/// Computes the learning rate of each step: a linear warm-up to the peak, then the schedule.
struct LearningRate {
    let options: TrainingOptions
    let stepsPerEpoch: Int
    /// The rate after the warm-up.
    let peak: Double
    /// The state of the plateau schedule.
    private(set) var plateau: TrainingState.Plateau

    /// Returns the rate of step `index`, counted from 0.
    func rate(step index: Int) -> Double {
        let warmupSteps = Int((options.warmupEpochs * Double(stepsPerEpoch)).rounded())
        let totalSteps = stepsPerEpoch * options.epochs
        if index < warmupSteps { return peak * Double(index + 1) / Double(warmupSteps) }
        switch options.schedule {
        case .constant: return peak
        case .step: return peak * pow(0.1, Double(min(2, index * 3 / max(1, totalSteps))))
        case .plateau: return peak * pow(0.1, Double(plateau.reductions))
        case .cosine:
            let share = Double(index - warmupSteps) / Double(max(1, totalSteps - warmupSteps))
            return peak * 0.5 * (1 + cos(.pi * share))
        }
    }

    /// Notes the validation loss at the end of an epoch.
    mutating func observe(validationLoss: Double) {
        guard options.schedule == .plateau else { return }
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
