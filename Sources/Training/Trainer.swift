import Collectives
import Compute
import Evaluation
import Foundation
import ImageData
import ModelFiles
import NeuralNet

/// A run of training: from a folder of photographs to checkpoints.
public final class Trainer {
    private let options: TrainingOptions
    private let device: Device
    private let dataset: Dataset
    /// This run's ranks; nil where this process trains alone.
    private let ranks: Ranks?
    private let exchange: GradientExchange?
    private let trace: Trace?
    private let tracePath: String?
    private let clockOffset: Double
    /// The shards whose images this rank runs.
    private let span: ShardSpan
    /// Both nil on all ranks but the first.
    private let folder: RunFolder?
    private let metrics: JSONLinesFile?
    private let badFiles: BadFiles
    private let report: (TrainingEvent) -> Void
    private let start: ContinuousClock.Instant
    private let secondsBefore: Double

    private let network: Network
    private let training: TrainingStep
    private let augmentation: Augmentation
    private let cache: ImageCache
    private let evaluator: Evaluator
    private let deviceBatches: [DeviceBatch]
    private let stepsPerEpoch: Int
    private var description: ModelDescription
    private var learningRate: LearningRate
    private var state: TrainingState
    /// Bad files that the first rank has not heard of.
    private var unreported: [String] = []
    private var exchangeBefore = (underWay: 0.0, exposed: 0.0)

    /// The options of the run that a checkpoint's folder is of.
    public static func options(ofCheckpoint folder: String) throws -> TrainingOptions { try TrainingState.read(folder).options }

    /// The options of a run that was begun before.
    ///
    /// - Throws: `TrainingError` where there is none, or nothing to go on from.
    public static func options(ofRun run: String) throws -> TrainingOptions {
        var options = try TrainingState.read(RunFolder.newestCheckpoint(run)).options
        options.output = run
        return options
    }

    /// Begins a run, or goes on with the one in `options.output`. Nothing is written before the set, the device and the network are found good.
    ///
    /// - Parameters:
    ///   - resuming: go on from the run's newest checkpoint, with the options that it has; some, such as `workers`, may differ
    ///   - version: of the program
    ///   - ranks: the processes that train together, each with a trainer of its own and the same options; nil: this one alone
    ///   - trace: a file for what the time is spent on
    ///   - report: called on the caller's thread; on the first rank alone
    /// - Throws: a sentence for a person.
    public init(
        _ options: TrainingOptions, resuming: Bool = false, version: String, ranks: Ranks? = nil, trace tracePath: String? = nil,
        report: @escaping (TrainingEvent) -> Void
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
                shards: options.shards, nodes: ranks.communicator.nodes, nodeSize: options.nodeSize, transport: options.transport.kind)
        }
        let span = ranks.flatMap { topology?.spans[$0.rank] } ?? ShardSpan(first: 0, count: options.shards)
        self.span = span
        device = try Device.open(
            DeviceSelector(parsing: options.device), profiling: trace != nil, memory: options.deviceMemory?.bytes,
            place: ranks?.place ?? (0, 1))
        clockOffset = trace == nil ? 0 : try device.clockOffset()
        augmentation = options.augmentation.scaled(by: options.augmentStrength)
        dataset = try Dataset.load(root: options.data, validationFraction: options.validationFraction)
        try ranks?.requireSame(
            [("the program's version", version)]
                + TrainingOption.all.filter { !TrainingState.ownOfRank.contains($0.name) }.map {
                    ("--\($0.name)", $0.text(options) ?? "left open")
                }
                + [
                    ("the list of classes", dataset.classes.joined(separator: ", ")),
                    ("the photographs' fingerprint (names, classes, sizes)", dataset.fingerprint),
                ])
        if dataset.ignoredFileCount > 0 {
            report(.note("\(dataset.ignoredFileCount) files are not .jpg or .jpeg and were left alone"))
        }
        stepsPerEpoch = try EpochPlan(
            count: dataset.training.count, batchSize: options.batch, shards: options.shards, seed: options.seed, epoch: 1
        ).batchCount
        let localBatch = options.batch / options.shards * span.count
        try TrainingMemory(options, classes: dataset.classes.count, shards: span.count, exchanges: ranks != nil, device: device.description)
            .requireFit(
                batch: localBatch)
        network = try Network(
            Architecture(parsing: options.model), imageSize: options.imageSize, classes: dataset.classes.count,
            options: Network.Options(
                maximumBatch: options.batch / options.shards, training: true, dropout: options.dropout,
                convolution: options.convolution.algorithms,
                freezesFeatures: options.freeze == .features),
            device: device)
        var fresh = TrainingState(version: version, options: options, device: device, dataset: dataset, network: network)
        if let ranks { fresh.device = Set(try ranks.gather(fresh.device)).sorted().joined(separator: " and ") }
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
            (description, unreadable) = try Trainer.begin(options, dataset: dataset, network: network, ranks: ranks, report: report)
        }
        let (network, device) = (network, device)
        var usedTopology = topology
        exchange = try ranks.flatMap { ranks in
            try topology.map { topology in
                func open(_ topology: Topology) throws -> GradientExchange {
                    try GradientExchange(
                        network.trainedParameters, device: device, communicator: ranks.communicator, topology: topology, trace: trace)
                }
                do {
                    return try open(topology)
                } catch let error as WindowsUnavailable where options.transport == .auto {
                    report(.note("\(error.description.prefix { $0 != ";" }): messages take their place"))
                    let other = try Topology(
                        shards: options.shards, nodes: ranks.communicator.nodes, nodeSize: options.nodeSize, transport: .sendrecv)
                    usedTopology = other
                    return try open(other)
                }
            }
        }
        training = try TrainingStep(
            network: network, normalization: description.normalization, batch: options.batch, shards: options.shards,
            momentum: Float(options.momentum), weightDecay: Float(options.weightDecay), clipNorm: options.clipNorm.map { Float($0) },
            seed: options.seed, exchange: exchange, policy: options.exchange)
        if let checkpoint { try TrainingState.readVelocities(training.optimizer, checkpoint) }
        evaluator = try Evaluator(network: network, normalization: description.normalization, shortSide: description.shortSide)
        deviceBatches = try (0..<2).map { _ in try DeviceBatch(device: device, capacity: localBatch) }
        cache = ImageCache(device: device, capacity: options.cache.capacity(on: device), count: dataset.training.count)
        learningRate = LearningRate(
            schedule: options.schedule, peak: options.learningRate,
            warmupSteps: Int((options.warmupEpochs * Double(stepsPerEpoch)).rounded()),
            totalSteps: stepsPerEpoch * options.epochs)
        learningRate.plateau = state.plateau

        folder = isFirst ? try opened ?? RunFolder.create(options.output) : nil
        badFiles = BadFiles(
            limit: options.maximumBad, fileCount: dataset.training.count + dataset.validation.count, path: folder?.badFilesPath)
        if resuming, let folder { try JSONLinesFile.truncate(folder.metricsPath, toSize: state.metricsByteCount) }
        metrics = try folder.map { try JSONLinesFile($0.metricsPath) }
        report(
            .note(
                "\(dataset.training.count) training and \(dataset.validation.count) validation images of \(dataset.classes.count) classes, "
                    + "short side \(description.shortSide), crops of \(options.imageSize)"))
        report(
            .note(
                "\(network.architecture), \(network.parameters.reduce(0) { $0 + $1.count }) parameters, on \(device.description.name)"))
        if let ranks, let topology = usedTopology, let exchange {
            let cores = Ranks.usableCores
            if device.description.kind == .cpu, cores < device.description.computeUnits {
                report(
                    .note(
                        "this rank may use \(cores) of the \(device.description.computeUnits) cores that are its share: start with mpirun --bind-to none"
                    ))
            }
            report(
                .note(
                    "\(topology.description), \(options.shards) shards, \(exchange.description), "
                        + (options.clipNorm == nil
                            ? options.exchange.rawValue : "synchronous: --clip-norm needs all gradients before the first update")))
            try ranks.verifyWeights(network, step: state.step)
        }
        if resuming {
            // A kill may have come between a checkpoint and its links.
            try folder?.link("last", step: state.step)
            if let best = state.best { try folder?.link("best", step: best.step) }
            report(.resumed(step: state.step, seconds: state.seconds))
        } else {
            try folder?.writeConfiguration(options)
            try noteBadFiles(unreadable)
            try logStart(version: version)
            // Whenever the process ends from here on, there is something to resume; and a full disk shows now, not in the night.
            try writeCheckpoint(step: 0)
        }
    }

    /// The weights of a new run, and its model's description with the normalisation: another model's, or the statistics of the photographs.
    private static func begin(
        _ options: TrainingOptions, dataset: Dataset, network: Network, ranks: Ranks?, report: (TrainingEvent) -> Void
    ) throws -> (ModelDescription, unreadable: [ImageError]) {
        try network.initialize(seed: options.seed)
        // What is measured of the photographs the first rank measures for all.
        let isFirst = ranks?.isFirst ?? true
        let ownShortSide = options.shortSide ?? (isFirst ? defaultShortSide(dataset.training, imageSize: options.imageSize) : 0)
        var description = ModelDescription(
            architecture: network.architecture, classes: dataset.classes, imageSize: options.imageSize,
            shortSide: try ranks?.gather([ownShortSide])[0][0] ?? ownShortSide,
            normalization: Normalization(mean: [0, 0, 0], deviation: [1, 1, 1]), seed: options.seed)
        if let path = options.initialModel {
            let initial = try InitialModel(path)
            report(.note(try initial.load(into: network, classes: dataset.classes, freezesFeatures: options.freeze == .features)))
            description.normalization = initial.checkpoint.description.normalization
            return (description, [])
        }
        let statistics =
            isFirst
            ? dataset.training.statisticsSample().channelStatistics(shortSide: description.shortSide, workers: options.workers) : nil
        let own = ((statistics?.mean ?? []) + (statistics?.deviation ?? [])).map { Float($0) }
        let values = try ranks?.gather(own)[0] ?? own
        description.normalization = Normalization(mean: Array(values.prefix(3)), deviation: Array(values.suffix(3)))
        return (description, statistics?.failures ?? [])
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
        return !sides.isEmpty && sides.allSatisfy { $0 == imageSize } ? imageSize : ModelDescription.usualShortSide(imageSize: imageSize)
    }

    private var secondsSinceStart: Double { secondsBefore + (ContinuousClock.now - start).seconds }

    private func logStart(version: String) throws {
        let information = device.description
        try metrics?.append(
            [
                .init("event", .string("start")), .init("version", .string(version)), .init("device", .string(information.name)),
                .init("driver", .string("\(information.platform) \(information.driver)")), .init("ranks", .integer(ranks?.count ?? 1)),
                .init("model", .string(description.architecture.description)),
                .init("classes", .integer(dataset.classes.count)), .init("training_images", .integer(dataset.training.count)),
                .init("validation_images", .integer(dataset.validation.count)), .init("short_side", .integer(description.shortSide)),
            ] + TrainingOption.all.filter { !["model", "short-side", "device", "out"].contains($0.name) }.compactMap { $0.member(options) })
    }

    /// Trains to the end: a checkpoint now and then, and after each epoch, which is then validated.
    ///
    /// - Returns: the last epoch's report; nil where all epochs were done before.
    /// - Throws: `TrainingInterrupted` after SIGINT or SIGTERM; `TrainingError` where the loss is not finite or too many photographs are bad;
    ///   errors of files and of the device.
    @discardableResult
    public func run() throws -> EpochReport? {
        Interruption.install()
        let plans = PlanSequence(
            count: dataset.training.count, batchSize: options.batch, shards: options.shards, seed: options.seed,
            stepsPerEpoch: stepsPerEpoch,
            epochs: options.epochs, span: span.first..<(span.first + span.count))
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
        } catch let error as ModelFileError {
            report(
                .note(
                    "the last whole checkpoint is \(options.output)/checkpoints/step-\(state.step); go on with: trainer --resume \(options.output)"
                ))
            throw error
        }
        return last
    }

    // MARK: - Steps

    /// A step whose totals the host has not read yet.
    private struct PendingStep {
        let step: Int
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

    /// Runs an epoch's steps from where the run is, with a checkpoint at the end. Queues each step and reads its totals one step late, so that the
    /// device never waits for the host.
    private func runSteps(of epoch: Int, loader: BatchLoader) throws -> EpochSums {
        var sums = EpochSums()
        var pending: [PendingStep] = []
        var lastReport = ContinuousClock.now
        func finishOldest() throws {
            guard let oldest = pending.first else { return }
            let totals = try training.takeTotals(of: oldest.step)
            pending.removeFirst()
            if let trace, let profile = device.profile { trace.add(try profile.takeEnded(), offset: clockOffset) }
            let now = ContinuousClock.now
            let seconds = (now - lastReport).seconds
            lastReport = now
            sums.seconds += seconds
            try finishStep(oldest, totals, epoch: epoch, seconds: seconds)
        }
        func finishAll() throws {
            while !pending.isEmpty { try finishOldest() }
        }
        let end = epoch * stepsPerEpoch
        if state.step == end { return sums }
        for index in state.step..<end {
            let waitBefore = loader.waitSeconds
            let workBefore = loader.workerSeconds
            let waitBegan = Clock.seconds
            guard let host = try loader.next() else {
                throw TrainingError("the photographs ended at step \(index + 1) of epoch \(epoch): a mistake in the program")
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

    private func interrupted(_ signal: Int32) -> TrainingInterrupted {
        TrainingInterrupted(signal: signal, step: state.step, run: options.output)
    }

    private func noteBadFiles(_ errors: [ImageError]) throws {
        let lines = try badFiles.record(errors)
        unreported += lines
        for line in lines { report(.note("left out: \(line)")) }
    }

    /// Tells the first rank of the photographs that the others could not use.
    private func gatherBadFiles() throws {
        guard let ranks else { return }
        let lines = try ranks.gather(unreported.joined(separator: "\n")).flatMap { $0.split(separator: "\n").map(String.init) }
        unreported = []
        if ranks.isFirst { for line in try badFiles.record(lines: lines) { report(.note("left out: \(line)")) } }
    }

    /// Of a photograph that will not be cached, only what its crop reads is decoded.
    private func pixelNeed(firstStep: Int) -> @Sendable (Int, Int) -> PixelNeed? {
        let (index, augmentation, options, stepsPerEpoch) = (cache.index, augmentation, options, stepsPerEpoch)
        return { batch, sample in
            guard index.isFull else { return nil }
            return { width, height in
                let parameters = AugmentationParameters.draw(
                    augmentation, width: width, height: height, size: options.imageSize, seed: options.seed,
                    epoch: (firstStep + batch) / stepsPerEpoch + 1, sample: sample)
                return CropRecord(parameters, byteOffset: 0, width: Int32(width), height: Int32(height), size: options.imageSize)
                    .pixelsRead(size: options.imageSize)
            }
        }
    }

    private func queue(_ host: HostBatch, step: Int, epoch: Int, rate: Double) throws {
        let batch = deviceBatches[step % deviceBatches.count]
        try batch.upload(host, size: options.imageSize, cache: cache) { width, height, sample in
            AugmentationParameters.draw(
                augmentation, width: width, height: height, size: options.imageSize, seed: options.seed, epoch: epoch, sample: sample)
        }
        training.asksToStop = Interruption.signal != nil
        try training.run(batch, step: step, learningRate: Float(rate))
    }

    private func finishStep(_ pending: PendingStep, _ totals: SoftmaxCrossEntropy.Totals, epoch: Int, seconds: Double) throws {
        guard totals.loss.isFinite else { throw try divergence(step: pending.step, rate: pending.learningRate) }
        let weight = Double(max(totals.weight, 1))
        let step = StepReport(
            epoch: epoch, epochs: options.epochs, step: pending.step + 1, totalSteps: stepsPerEpoch * options.epochs,
            loss: Double(totals.loss) / weight, top1: Double(totals.top1) / weight, top5: Double(totals.top5) / weight,
            learningRate: pending.learningRate, imagesPerSecond: Double(options.batch) / seconds, dataWait: pending.waitSeconds / seconds,
            loaderSeconds: pending.loaderSeconds, seconds: secondsSinceStart)
        try metrics?.append(
            [
                .init("event", .string("train")), .init("epoch", .integer(epoch)), .init("step", .integer(step.step)),
                .init("loss", .number(step.loss)), .init("top1", .number(step.top1)), .init("top5", .number(step.top5)),
                .init("learning_rate", .number(step.learningRate)), .init("images_per_second", .rounded(step.imagesPerSecond)),
                .init("data_wait", .rounded(step.dataWait)), .init("loader_seconds", .rounded(step.loaderSeconds)),
                .init("seconds", .rounded(step.seconds)),
            ])
        report(.step(step))
    }

    /// What there is to say of a step whose loss is not finite. The device has changed no weight since.
    private func divergence(step: Int, rate: Double) throws -> TrainingError {
        let own = try training.firstNotFinite(deviceBatches[step % deviceBatches.count], step: step)
        let place =
            try ranks.map { ranks in
                try ranks.gather(own ?? "").enumerated().first { !$0.element.isEmpty }.map { "\($0.element) on rank \($0.offset)" }
            } ?? own
        return diverged(
            "step \(step + 1): the loss is not finite at learning rate \(String(format: "%.3g", rate)); "
                + (place.map { "the first that is not finite is \($0)" }
                    ?? "every layer's output is finite, so it is the gradient that is too large"))
    }

    private func diverged(_ what: String) -> TrainingError {
        TrainingError(
            "\(what). Nothing of it was saved; the last good checkpoint is \(options.output)/checkpoints/step-\(state.step). Try a new run with a lower "
                + "--learning-rate (\(String(format: "%.2g", options.learningRate / 10))), a longer --warmup-epochs or --clip-norm 1"
                + (state.step > 0 ? ", perhaps from this checkpoint (--init)" : ""))
    }

    // MARK: - Epochs and checkpoints

    /// What share of the set the first epoch has put on the device. For people alone: a resumed run fills its cache anew, and its metrics are to be
    /// those of a run that never stopped.
    private func reportCache() {
        guard cache.capacity > 0 else { return }
        let own = dataset.training.count / options.shards * span.count
        report(
            .note(
                "cache: \(cache.cachedCount) of \(own) training images \(ranks == nil ? "" : "of this rank ")"
                    + String(
                        format: "(%.0f %%) stay on the device, %.1f MB", 100 * Double(cache.cachedCount) / Double(max(1, own)),
                        Double(cache.allocatedBytes) * 1e-6)))
    }

    /// What share of the exchange the steps since the last call did neither wait nor work for, on the rank where it was least.
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
                    format: "exchange: under way for %.1f s, %.1f s of them in the way: %.0f %% hidden (on the rank where it is least)",
                    now[0], now[1],
                    now[0] > 0 ? 100 * max(0, 1 - now[1] / now[0]) : 100)))
    }

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

    private func validate(_ epoch: Int, _ sums: EpochSums) throws -> EpochReport {
        let total = dataset.validation.count
        let began = ContinuousClock.now
        let count = ranks?.count ?? 1
        let (own, failures) = try evaluator.images(
            of: dataset.validation, part: (ranks?.rank ?? 0, count), workers: options.workers
        ) {
            report(.validation(done: min(total, $0 * count), of: total))
            // The epoch's checkpoint is written already; validation is done again when the run goes on. Several ranks stop together, at a step.
            if ranks == nil, let signal = Interruption.signal { throw interrupted(signal) }
        }
        let images = try ranks.map { try $0.gather(own).flatMap { $0 } } ?? own
        let result = EvaluationResult(images, classes: network.classes, failures: failures)
        try noteBadFiles(failures)
        try gatherBadFiles()
        try reportExchange()
        try metrics?.append([
            .init("event", .string("validate")), .init("epoch", .integer(epoch)), .init("step", .integer(state.step)),
            .init("loss", .number(result.loss)), .init("top1", .number(result.top1)), .init("top5", .number(result.top5)),
            .init("seconds", .rounded((ContinuousClock.now - began).seconds)),
        ])
        learningRate.observe(validationLoss: result.loss)
        let isBest = state.best.map { (result.top1, -result.loss) > ($0.top1, -$0.loss) } ?? true
        if isBest { state.best = TrainingState.Best(top1: result.top1, loss: result.loss, step: state.step) }
        state.plateau = learningRate.plateau
        state.validatedEpochs = epoch
        try measureProgress(&state)
        if let folder {
            try state.write(folder.checkpointPath(step: state.step))
            if isBest { try folder.link("best", step: state.step) }
        }

        let finished = EpochReport(
            epoch: epoch, step: state.step, validation: result, isBest: isBest,
            imagesPerSecond: Double(sums.steps * options.batch) / max(sums.seconds, 1e-9),
            dataWait: sums.waitSeconds / max(sums.seconds, 1e-9),
            loaderSecondsPerStep: sums.loaderSeconds / Double(max(1, sums.steps)), seconds: secondsSinceStart)
        report(.epoch(finished))
        return finished
    }

    private func writeCheckpoint(step: Int) throws {
        try training.finishUpdate()
        try ranks?.verifyWeights(network, step: step)
        try gatherBadFiles()
        description.epoch = step / stepsPerEpoch
        description.step = step
        var next = state
        next.step = step
        try measureProgress(&next)
        do {
            try folder?.writeCheckpoint(step: step) { path in
                try Checkpoint.write(network, description, to: path + "/model.safetensors")
                try TrainingState.writeVelocities(training.optimizer, path)
                try next.write(path)
            }
        } catch let error as Checkpoint.NotFinite {
            throw diverged("after step \(step) \(error.parameter) is not finite")
        }
        state = next
        try folder?.link("last", step: step)
        try folder?.prune(keep: options.keep, best: state.best?.step)
    }

    /// Notes how long the log is, once it is on the disk, and the time.
    private func measureProgress(_ state: inout TrainingState) throws {
        state.metricsByteCount = try metrics?.synchronize() ?? 0
        state.seconds = secondsSinceStart
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
