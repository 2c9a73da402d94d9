import Configuration
import DeviceInput
import Basics
import Runs
import Collectives
import Foundation
import Photographs
import NeuralNet

/// An epoch's steps.
extension Trainer {
    /// A step whose totals the host has not read yet.
    private struct PendingStep {
        let step: Int
        let learningRate: Double
        let waitSeconds: Double
        let loaderSeconds: Double
    }

    /// Sums over an epoch's steps.
    struct EpochSums {
        var seconds = 0.0
        var waitSeconds = 0.0
        var loaderSeconds = 0.0
        var steps = 0
    }

    /// Runs an epoch's steps from where the run is, with a checkpoint at the end. Queues each step and reads
    /// its totals one step late, so that the device never waits for the host.
    func runSteps(of epoch: Int, loader: BatchLoader) throws -> EpochSums {
        var sums = EpochSums()
        var pending: [PendingStep] = []
        var lastReport = ContinuousClock.now
        func finishOldest() throws {
            guard let oldest = pending.first else { return }
            let totals = try training.takeTotals(of: oldest.step)
            pending.removeFirst()
            if let trace, let profile = device.profile {
                trace.add(try profile.takeEnded(), offset: clockOffset)
            }
            let now = ContinuousClock.now
            let seconds = (now - lastReport).seconds
            lastReport = now
            sums.seconds += seconds
            try finishStep(oldest, totals, epoch: epoch, seconds: seconds)
        }
        func finishAll() throws { while !pending.isEmpty { try finishOldest() } }
        let end = epoch * stepsPerEpoch
        if state.step == end { return sums }
        for index in state.step..<end {
            let waitBefore = loader.waitSeconds
            let workBefore = loader.workerSeconds
            let waitBegan = Clock.seconds
            guard let host = try loader.next() else {
                throw TrainingError(
                    "the photographs ended at step \(index + 1) of epoch \(epoch): a mistake in the program")
            }
            trace?.add("step \(index + 1)", .data, start: waitBegan, end: Clock.seconds)
            try noteBadFiles(host.failures.map(\.error))
            let rate = learningRate.rate(step: index)
            try queue(host, step: index, epoch: epoch, rate: rate)
            try device.flush()
            let wait = loader.waitSeconds - waitBefore
            let work = loader.workerSeconds - workBefore
            sums.waitSeconds += wait
            sums.loaderSeconds += work
            sums.steps += 1
            pending.append(
                PendingStep(step: index, learningRate: rate, waitSeconds: wait, loaderSeconds: work))
            if pending.count > 1 { try finishOldest() }
            let done = index + 1
            if let ranks, ranks.verifiesEachStep {
                try training.finishUpdate()
                try ranks.verifyWeights(network, step: done)
            }
            let isDue = options.checkpointEvery.map { done % $0 == 0 } ?? false
            // All ranks stop after the same step: they learn of a signal with a step's totals.
            let stops = ranks == nil ? Interruption.signal != nil : training.isAskedToStop
            if done < end, isDue || stops {
                try finishAll()
                try writeCheckpoint(step: done)
                if stops { throw interrupted(Interruption.signal ?? SIGTERM) }
                // Writing is no part of the next step.
                lastReport = .now
            }
        }
        try finishAll()
        try writeCheckpoint(step: end)
        return sums
    }

    /// Uploads a mini-batch and queues its step.
    private func queue(_ host: HostBatch, step: Int, epoch: Int, rate: Double) throws {
        let batch = deviceBatches[step % deviceBatches.count]
        try batch.upload(host, size: options.imageSize, cache: cache) { width, height, sample in
            AugmentationParameters.draw(
                augmentation, width: width, height: height, size: options.imageSize, seed: options.seed,
                epoch: epoch, sample: sample)
        }
        training.asksToStop = Interruption.signal != nil
        try training.run(batch, step: step, learningRate: Float(rate))
    }

    /// Of a photograph that will not be cached, only what its crop reads is decoded.
    func pixelNeed(firstStep: Int) -> @Sendable (Int, Int) -> PixelNeed? {
        let (index, augmentation, options, stepsPerEpoch) = (
            cache.index, augmentation, options, stepsPerEpoch
        )
        return { batch, sample in
            guard index.isFull else { return nil }
            return { width, height in
                let parameters = AugmentationParameters.draw(
                    augmentation, width: width, height: height, size: options.imageSize, seed: options.seed,
                    epoch: (firstStep + batch) / stepsPerEpoch + 1, sample: sample)
                return CropRecord(
                    parameters, byteOffset: 0, width: Int32(width),
                    height: Int32(height), size: options.imageSize
                ).pixelsRead(size: options.imageSize)
            }
        }
    }

    /// Logs and reports a step whose totals have come.
    private func finishStep(
        _ pending: PendingStep, _ totals: SoftmaxCrossEntropy.Totals, epoch: Int, seconds: Double
    ) throws {
        guard totals.loss.isFinite else {
            throw try divergence(step: pending.step, rate: pending.learningRate)
        }
        let weight = Double(max(totals.weight, 1))
        let step = StepReport(
            epoch: epoch, epochs: options.epochs, step: pending.step + 1,
            totalSteps: stepsPerEpoch * options.epochs, loss: Double(totals.loss) / weight,
            top1: Double(totals.top1) / weight, top5: Double(totals.top5) / weight,
            learningRate: pending.learningRate, imagesPerSecond: Double(options.batch) / seconds,
            dataWait: pending.waitSeconds / seconds, loaderSeconds: pending.loaderSeconds,
            seconds: secondsSinceStart)
        try metrics?.append(
            .object([
                .init("event", .string("train")), .init("epoch", .integer(epoch)),
                .init("step", .integer(step.step)), .init("loss", .number(step.loss)),
                .init("top1", .number(step.top1)), .init("top5", .number(step.top5)),
                .init("learning_rate", .number(step.learningRate)),
                .init("images_per_second", .rounded(step.imagesPerSecond)),
                .init("data_wait", .rounded(step.dataWait)),
                .init("loader_seconds", .rounded(step.loaderSeconds)),
                .init("seconds", .rounded(step.seconds)),
            ]))
        report(.step(step))
    }

    /// What there is to say of a step whose loss is not finite. The device has changed no weight since.
    private func divergence(step: Int, rate: Double) throws -> TrainingError {
        let own = try training.firstNotFinite(deviceBatches[step % deviceBatches.count], step: step)
        let place =
            try ranks.map { ranks in
                try ranks.gather(own ?? "").enumerated().first { !$0.element.isEmpty }.map {
                    "\($0.element) on rank \($0.offset)"
                }
            } ?? own
        return diverged(
            "step \(step + 1): the loss is not finite at learning rate \(String(format: "%.3g", rate)); "
                + (place.map { "the first that is not finite is \($0)" }
                    ?? "every layer's output is finite, so it is the gradient that is too large"))
    }

    /// The end of a run whose numbers are not finite any more, and what to try.
    func diverged(_ what: String) -> TrainingError {
        TrainingError(
            "\(what). Nothing of it was saved; the last good checkpoint is \(options.output)/checkpoints/step-\(state.step). Try a new run with a lower "
                + "--learning-rate (\(String(format: "%.2g", options.learningRate / 10))), a longer --warmup-epochs or --clip-norm 1"
                + (state.step > 0 ? ", perhaps from this checkpoint (--init)" : ""))
    }

    /// The end of a run after a signal, when its checkpoint is written.
    func interrupted(_ signal: Int32) -> TrainingInterrupted {
        TrainingInterrupted(signal: signal, step: state.step, run: options.output)
    }

    /// Lists photographs that could not be used.
    func noteBadFiles(_ errors: [ImageError]) throws {
        let lines = try badFiles.record(errors)
        unreported += lines
        for line in lines { report(.note("left out: \(line)")) }
    }

    /// Tells the first rank of the photographs that the others could not use.
    func gatherBadFiles() throws {
        guard let ranks else { return }
        let lines = try ranks.gather(unreported.joined(separator: "\n")).flatMap {
            $0.split(separator: "\n").map(String.init)
        }
        unreported = []
        if ranks.isFirst {
            for line in try badFiles.record(lines: lines) { report(.note("left out: \(line)")) }
        }
    }
}
