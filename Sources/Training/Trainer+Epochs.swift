import Basics
import Runs
import Evaluation
import Foundation

/// What comes after an epoch's steps.
extension Trainer {
    /// Measures the network on the photographs held out, and notes in the checkpoint that this was done and
    /// whether it is the best.
    func validate(_ epoch: Int, _ sums: EpochSums) throws -> EpochReport {
        let total = dataset.validation.count
        let began = ContinuousClock.now
        let count = ranks?.count ?? 1
        let (own, failures) = try evaluator.images(
            of: dataset.validation, part: (ranks?.rank ?? 0, count), workers: options.workers
        ) {
            report(.validation(done: min(total, $0 * count), of: total))
            // The epoch's checkpoint is written already; validation is done again when the run goes on.
            // Several ranks stop together, at a step.
            if ranks == nil, let signal = Interruption.signal { throw interrupted(signal) }
        }
        let images = try ranks.map { try $0.gather(own).flatMap { $0 } } ?? own
        let result = Metrics(images, classes: network.classes)
        try noteBadFiles(failures)
        try gatherBadFiles()
        try reportExchange()
        try metrics?.append(
            ["event": "validate", "epoch": epoch, "step": state.step] + result.summaryJSON
                + ["seconds": JSON.rounded((ContinuousClock.now - began).seconds)])
        learningRate.observe(validationLoss: result.loss)
        let isBest = state.best.map { (result.top1, -result.loss) > ($0.top1, -$0.loss) } ?? true
        if isBest { state.best = TrainingState.Best(top1: result.top1, loss: result.loss, step: state.step) }
        state.plateau = learningRate.plateau
        state.validatedEpochs = epoch
        try measureProgress(&state)
        if let folder {
            try state.write(folder.checkpointPath(step: state.step))
            if isBest { try folder.link("best", step: state.step) }
            // The one that was best until now may be too many.
            try folder.prune(keep: options.keep, best: state.best?.step)
        }

        let finished = EpochReport(
            epoch: epoch, step: state.step, validation: result, failures: failures, isBest: isBest,
            imagesPerSecond: Double(sums.steps * options.batch) / max(sums.seconds, 1e-9),
            dataWait: sums.waitSeconds / max(sums.seconds, 1e-9),
            loaderSecondsPerStep: sums.loaderSeconds / Double(max(1, sums.steps)), seconds: secondsSinceStart)
        report(.epoch(finished))
        return finished
    }

    /// What share of the exchange the steps since the last call did neither wait nor work for, on the rank
    /// where it was least.
    private func reportExchange() throws {
        guard let exchange, let ranks else { return }
        let (underWay, exposed) = exchange.seconds
        let own = [underWay - exchangeBefore.underWay, exposed - exchangeBefore.exposed]
        exchangeBefore = (underWay, exposed)
        let all = try ranks.gather(own)
        let now = all.max { $0[1] / max($0[0], 1e-9) < $1[1] / max($1[0], 1e-9) } ?? own
        report(
            .note(
                String(
                    format:
                        "exchange: under way for %.1f s, %.1f s of them in the way: %.0f %% hidden (on the rank where it is least)",
                    now[0], now[1], now[0] > 0 ? 100 * max(0, 1 - now[1] / now[0]) : 100)))
    }

    /// What share of the set the first epoch has put on the device. For people alone: a resumed run fills its
    /// cache anew, and its metrics are to be those of a run that never stopped.
    func reportCache() {
        guard cache.capacity > 0 else { return }
        let own = dataset.training.count / options.microBatches * span.count
        report(
            .note(
                "cache: \(cache.cachedCount) of \(own) training images \(ranks == nil ? "" : "of this rank ")"
                    + String(
                        format: "(%.0f %%) stay on the device, %.1f MB",
                        100 * Double(cache.cachedCount) / Double(max(1, own)),
                        Double(cache.allocatedBytes) * 1e-6)))
    }
}
