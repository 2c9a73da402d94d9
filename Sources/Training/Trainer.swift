import Compute
import Evaluation
import Foundation
import ImageData
import ModelFiles
import NeuralNet
import Synchronization

/// What a run tells while it goes on.
public enum TrainingEvent: Sendable {
    /// One line about the set, the network or the device.
    case note(String)
    case step(StepReport)
    case validation(done: Int, of: Int)
    case epoch(EpochReport)
}

/// One finished step.
public struct StepReport: Sendable {
    public let epoch: Int
    public let epochs: Int
    public let step: Int
    public let totalSteps: Int
    /// Means over the mini-batch.
    public let loss: Double
    public let top1: Double
    public let top5: Double
    public let learningRate: Double
    public let imagesPerSecond: Double
    /// Share of the step's time spent waiting for photographs.
    public let dataWait: Double
    /// CPU seconds that the loader's threads have taken for the step.
    public let loaderSeconds: Double
    /// Since the run's start.
    public let seconds: Double
}

/// One finished epoch.
public struct EpochReport: Sendable {
    public let epoch: Int
    public let step: Int
    public let validation: EvaluationResult
    public let isBest: Bool
    /// Over the epoch's steps, validation left out.
    public let imagesPerSecond: Double
    public let dataWait: Double
    public let loaderSecondsPerStep: Double
    public let seconds: Double
}

/// A run of training: from a folder of photographs to checkpoints.
public final class Trainer {
    private let options: TrainingOptions
    private let device: Device
    private let dataset: Dataset
    private let folder: RunFolder
    private let metrics: JSONLinesFile
    private let start: ContinuousClock.Instant
    private let report: (TrainingEvent) -> Void

    private let network: Network
    private let training: TrainingStep
    private let evaluator: Evaluator
    private let deviceBatches: [DeviceBatch]
    private var description: ModelDescription
    private var learningRate: LearningRate
    private let stepsPerEpoch: Int
    private var best: (top1: Double, loss: Double)?

    /// Reads the set, opens the device and builds the network; nothing is written before all of this has worked.
    ///
    /// - Parameters:
    ///   - version: of the program, for the log
    ///   - report: called on the caller's thread
    public init(_ options: TrainingOptions, version: String, report: @escaping (TrainingEvent) -> Void) throws {
        start = .now
        try options.validate()
        self.options = options
        self.report = report
        device = try Device.open(DeviceSelector(parsing: options.device))
        dataset = try Dataset.load(root: options.data, validationFraction: options.validationFraction)
        let classes = dataset.classes.count
        if dataset.ignoredFileCount > 0 {
            report(.note("\(dataset.ignoredFileCount) files are not .jpg or .jpeg and were left alone"))
        }
        let plan = try EpochPlan(
            count: dataset.training.count, batchSize: options.batch, shards: options.shards, seed: options.seed, epoch: 1)
        stepsPerEpoch = plan.batchCount

        let architecture = try Architecture(parsing: options.model)
        network = try Network(
            architecture, imageSize: options.imageSize, classes: classes,
            options: Network.Options(
                maximumBatch: options.batch / options.shards, training: true, dropout: options.dropout, convolution: options.convolution),
            device: device)
        try network.initialize(seed: options.seed)

        let shortSide = options.shortSide ?? Trainer.defaultShortSide(dataset.training, imageSize: options.imageSize)
        let statistics = dataset.training.statisticsSample().channelStatistics(shortSide: shortSide, workers: options.workers)
        let normalization = Normalization(mean: statistics.mean.map { Float($0) }, deviation: statistics.deviation.map { Float($0) })
        description = ModelDescription(
            architecture: architecture, classes: dataset.classes, imageSize: options.imageSize, shortSide: shortSide,
            normalization: normalization, seed: options.seed)
        training = try TrainingStep(
            network: network, normalization: normalization, batch: options.batch, shards: options.shards, momentum: Float(options.momentum),
            weightDecay: Float(options.weightDecay), seed: options.seed)
        evaluator = try Evaluator(network: network, normalization: normalization, shortSide: shortSide)
        let device = device
        deviceBatches = try (0..<2).map { _ in try DeviceBatch(device: device, capacity: options.batch) }
        learningRate = LearningRate(
            schedule: options.schedule, peak: options.learningRate,
            warmupSteps: Int((options.warmupEpochs * Double(plan.batchCount)).rounded()),
            totalSteps: plan.batchCount * options.epochs)

        folder = try RunFolder.create(options.output)
        try folder.writeConfiguration(options)
        metrics = try JSONLinesFile(folder.metricsPath)
        try logStart(version: version)
        report(
            .note(
                "\(dataset.training.count) training and \(dataset.validation.count) validation images of \(classes) classes, "
                    + "short side \(shortSide), crops of \(options.imageSize)"))
        report(.note("\(architecture), \(network.parameters.reduce(0) { $0 + $1.count }) parameters, on \(device.description.name)"))
    }

    /// 8/7 of the crop, as 256 is to 224; but photographs that have the crop's size already are left as they are, and padded instead.
    private static func defaultShortSide(_ set: ImageSet, imageSize: Int) -> Int {
        let sample = set.statisticsSample(limit: 16)
        let sides = (0..<sample.count).compactMap { index -> Int? in
            guard let bytes = FileManager.default.contents(atPath: sample.absolutePath(index)),
                let image = try? decodeJPEG(Array(bytes), shortSide: nil)
            else { return nil }
            return min(image.width, image.height)
        }
        return !sides.isEmpty && sides.allSatisfy { $0 == imageSize } ? imageSize : (imageSize * 8 + 3) / 7
    }

    private var secondsSinceStart: Double { (ContinuousClock.now - start).seconds }

    private func logStart(version: String) throws {
        let information = device.description
        try metrics.append([
            .init("event", .string("start")), .init("version", .string(version)), .init("device", .string(information.name)),
            .init("driver", .string("\(information.platform) \(information.driver)")), .init("seed", .integer(Int(clamping: options.seed))),
            .init("data", .string(options.data)), .init("model", .string(description.architecture.description)),
            .init("classes", .integer(dataset.classes.count)), .init("training_images", .integer(dataset.training.count)),
            .init("validation_images", .integer(dataset.validation.count)), .init("image_size", .integer(description.imageSize)),
            .init("short_side", .integer(description.shortSide)), .init("batch", .integer(options.batch)),
            .init("shards", .integer(options.shards)), .init("epochs", .integer(options.epochs)),
            .init("learning_rate", .number(options.learningRate)), .init("schedule", .string(options.schedule.rawValue)),
            .init("warmup_epochs", .number(options.warmupEpochs)), .init("momentum", .number(options.momentum)),
            .init("weight_decay", .number(options.weightDecay)), .init("dropout", .number(options.dropout)),
            .init("augment", .string(options.augmentation.rawValue)), .init("workers", .integer(options.workers)),
        ])
    }

    /// Trains to the end, validating and writing a checkpoint after each epoch.
    ///
    /// - Returns: the last epoch's report.
    @discardableResult
    public func run() throws -> EpochReport? {
        let plans = PlanSequence(
            count: dataset.training.count, batchSize: options.batch, shards: options.shards, seed: options.seed,
            stepsPerEpoch: stepsPerEpoch,
            epochs: options.epochs)
        let loader = BatchLoader(set: dataset.training, shortSide: description.shortSide, workers: options.workers) { plans.batch($0) }
        defer { loader.stop() }
        var last: EpochReport?
        for epoch in 1...options.epochs {
            let steps = try runEpoch(epoch, loader: loader)
            last = try finishEpoch(epoch, steps)
        }
        return last
    }

    // MARK: - Steps

    /// A step whose totals the host has not read yet.
    private struct PendingStep {
        let step: Int
        let totals: UnsafeMutableRawBufferPointer
        let event: Event
        let learningRate: Double
        let waitSeconds: Double
        let loaderSeconds: Double
    }

    /// Sums over an epoch's steps.
    private struct EpochSums {
        var seconds = 0.0
        var waitSeconds = 0.0
        var loaderSeconds = 0.0
        var steps = 0
    }

    /// Queues each step and reads its totals one step late, so that the device never waits for the host.
    private func runEpoch(_ epoch: Int, loader: BatchLoader) throws -> EpochSums {
        var sums = EpochSums()
        var pending: [PendingStep] = []
        defer { for step in pending { step.totals.deallocate() } }
        var lastReport = ContinuousClock.now
        func finishOldest() throws {
            let oldest = pending.removeFirst()
            defer { oldest.totals.deallocate() }
            try oldest.event.wait()
            let now = ContinuousClock.now
            let seconds = (now - lastReport).seconds
            lastReport = now
            sums.seconds += seconds
            try finishStep(oldest, epoch: epoch, seconds: seconds)
        }
        for index in (epoch - 1) * stepsPerEpoch..<epoch * stepsPerEpoch {
            let waitBefore = loader.waitSeconds
            let workBefore = loader.workerSeconds
            guard let host = try loader.next() else {
                throw TrainingError("the photographs ended at step \(index + 1) of epoch \(epoch): a mistake in the program")
            }
            let rate = learningRate.rate(step: index)
            try queue(host, step: index, epoch: epoch, rate: rate)
            let totals = UnsafeMutableRawBufferPointer.allocate(byteCount: 16, alignment: 16)
            let event = try training.loss.readTotals(step: index, into: totals)
            try device.flush()
            let wait = loader.waitSeconds - waitBefore
            let work = loader.workerSeconds - workBefore
            sums.waitSeconds += wait
            sums.loaderSeconds += work
            sums.steps += 1
            pending.append(
                PendingStep(step: index, totals: totals, event: event, learningRate: rate, waitSeconds: wait, loaderSeconds: work))
            if pending.count > 1 { try finishOldest() }
        }
        while !pending.isEmpty { try finishOldest() }
        return sums
    }

    private func queue(_ host: HostBatch, step: Int, epoch: Int, rate: Double) throws {
        let batch = deviceBatches[step % deviceBatches.count]
        var slot = 0
        try batch.upload(host) { record in
            defer { slot += 1 }
            return CropParameters.draw(
                options.augmentation, width: Int(record.width), height: Int(record.height), size: options.imageSize, seed: options.seed,
                epoch: epoch, sample: host.samples[slot])
        }
        try training.run(batch, step: step, learningRate: Float(rate))
    }

    private func finishStep(_ pending: PendingStep, epoch: Int, seconds: Double) throws {
        let totals = pending.totals.load(as: SoftmaxCrossEntropy.Totals.self)
        let weight = Double(max(totals.weight, 1))
        let step = StepReport(
            epoch: epoch, epochs: options.epochs, step: pending.step + 1, totalSteps: stepsPerEpoch * options.epochs,
            loss: Double(totals.loss) / weight, top1: Double(totals.top1) / weight, top5: Double(totals.top5) / weight,
            learningRate: pending.learningRate, imagesPerSecond: Double(options.batch) / seconds, dataWait: pending.waitSeconds / seconds,
            loaderSeconds: pending.loaderSeconds, seconds: secondsSinceStart)
        try metrics.append(
            [
                .init("event", .string("train")), .init("epoch", .integer(epoch)), .init("step", .integer(step.step)),
                .init("loss", .number(step.loss)), .init("top1", .number(step.top1)), .init("top5", .number(step.top5)),
                .init("learning_rate", .number(step.learningRate)), .init("images_per_second", .rounded(step.imagesPerSecond)),
                .init("data_wait", .rounded(step.dataWait)), .init("loader_seconds", .rounded(step.loaderSeconds)),
                .init("seconds", .rounded(step.seconds)),
            ])
        report(.step(step))
    }

    // MARK: - Epochs

    private func finishEpoch(_ epoch: Int, _ sums: EpochSums) throws -> EpochReport {
        let step = epoch * stepsPerEpoch
        let total = dataset.validation.count
        let began = ContinuousClock.now
        let result = try evaluator.evaluate(dataset.validation, workers: options.workers) { report(.validation(done: $0, of: total)) }
        try metrics.append([
            .init("event", .string("validate")), .init("epoch", .integer(epoch)), .init("step", .integer(step)),
            .init("loss", .number(result.loss)), .init("top1", .number(result.top1)), .init("top5", .number(result.top5)),
            .init("seconds", .rounded((ContinuousClock.now - began).seconds)),
        ])
        learningRate.observe(validationLoss: result.loss)

        description.epoch = epoch
        description.step = step
        try folder.writeCheckpoint(step: step) { path in
            try Checkpoint.write(network, description, to: path + "/model.safetensors")
        }
        try folder.link("last", step: step)
        let isBest = best.map { (result.top1, -result.loss) > ($0.top1, -$0.loss) } ?? true
        if isBest {
            best = (result.top1, result.loss)
            try folder.link("best", step: step)
        }
        let finished = EpochReport(
            epoch: epoch, step: step, validation: result, isBest: isBest,
            imagesPerSecond: Double(sums.steps * options.batch) / sums.seconds, dataWait: sums.waitSeconds / sums.seconds,
            loaderSecondsPerStep: sums.loaderSeconds / Double(max(1, sums.steps)), seconds: secondsSinceStart)
        report(.epoch(finished))
        return finished
    }
}

/// The mini-batches of all epochs, one after the other: the loader asks for them ahead, so that no epoch begins with an empty queue.
private final class PlanSequence: Sendable {
    private let count: Int
    private let batchSize: Int
    private let shards: Int
    private let seed: UInt64
    private let stepsPerEpoch: Int
    private let epochs: Int
    private let current = Mutex<(epoch: Int, plan: EpochPlan)?>(nil)

    init(count: Int, batchSize: Int, shards: Int, seed: UInt64, stepsPerEpoch: Int, epochs: Int) {
        self.count = count
        self.batchSize = batchSize
        self.shards = shards
        self.seed = seed
        self.stepsPerEpoch = stepsPerEpoch
        self.epochs = epochs
    }

    /// The positions of the mini-batch of step `step`, counted from 0 over all epochs.
    func batch(_ step: Int) -> [Int]? {
        let epoch = step / stepsPerEpoch + 1
        guard epoch <= epochs else { return nil }
        return current.withLock { current in
            if current?.epoch != epoch {
                current =
                    (try? EpochPlan(count: count, batchSize: batchSize, shards: shards, seed: seed, epoch: epoch)).map { (epoch, $0) }
            }
            return current?.plan.batch(step % stepsPerEpoch)
        }
    }
}

extension Duration {
    var seconds: Double {
        Double(components.seconds) + Double(components.attoseconds) * 1e-18
    }
}

extension JSON {
    /// Four significant digits: what a clock has measured is not known better.
    static func rounded(_ value: Double) -> JSON {
        guard value.isFinite, value != 0 else { return .number(value) }
        let unit = pow(10, 3 - floor(log10(abs(value))))
        return .number((value * unit).rounded() / unit)
    }
}
