import Basics
import Collectives
import Configuration
import DeviceInput
import Foundation
import NeuralNet
import Photographs
import Runs

/// An epoch's steps.
extension Trainer {
    /// A step whose totals the host has not read yet.
    private struct PendingStep {
        let step: Int
        let learningRate: Double
        let waitSeconds: Double
        let loaderSeconds: Double
    }

    /// Runs the rest of an epoch's steps, and writes a checkpoint at the end.
    ///
    /// The host enqueues each step without waiting and reads its totals one step later, so that the device
    /// does not idle.
    func runSteps(of epoch: Int, loader: BatchLoader) throws -> StepTimes {
        var sum = StepTimes()
        var pending: [PendingStep] = []
        var lastReport = ContinuousClock.now
        func finishOldest() throws {
            guard let oldest = pending.first else { return }
            let totals = try machinery.training.takeTotals(of: oldest.step)
            pending.removeFirst()
            try workload.trace?.collect()
            let now = ContinuousClock.now
            let times = StepTimes(
                steps: 1, seconds: (now - lastReport).seconds, waitSeconds: oldest.waitSeconds,
                loaderSeconds: oldest.loaderSeconds)
            lastReport = now
            sum += times
            try finishStep(oldest, totals, epoch: epoch, times)
        }
        func finishAll() throws { while !pending.isEmpty { try finishOldest() } }
        let end = epoch * workload.stepsPerEpoch
        if state.step == end { return sum }
        for index in state.step..<end {
            let waitBefore = loader.waitSeconds
            let workBefore = loader.workerSeconds
            let waitBegan = Clock.seconds
            guard let host = try loader.next() else {
                preconditionFailure("the photographs ended at step \(index + 1) of epoch \(epoch)")
            }
            workload.trace?.add("step \(index + 1)", .data, start: waitBegan, end: Clock.seconds)
            try noteBadFiles(host.failures.map(\.error))
            let rate = learningRate.rate(step: index)
            try queue(host, step: index, rate: rate)
            try workload.device.flush()
            pending.append(
                PendingStep(
                    step: index, learningRate: rate, waitSeconds: loader.waitSeconds - waitBefore,
                    loaderSeconds: loader.workerSeconds - workBefore))
            if pending.count > 1 { try finishOldest() }
            let done = index + 1
            if let ranks, ranks.verifiesEachStep {
                try machinery.training.finishUpdate()
                try ranks.verifyWeights(network, step: done)
            }
            let isDue = options.checkpointEvery.map { done % $0 == 0 } ?? false
            // A step's totals carry a signal to all ranks, so that all stop after the same step.
            let stops = ranks == nil ? Interruption.reason != nil : machinery.training.isAskedToStop
            if done < end, isDue || stops {
                try finishAll()
                try writeCheckpoint(step: done)
                if stops { throw interrupted(try reasonOfAnyRank()) }
                // The next step's time does not include the checkpoint.
                lastReport = .now
            }
        }
        try finishAll()
        try writeCheckpoint(step: end)
        return sum
    }

    /// Uploads a mini-batch and enqueues its step.
    private func queue(_ host: HostBatch, step: Int, rate: Double) throws {
        machinery.training.asksToStop = Interruption.reason != nil
        try machinery.queue(
            host, step: step, stepsPerEpoch: workload.stepsPerEpoch, rate: rate, options: options,
            augmentation: augmentation)
    }

    /// Returns the pixels to decode of a photograph that will not be cached: those that its crop reads.
    func pixelNeed(firstStep: Int) -> @Sendable (Int, Int) -> PixelNeed? {
        let (index, stepsPerEpoch) = (machinery.cache.index, workload.stepsPerEpoch)
        let (augmentation, options) = (augmentation, options)
        return { batch, sample in
            guard index.isFull else { return nil }
            let key = options.augmentationKey(step: firstStep + batch, stepsPerEpoch: stepsPerEpoch)
            return { width, height in
                let parameters = AugmentationParameters.draw(
                    augmentation, width: width, height: height, size: options.imageSize, seed: options.seed,
                    epoch: key, sample: sample)
                return CropRecord(
                    parameters, byteOffset: 0, width: Int32(width),
                    height: Int32(height), size: options.imageSize
                ).pixelsRead(size: options.imageSize)
            }
        }
    }

    /// Reports a step whose totals have arrived.
    private func finishStep(
        _ pending: PendingStep, _ totals: SoftmaxCrossEntropy.Totals, epoch: Int, _ times: StepTimes
    ) throws {
        guard totals.loss.isFinite else {
            throw try divergence(step: pending.step, rate: pending.learningRate)
        }
        state.sums.add(totals)
        hasStepped = true
        let step = StepReport(
            options, epoch: epoch, step: pending.step + 1,
            totalSteps: workload.stepsPerEpoch * options.epochs,
            totals: totals, learningRate: pending.learningRate, times: times, seconds: secondsSinceStart)
        try report(.step(step))
    }

    /// Returns the error for a step whose loss is not finite; the device has changed no weight since.
    private func divergence(step: Int, rate: Double) throws -> TrainingError {
        let batch = machinery.batches[step % machinery.batches.count]
        let own = try machinery.training.firstNotFinite(batch, step: step)
        let place =
            try ranks.map { ranks in
                try ranks.gather(own ?? "").enumerated().first { !$0.element.isEmpty }.map {
                    "\($0.element) on rank \($0.offset)"
                }
            } ?? own
        return diverged(
            "step \(step + 1): the loss is not finite at learning rate \(String(format: "%.3g", rate)); "
                + (place.map { "the first that is not finite is \($0)" }
                    ?? "every layer's output is finite, so the gradient is too large"))
    }

    /// Returns the error for numbers that are not finite.
    func diverged(_ what: String) -> TrainingError {
        TrainingError(
            "\(what). This was not saved; the last good checkpoint is "
                + "\(options.output)/checkpoints/step-\(state.step)",
            kind: .diverged(learningRate: learningRate.peak, hasLearnt: state.step > 0))
    }

    /// Returns why the run stops; all ranks call it.
    private func reasonOfAnyRank() throws -> StopReason {
        let own = Interruption.reason?.code ?? 0
        let codes = try ranks?.gather([own]).compactMap(\.first) ?? [own]
        return StopReason(code: codes.first { $0 != 0 } ?? SIGTERM)
    }

    /// Returns the error that ends a run which was asked to stop, once its checkpoint is written.
    func interrupted(_ reason: StopReason) -> TrainingInterrupted {
        TrainingInterrupted(reason: reason, step: state.step, run: options.output)
    }

    /// Lists photographs that cannot be used.
    func noteBadFiles(_ errors: [ImageError]) throws {
        let lines = try output.badFiles.record(errors)
        unreported += lines
        for line in lines { try report(.leftOut(line)) }
    }

    /// Lists on the first rank the photographs that the other ranks cannot use.
    func gatherBadFiles() throws {
        guard let ranks else { return }
        let lines = try ranks.gather(unreported.joined(separator: "\n")).flatMap {
            $0.split(separator: "\n").map(String.init)
        }
        unreported = []
        if ranks.isFirst {
            for line in try output.badFiles.record(lines: lines) { try report(.leftOut(line)) }
        }
    }
}
