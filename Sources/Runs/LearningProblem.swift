import Basics
import Configuration
import Foundation

/// Says why training does not work as it should.
public enum LearningProblem: Sendable {
    /// The training loss is still that of guessing.
    ///
    /// `chance` is ln(classes). `silent` has the share of units, in percent, that no image of the last
    /// micro-batch activates, for each layer that has some.
    case guessing(loss: Double, chance: Double, silent: [(layer: String, share: Double)])
    /// The network knows the training photographs much better than those of the validation.
    case overfitting(training: Double, validation: Double)
    /// A class has many times as many training photographs as another, and no option makes up for that.
    case imbalance(ClassBalance)

    /// A stable name for the log and for the run's state.
    package var kind: String {
        switch self {
        case .guessing: "guessing"
        case .overfitting: "overfitting"
        case .imbalance: "imbalance"
        }
    }

    /// The facts for the log.
    var json: JSON {
        switch self {
        case .guessing(let loss, let chance, let silent):
            [
                "training_loss": loss, "chance_loss": chance,
                "silent_units_percent": JSON.object(silent.map { .init($0.layer, .rounded($0.share)) }),
            ]
        case .overfitting(let training, let validation):
            ["training_top1": training, "validation_top1": validation]
        case .imbalance(let balance): balance.json
        }
    }

    /// Returns whether classes differ so much in their photographs that training should make up for it.
    package static func isImbalanced(_ balance: ClassBalance, _ options: TrainingOptions) -> Bool {
        balance.ratio >= 10 && options.classWeights == .none && !options.balancedSampling
    }

    /// Returns whether a training loss is that of guessing: within 2 % of ln(classes), or above it.
    package static func isGuessing(loss: Double, classes: Int) -> Bool { loss > 0.98 * log(Double(classes)) }

    /// Returns whether training accuracy is so far above validation's that the network overfits.
    package static func isOverfitting(training: Double, validation: Double) -> Bool {
        training > 0.9 && training - validation > 0.25
    }
}
