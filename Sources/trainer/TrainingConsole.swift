import Basics
import Evaluation
import Foundation
import Runs
import Training

/// Shows a run: with a progress bar on a terminal, with plain lines elsewhere.
final class TrainingConsole: EventSink {
    private let bar = ProgressBar()
    private var epochStart = (seconds: 0.0, step: 0)
    private var recent = (loss: 0.0, secondsPerImage: 0.0, weight: 0.0)

    func receive(_ event: RunEvent) {
        switch event {
        case .step(let step): show(step)
        case .validating(let done, let total): bar.draw(done: done, of: total, "validating \(done)/\(total)")
        case .checkpoint: break
        default:
            bar.clear()
            RunConsole.print(text(event))
        }
        if case .started(let start) = event { RunConsole.open(RunFolder.logPath(start.options.output)) }
        if case .resumed(let step, let seconds) = event { epochStart = (seconds, step) }
        if case .epoch(let epoch) = event { epochStart = (epoch.seconds, epoch.step) }
    }

    private func text(_ event: RunEvent) -> String {
        switch event {
        case .step, .validating, .checkpoint: ""
        case .started(let start):
            "\(start.trainingImages) training and \(start.validationImages) validation images of "
                + "\(start.classes) classes, short side \(start.shortSide), crops of "
                + "\(start.options.imageSize)\n" + text(start.balance) + "\n"
                + "\(start.model), \(start.parameterCount) parameters, on \(start.device)"
        case .resumed(let step, _): "resuming after step \(step)"
        case .initialised(let path, let taken, let drawn):
            "from \(path): took \(taken.joined(separator: ", ")) and its normalisation"
                + (drawn.isEmpty ? "" : "; initialised \(drawn.joined(separator: ", "))")
        case .epoch(let epoch):
            String(
                format: "epoch %d: training top-1 %.1f %%, loss %.4f; ",
                epoch.epoch, 100 * epoch.trainingTop1, epoch.trainingLoss)
                + (epoch.validation.images > 0
                    ? "validation \(epoch.validation.summary()), " : "no validation, ")
                + String(
                    format: "%.0f images/s, data wait %.1f %%, loader %.1f ms CPU a step, ",
                    epoch.imagesPerSecond, epoch.times.dataWait * 100,
                    epoch.times.loaderSecondsPerStep * 1000)
                + ProgressBar.duration(epoch.seconds) + (epoch.isBest ? " (best)" : "")
        case .exchange(let seconds, let exposed, let hiddenShare):
            String(
                format: "exchange: under way for %.1f s, %.1f s of them exposed: %.0f %% hidden (on the "
                    + "rank that hides least)", seconds, exposed, 100 * hiddenShare)
        case .cache(let cached, let images, let ranks, let byteCount):
            "cache: \(cached) of \(images) training images "
                + String(
                    format: "(%.0f %%) stay on the %@, %.1f MB",
                    100 * Double(cached) / Double(max(1, images)),
                    ranks == 1 ? "device" : "devices of \(ranks) ranks", Double(byteCount) * 1e-6)
        case .inputBound(let input): text(input)
        case .leftOut(let line): "left out: \(line)"
        case .checkpointFailed(let step, let run):
            "the last complete checkpoint is \(run)/checkpoints/step-\(step); resume with: "
                + Job.line("--resume " + shellQuoted(run))
        case .learningRateFound(let found):
            String(
                format: "learning rate %.2g, found in %d steps: the loss fell from %.3f to %.3f", found.rate,
                found.curve.count, found.curve.first?.loss ?? 0, found.curve.map(\.loss).min() ?? 0)
        case .warning(_, let problem): text(problem)
        case .stoppedEarly(let epoch, let patience):
            "stopped after epoch \(epoch): \(patience) epochs without a better validation (--patience)"
        case .traced(let path): "trace: \(path) (open it in https://ui.perfetto.dev)"
        case .fewCores(let usable, let share):
            "this rank may use \(usable) of the \(share) cores that are its share: start with mpirun "
                + "--bind-to none"
        case .batchChosen(let batch, let photographs):
            "batch \(batch), because the training set has only \(photographs) photographs; --batch changes it"
        case .unused(let files, let data, let labels):
            (files.lines + [files.listing(data: data, labels: labels)].compactMap(\.self))
                .joined(separator: "\n")
        case .flatExchange(let reason): Remedy.message(for: reason)
        case .note(let text): text
        }
    }

    private func text(_ input: InputBound) -> String {
        let cores = ProcessInfo.processInfo.activeProcessorCount
        let start = String(
            format:
                "input-bound: training waited %.0f %% of the time for photographs; the %d threads that read "
                + "them computed %.0f %% of the time", 100 * input.wait, input.workers, 100 * input.busy)
        let more = input.workers < cores ? "more --workers (there are \(cores) cores), " : ""
        return start
            + (input.isComputing
                ? ". Try \(more)smaller photographs (trainer prepare), or --cache"
                : " and waited for the disk. Try more --workers, archives (trainer prepare) on a local "
                    + "disk, or --cache")
    }

    private func text(_ balance: ClassBalance) -> String {
        let (largest, smallest) = (balance.largest, balance.smallest)
        return largest.images == smallest.images
            ? "each class has \(largest.images) training images"
            : "a class has \(smallest.images) (\(smallest.name)) to \(largest.images) (\(largest.name)) "
                + String(format: "training images, a ratio of %.1f", balance.ratio)
    }

    private func text(_ problem: LearningProblem) -> String {
        switch problem {
        case .guessing(let loss, let chance, let silent):
            let units = silent.map { String(format: "%.0f %% of %@", $0.share, $0.layer) }
            return String(
                format: "warning: the network does not learn: the training loss is %.3f, and guessing gives "
                    + "%.3f", loss, chance)
                + (units.isEmpty ? "" : "; units that never fire: " + units.joined(separator: ", "))
                + ". Try another --learning-rate (`trainer find-rate` draws the loss over rates), or "
                + "fewer layers."
        case .overfitting(let training, let validation):
            return String(
                format: "warning: the network overfits: top-1 is %.1f %% in training and %.1f %% in "
                    + "validation", 100 * training, 100 * validation)
                + ". Try more photographs, --augment paper, more --dropout or --weight-decay, or --init."
        case .imbalance(let balance):
            return "warning: class \(balance.largest.name) has "
                + String(format: "%.0f times as many training images as class ", balance.ratio)
                + balance.smallest.name + ". Try --balanced-sampling or --class-weights balanced."
        }
    }

    private func show(_ step: StepReport) {
        // Means over about the last twenty steps, because a single step's loss and time vary too much.
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
        if bar.isTerminal { bar.draw(done: step.step, of: step.totalSteps, text) }
        if step.step == 1 || step.step % max(1, step.totalSteps / step.epochs / 4) == 0 {
            if bar.isTerminal { RunConsole.note(text) } else { RunConsole.print(text) }
        }
    }
}
