import Configuration
import DeviceInput
import Basics
import Runs
import Collectives
import Compute
import Evaluation
import Foundation
import Photographs
import Models
import NeuralNet

/// A run of training: from a folder of photographs to checkpoints.
public final class Trainer {
    let options: TrainingOptions
    let device: Device
    let dataset: Dataset
    /// This run's ranks; nil where this process trains alone.
    let ranks: Ranks?
    let exchange: GradientExchange?
    let trace: Trace?
    let tracePath: String?
    let clockOffset: Double
    /// The micro-batches whose images this rank runs.
    let span: MicroBatchSpan
    /// Both nil on all ranks but the first.
    let folder: RunFolder?
    let metrics: JSONLinesFile?
    let badFiles: BadFiles
    let report: (TrainingEvent) -> Void
    let start: ContinuousClock.Instant
    let secondsBefore: Double

    let network: Network
    let training: TrainingStep
    let augmentation: Augmentation
    let cache: ImageCache
    let evaluator: Evaluator
    let deviceBatches: [DeviceBatch]
    let stepsPerEpoch: Int
    var description: ModelDescription
    var learningRate: LearningRate
    var state: TrainingState
    /// Bad files that the first rank has not heard of.
    var unreported: [String] = []
    var exchangeBefore = (underWay: 0.0, exposed: 0.0)

    /// Top-1 on the validation photographs after the epoch that has done best, a fraction of 1.
    public var bestTop1: Double? { state.best?.top1 }

    /// The options of the run that a checkpoint's folder is of.
    public static func options(ofCheckpoint folder: String) throws -> TrainingOptions {
        try TrainingState.read(folder).options
    }

    /// The options of a run that was begun before.
    ///
    /// - Throws: `TrainingError` where there is none, or nothing to go on from.
    public static func options(ofRun run: String) throws -> TrainingOptions {
        var options = try TrainingState.read(RunFolder.newestCheckpoint(run)).options
        options.output = run
        return options
    }

    /// Begins a run, or goes on with the one in `options.output`. Nothing is written before the set, the
    /// device and the network are found good.
    ///
    /// - Parameters:
    ///   - resuming: go on from the run's newest checkpoint, with the options that it has; some, such as
    ///     `workers`, may differ
    ///   - version: of the program
    ///   - ranks: the processes that train together, each with a trainer of its own and the same options;
    ///     nil: this one alone
    ///   - trace: a file for what the time is spent on
    ///   - report: called on the caller's thread; on the first rank alone
    /// - Throws: a sentence for a person.
    public init(
        _ options: TrainingOptions, resuming: Bool = false, version: String, ranks: Ranks? = nil,
        trace tracePath: String? = nil, report: @escaping (TrainingEvent) -> Void
    ) throws {
        start = .now
        try options.validate()
        self.options = options
        let isFirst = ranks?.isFirst ?? true
        let report = isFirst ? report : { _ in }
        self.report = report
        self.ranks = ranks
        self.tracePath = tracePath
        try ranks?.requireSame([
            ("the program's version", version), ("--resume", resuming ? "given" : "not given"),
            ("--verify-ranks", ranks?.verifiesEachStep == true ? "given" : "not given"),
            ("--trace", tracePath == nil ? "not given" : "given"),
        ])
        let opened = resuming && isFirst ? try RunFolder.open(options.output) : nil
        let newest = { try resuming ? RunFolder.newestCheckpoint(options.output) : "" }
        let chosen = try ranks?.fromFirst(newest()) ?? newest()
        let checkpoint = chosen.isEmpty ? nil : chosen
        let saved = try checkpoint.map { try TrainingState.read($0) }
        try saved?.requireSameOptions(options)

        let trace = tracePath.map { _ in Trace() }
        self.trace = trace
        let topology = try ranks.map { ranks in
            try Topology(
                microBatches: options.microBatches, nodes: ranks.communicator.nodes,
                nodeSize: options.nodeSize,
                transport: options.transport.kind)
        }
        let span =
            ranks.flatMap { topology?.spans[$0.rank] }
            ?? MicroBatchSpan(first: 0, count: options.microBatches)
        self.span = span
        device = try Device.open(
            DeviceSelector(parsing: options.device), profiling: trace != nil,
            memory: options.deviceMemory?.bytes, place: ranks?.place ?? (0, 1))
        clockOffset = trace == nil ? 0 : try device.clockOffset()
        augmentation = options.augmentation.scaled(by: options.augmentStrength)
        dataset = try Dataset.load(root: options.data, validationFraction: options.validationFraction)
        try ranks?.requireSame(
            [("the program's version", version)]
                + TrainingOption.all.filter { !TrainingState.ownOfRank.contains($0.name) }.map {
                    ("--\($0.name)", $0.text(options) ?? "left open")
                } + [
                    ("the list of classes", dataset.classes.joined(separator: ", ")),
                    ("the photographs' fingerprint (names, classes, a sample of sizes)", dataset.fingerprint),
                ])
        if dataset.ignoredFileCount > 0 {
            report(.note("\(dataset.ignoredFileCount) files are not .jpg or .jpeg and were left alone"))
        }
        stepsPerEpoch = try EpochPlan(
            count: dataset.training.count, batchSize: options.batch, microBatches: options.microBatches,
            seed: options.seed, epoch: 1
        ).batchCount
        let localBatch = options.batch / options.microBatches * span.count
        try TrainingMemory(
            options, classes: dataset.classes.count, microBatches: span.count, exchanges: ranks != nil,
            device: device.description
        ).requireFit(batch: localBatch)
        network = try Network(
            Architecture(parsing: options.model), imageSize: options.imageSize,
            classes: dataset.classes.count,
            options: Network.Options(
                maximumBatch: options.batch / options.microBatches, training: true, dropout: options.dropout,
                convolution: options.convolution.algorithms, freezesFeatures: options.freeze == .features),
            device: device)
        var fresh = TrainingState(
            version: version, options: options, device: device, dataset: dataset, network: network)
        if let ranks {
            fresh.device = Set(try ranks.gather(fresh.device)).sorted().joined(separator: " and ")
        }
        try saved?.requireSame(as: fresh)
        if let checkpoint { try saved?.requirePossible(stepsPerEpoch: stepsPerEpoch, checkpoint: checkpoint) }
        state = saved ?? fresh
        state.options = options
        secondsBefore = state.seconds

        var unreadable: [ImageError] = []
        if let checkpoint {
            let model = try Checkpoint(checkpoint + "/model.safetensors")
            try model.load(into: network)
            description = model.description
        } else {
            (description, unreadable) = try Trainer.begin(
                options, dataset: dataset, network: network, ranks: ranks, report: report)
        }
        let connection = try Trainer.openExchange(
            options, topology, ranks: ranks, network: network, device: device, trace: trace, report: report)
        exchange = connection?.exchange
        training = try TrainingStep(
            network: network, normalization: description.normalization, batch: options.batch,
            microBatches: options.microBatches, momentum: Float(options.momentum),
            weightDecay: Float(options.weightDecay), clipNorm: options.clipNorm.map { Float($0) },
            seed: options.seed, exchange: exchange, policy: options.exchange)
        if let checkpoint { try TrainingState.readVelocities(training.optimizer, checkpoint) }
        evaluator = try Evaluator(
            network: network, normalization: description.normalization, shortSide: description.shortSide)
        deviceBatches = try (0..<2).map { [device] _ in try DeviceBatch(device: device, capacity: localBatch)
        }
        cache = ImageCache(
            device: device, capacity: options.cache.capacity(on: device), count: dataset.training.count)
        learningRate = LearningRate(
            schedule: options.schedule, peak: options.learningRate,
            warmupSteps: Int((options.warmupEpochs * Double(stepsPerEpoch)).rounded()),
            totalSteps: stepsPerEpoch * options.epochs)
        learningRate.plateau = state.plateau

        folder = isFirst ? try opened ?? RunFolder.create(options.output) : nil
        badFiles = BadFiles(
            limit: options.maximumBad, fileCount: dataset.training.count + dataset.validation.count,
            path: folder?.badFilesPath)
        if resuming, let folder {
            try JSONLinesFile.truncate(folder.metricsPath, toSize: state.metricsByteCount)
        }
        metrics = try folder.map { try JSONLinesFile($0.metricsPath) }
        reportBeginning(topology: connection?.topology)
        try ranks?.verifyWeights(network, step: state.step)
        if resuming {
            // A kill may have come between a checkpoint and its links.
            try folder?.link("last", step: state.step)
            if let best = state.best { try folder?.link("best", step: best.step) }
            report(.resumed(step: state.step, seconds: state.seconds))
        } else {
            try folder?.writeConfiguration(options)
            try noteBadFiles(unreadable)
            try logStart(version: version)
            // Whenever the process ends from here on, there is something to resume; and a full disk shows
            // now, not in the night.
            try writeCheckpoint(step: 0)
        }
    }

    /// Trains to the end: a checkpoint now and then, and after each epoch, which is then validated.
    ///
    /// - Returns: the last epoch's report; nil where all epochs were done before.
    /// - Throws: `TrainingInterrupted` after SIGINT or SIGTERM; `TrainingError` where the loss is not finite
    ///   or too many photographs are bad; errors of files and of the device.
    @discardableResult public func run() throws -> EpochReport? {
        Interruption.install()
        let plans = PlanSequence(
            count: dataset.training.count, batchSize: options.batch, microBatches: options.microBatches,
            seed: options.seed, stepsPerEpoch: stepsPerEpoch, epochs: options.epochs,
            span: span.first..<(span.first + span.count))
        let first = state.step
        let loader = BatchLoader(
            set: dataset.training, shortSide: description.shortSide, workers: options.workers,
            isCached: { [index = cache.index] in index.contains($0) }, need: pixelNeed(firstStep: first)
        ) { plans.batch(first + $0) }
        defer { loader.stop() }
        var last: EpochReport?
        do {
            while state.validatedEpochs < options.epochs {
                let epoch = state.validatedEpochs + 1
                let sums = try runSteps(of: epoch, loader: loader)
                if last == nil { reportCache() }
                last = try validate(epoch, sums)
            }
            try writeTrace()
        } catch let stop as TrainingInterrupted {
            try writeTrace()
            throw stop
        } catch let error as FileError {
            report(
                .note(
                    "the last whole checkpoint is \(options.output)/checkpoints/step-\(state.step); go on with: trainer --resume \(options.output)"
                ))
            throw error
        }
        return last
    }

    /// Writes what the time of all ranks was spent on, where that was asked for.
    private func writeTrace() throws {
        guard let trace, let tracePath else { return }
        try device.finish()
        if let profile = device.profile { trace.add(try profile.takeEnded(), offset: clockOffset) }
        let events = trace.events(rank: ranks?.rank ?? 0)
        var all = [events]
        // One rank after the other: the others' events are kept by the first alone.
        if let ranks {
            for rank in 1..<ranks.count {
                let part = try ranks.communicator.gather(ranks.rank == rank ? events : [])[rank]
                if ranks.isFirst { all.append(part) }
            }
        }
        if ranks?.isFirst ?? true {
            try Trace.write(tracePath, all)
            report(.note("trace: \(tracePath) (open it in https://ui.perfetto.dev)"))
        }
    }
}
