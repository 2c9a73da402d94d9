import Basics
import Configuration
import Evaluation

/// Writes a run's `metrics.jsonl`: one line for the start, for each step and for each validation.
package final class MetricsLog: EventSink {
    private let file: JSONLinesFile

    /// Opens the log, or creates it.
    package init(_ path: String) throws { file = try JSONLinesFile(path) }

    /// Waits until all lines are on the disk, and returns the log's size in bytes.
    package func synchronize() throws -> Int { try file.synchronize() }

    package func receive(_ event: RunEvent) throws {
        switch event {
        case .started(let start) where start.isNew: try file.append(MetricsLog.line(start))
        case .step(let step):
            try file.append([
                "event": "train", "epoch": step.epoch, "step": step.step, "loss": step.loss,
                "top1": step.top1, "top5": step.top5, "learning_rate": step.learningRate,
                "images_per_second": JSON.rounded(step.imagesPerSecond),
                "data_wait": JSON.rounded(step.times.dataWait),
                "loader_seconds": JSON.rounded(step.times.loaderSecondsPerStep),
                "seconds": JSON.rounded(step.seconds),
            ])
        case .epoch(let epoch):
            let place: JSON = ["event": "validate", "epoch": epoch.epoch, "step": epoch.step]
            let rest: JSON = [
                "training_loss": epoch.trainingLoss, "training_top1": epoch.trainingTop1,
                "seconds": JSON.rounded(epoch.validationSeconds),
            ]
            try file.append(place + epoch.validation.summaryJSON + rest)
        case .warning(let epoch, let problem):
            let place: JSON = ["event": "warning", "epoch": epoch, "kind": problem.kind]
            try file.append(place + problem.json)
        // A resumed run must log what an uninterrupted run logs, so nothing else is written.
        default: break
        }
    }

    /// Returns the first line: what the run uses, then all options that this does not include.
    private static func line(_ start: RunStart) -> JSON {
        let facts: JSON = [
            "event": "start", "version": start.version, "device": start.device, "driver": start.driver,
            "ranks": start.ranks, "model": start.model, "classes": start.classes,
            "training_images": start.trainingImages, "validation_images": start.validationImages,
            "short_side": start.shortSide,
        ]
        let options = TrainingOption.all.filter { $0.effect != .invocation }.compactMap {
            $0.member(start.options)
        }
        return facts + start.balance.json + .object(options.filter { facts[$0.key] == nil })
    }
}
