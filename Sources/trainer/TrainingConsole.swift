import Training
import Basics
import Runs
import Evaluation
import Foundation

/// Shows a run: a progress bar on a terminal, plain lines elsewhere.
final class TrainingConsole {
    private let bar = ProgressBar()
    private var epochStart = (seconds: 0.0, step: 0)
    private var recent = (loss: 0.0, secondsPerImage: 0.0, weight: 0.0)

    func show(_ event: TrainingEvent) {
        switch event {
        case .note(let text):
            bar.clear()
            print(text)
        case .resumed(let step, let seconds):
            epochStart = (seconds, step)
            print("going on after step \(step)")
        case .step(let step): show(step)
        case .validation(let done, let total): bar.draw(done: done, of: total, "validating \(done)/\(total)")
        case .epoch(let epoch):
            bar.clear()
            epochStart = (epoch.seconds, epoch.step)
            print(
                "epoch \(epoch.epoch): validation \(epoch.validation.summary()), "
                    + String(
                        format: "%.0f images/s, data wait %.1f %%, ",
                        epoch.imagesPerSecond, epoch.dataWait * 100)
                    + String(format: "loader %.1f ms CPU a step, ", epoch.loaderSecondsPerStep * 1000)
                    + ProgressBar.duration(epoch.seconds) + (epoch.isBest ? " (best)" : ""))
            for failure in epoch.failures.prefix(5) { print("  left out: \(failure)") }
        }
    }

    private func show(_ step: StepReport) {
        // Means over about the last twenty steps: one step's loss, and its time on a small network, jump too
        // much to be read.
        recent.loss = 0.95 * recent.loss + step.loss
        recent.secondsPerImage =
            0.95 * recent.secondsPerImage + 1 / max(step.imagesPerSecond, .leastNormalMagnitude)
        recent.weight = 0.95 * recent.weight + 1
        let (loss, imagesPerSecond) = (recent.loss / recent.weight, recent.weight / recent.secondsPerImage)
        let perStep = (step.seconds - epochStart.seconds) / Double(max(1, step.step - epochStart.step))
        let left = perStep * Double(step.totalSteps - step.step)
        let text =
            "epoch \(step.epoch)/\(step.epochs) step \(step.step)/\(step.totalSteps) "
            + String(
                format: "loss %.3f top-1 %.0f %% %.0f images/s, ", loss, step.top1 * 100, imagesPerSecond)
            + ProgressBar.duration(left) + " left"
        if bar.isTerminal {
            bar.draw(done: step.step, of: step.totalSteps, text)
        } else if step.step == 1 || step.step % max(1, step.totalSteps / step.epochs / 4) == 0 {
            print(text)
        }
    }
}
