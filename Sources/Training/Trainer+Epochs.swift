import Basics
import Evaluation
import Foundation
import Runs

/// The end of an epoch.
extension Trainer {
    /// Validates an epoch, and notes in its checkpoint that this was done and whether it is the best.
    func validate(_ epoch: Int, _ times: StepTimes) throws -> EpochReport {
        let began = ContinuousClock.now
        let result = try evaluate()
        try gatherBadFiles()
        try reportExchange()
        learningRate.observe(validationLoss: result.loss)
        let isBest = state.noteIfBest(result)
        let finished = EpochReport(
            options, epoch: epoch, step: state.step, training: state.sums.means, validation: result,
            validationSeconds: (ContinuousClock.now - began).seconds, isBest: isBest, times: times,
            seconds: secondsSinceStart)
        try report(.epoch(finished))
        try reportProblems(finished)
        state.sums = TrainingState.EpochSums()
        state.plateau = learningRate.plateau
        state.validatedEpochs = epoch
        try measureProgress(&state)
        if let folder = output.folder {
            try state.write(folder.checkpointPath(step: state.step))
            if isBest { try folder.link("best", step: state.step) }
            // The checkpoint that was the best until now may exceed `keep`.
            try folder.prune(keep: options.keep, best: state.best?.step)
        }
        return finished
    }

    /// Warns, once for each kind of problem, if the epoch shows that the network does not learn what it
    /// should.
    private func reportProblems(_ epoch: EpochReport) throws {
        let (loss, top1) = (epoch.trainingLoss, epoch.validation.top1)
        let isWarm = Double(epoch.epoch) > options.warmupEpochs
        var problems: [LearningProblem] = []
        if isWarm, LearningProblem.isGuessing(loss: loss, classes: network.classes) {
            let silent = try network.silentUnits(batch: options.batch / options.microBatches)
            problems.append(
                .guessing(loss: loss, chance: log(Double(network.classes)), silent: silent))
        }
        if epoch.validation.images > 0,
            LearningProblem.isOverfitting(training: epoch.trainingTop1, validation: top1)
        {
            problems.append(.overfitting(training: epoch.trainingTop1, validation: top1))
        }
        for problem in problems where !state.warnings.contains(problem.kind) {
            state.warnings.append(problem.kind)
            try report(.warning(epoch: epoch.epoch, problem))
        }
    }

    /// Whether the best validation is at least `--patience` epochs old.
    var isOutOfPatience: Bool {
        guard let patience = options.patience, let best = state.best else { return false }
        return state.validatedEpochs - best.step / workload.stepsPerEpoch >= patience
    }

    /// Evaluates the network, with averaged weights if there are any, on the validation photographs.
    ///
    /// Each rank takes a part.
    private func evaluate() throws -> Metrics {
        let total = workload.dataset.validation.count
        let count = ranks?.count ?? 1
        let (own, failures) = try machinery.training.withAveragedWeights {
            try machinery.validator.images(
                of: workload.dataset.validation, part: (ranks?.rank ?? 0, count), workers: options.workers
            ) {
                try report(.validating(done: min(total, $0 * count), total: total))
                // The epoch's checkpoint is written already, and a resumed run validates again. Several
                // ranks stop together, at a step.
                // A run that is resumed only to validate must do so, however short its time is.
                if ranks == nil, let reason = Interruption.reason, hasStepped || reason != .maximumTime {
                    throw interrupted(reason)
                }
            }
        }
        let images = try ranks.map { try $0.gather(own).flatMap { $0 } } ?? own
        try noteBadFiles(failures)
        return Metrics(images, classes: network.classes)
    }

    /// Reports how much of the exchange the steps since the last call have hidden.
    private func reportExchange() throws {
        guard let exchange, let ranks else { return }
        let (underWay, exposed) = exchange.seconds
        let own = [underWay - exchangeBefore.underWay, exposed - exchangeBefore.exposed]
        exchangeBefore = (underWay, exposed)
        func hidden(_ rank: [Double]) -> Double { rank[0] > 0 ? max(0, 1 - rank[1] / rank[0]) : 1 }
        let least = try ranks.gather(own).min { hidden($0) < hidden($1) } ?? own
        try report(.exchange(seconds: least[0], exposed: least[1], hiddenShare: hidden(least)))
    }

    /// Reports how many photographs the first epoch has put on the devices of all ranks.
    ///
    /// No log has this, because a resumed run fills its cache again but must log what another run logs.
    func reportCache() throws {
        let cache = machinery.cache
        let own = [cache.cachedCount, cache.allocatedBytes, cache.capacity]
        let all = try ranks?.gather(own) ?? [own]
        guard all.contains(where: { $0[2] > 0 }) else { return }
        let (cached, byteCount) = all.reduce((0, 0)) { ($0.0 + $1[0], $0.1 + $1[1]) }
        let images = workload.dataset.training.count
        try report(.cache(cached: cached, images: images, ranks: all.count, byteCount: byteCount))
    }
}
