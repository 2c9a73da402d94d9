import Basics
import Collectives
import Compute
import Configuration
import DeviceInput
import Evaluation
import Foundation
import Models
import NeuralNet
import Photographs
import Runs

/// What all ranks have agreed on: the checkpoint to resume from, if any.
struct Agreement {
    /// The folder of a resumed run, locked; nil for a new run and on all ranks except the first.
    let folder: RunFolder?
    let resumed: (checkpoint: String, state: TrainingState)?
}

/// The device, the photographs and this rank's share of them.
struct Workload {
    let device: Device
    let trace: Trace?
    let dataset: Dataset
    let stepsPerEpoch: Int
    /// Nil without other ranks.
    let topology: Topology?
    /// How hidden fully connected layers are split; nil if they are not.
    let schedule: HybridSchedule?
    /// The micro-batches whose images this rank runs.
    let span: MicroBatchSpan
    /// This rank's images of a mini-batch.
    let localBatch: Int
}

/// The network with its weights, and the run's state.
struct LoadedModel {
    let network: Network
    var description: ModelDescription
    var state: TrainingState
    /// Photographs that could not be read for the statistics.
    var unreadable: [ImageError] = []
}

/// What works on the device in each step.
struct Machinery {
    let training: TrainingStep
    let validator: Validator
    let batches: [DeviceBatch]
    let cache: ImageCache

    /// Uploads a mini-batch and enqueues its step.
    func queue(
        _ host: HostBatch, step: Int, stepsPerEpoch: Int, rate: Double, options: TrainingOptions,
        augmentation: Augmentation
    ) throws {
        let key = options.augmentationKey(step: step, stepsPerEpoch: stepsPerEpoch)
        let batch = batches[step % batches.count]
        let shares = training.shares(step: step, weights: host.weights)
        try batch.upload(host, size: options.imageSize, cache: cache, shares: shares) {
            width, height, sample in
            AugmentationParameters.draw(
                augmentation, width: width, height: height, size: options.imageSize, seed: options.seed,
                epoch: key, sample: sample)
        }
        try training.run(batch, step: step, learningRate: Float(rate))
    }
}

/// What the run writes.
struct Output {
    /// Both nil on all ranks except the first.
    let folder: RunFolder?
    let metrics: MetricsLog?
    let badFiles: BadFiles
}

/// Prepares a run in phases: agree, open, load, connect, prepare, publish.
///
/// Each phase takes the results of those before it. The last one creates the run's folder, so a run that
/// cannot start leaves nothing behind.
struct TrainerSetup {
    private(set) var options: TrainingOptions
    let resuming: Bool
    var replacesUnfinished = false
    let version: String
    let ranks: Ranks?
    let tracePath: String?
    let report: (RunEvent) throws -> Void

    typealias Connection = (exchange: GradientExchange, hybrid: HybridLayers?, topology: Topology)

    private var isFirst: Bool { ranks?.isFirst ?? true }

    /// Checks the options, and finds the checkpoint to resume from.
    func agree() throws -> Agreement {
        try options.validate()
        try ranks?.requireSame([
            ("the program's version", version), ("whether a run is resumed", "\(resuming)"),
            ("whether each step is verified", "\(ranks?.verifiesEachStep == true)"),
            ("whether a timeline is written", "\(tracePath != nil)"),
        ])
        guard resuming else { return Agreement(folder: nil, resumed: nil) }
        let folder = isFirst ? try RunFolder.open(options.output) : nil
        let newest = { try RunFolder.newestCheckpoint(options.output) }
        let checkpoint = try ranks?.fromFirst(newest()) ?? newest()
        let state = try TrainingState.read(checkpoint)
        try state.requireSameOptions(options)
        for change in state.changes(in: options) { try report(.note(change)) }
        return Agreement(folder: folder, resumed: (checkpoint, state))
    }

    /// Lists the photographs, and chooses the size of a mini-batch if it is left to the program.
    ///
    /// - Returns: the photographs, and the size if it was chosen.
    mutating func list() throws -> (dataset: Dataset, chosen: RunEvent?) {
        let dataset = try Dataset.load(
            root: options.data, labels: options.labels, validationFraction: options.validationFraction)
        let count = dataset.training.count
        let batch = options.chooseBatch(photographs: count)
        return (dataset, batch.map { .batchChosen(batch: $0, photographs: count) })
    }

    /// Opens the device, and checks that the ranks have the same photographs and training fits the device.
    func open(_ agreement: Agreement, _ dataset: Dataset) throws -> Workload {
        let topology = try topology()
        let all = MicroBatchSpan(first: 0, count: options.microBatches)
        let span = ranks.flatMap { topology?.spans[$0.rank] } ?? all
        let device = try Device.open(
            DeviceSelector(parsing: options.device), profiling: tracePath != nil,
            memory: options.deviceMemory?.bytes, kernels: options.kernels, place: ranks?.place ?? (0, 1))
        let trace = try tracePath.map { try Trace($0, of: device) }
        let shared = TrainingOption.all.filter { [.result, .conduct].contains($0.effect) }
        try ranks?.requireSame(
            shared.map { ($0.name, $0.text(options) ?? "without a value") } + [
                ("the list of classes", dataset.classes.joined(separator: ", ")),
                ("the photographs' fingerprint (names, classes, a sample of sizes)", dataset.fingerprint),
            ])
        if !dataset.unused.isEmpty {
            try report(.unused(dataset.unused, data: options.data, labels: options.labels))
        }
        let stepsPerEpoch = try EpochPlan(
            count: dataset.training.count, batchSize: options.batch, microBatches: options.microBatches,
            seed: options.seed, epoch: 1
        ).batchCount
        let localBatch = options.batch / options.microBatches * span.count
        let schedule = try schedule(topology, classes: dataset.classes.count, device: device.description)
        try TrainingMemory(
            options, classes: dataset.classes.count, microBatches: span.count, exchanges: ranks != nil,
            split: schedule?.split(of: ranks?.rank ?? 0), device: device.description
        ).requireFit(batch: localBatch)
        return Workload(
            device: device, trace: trace, dataset: dataset, stepsPerEpoch: stepsPerEpoch, topology: topology,
            schedule: schedule, span: span, localBatch: localBatch)
    }

    /// Decides whether layers are split, as one for all ranks.
    private func schedule(_ topology: Topology?, classes: Int, device: DeviceDescription) throws
        -> HybridSchedule?
    {
        guard let ranks, let topology else { return nil }
        let choice = try ParallelismChoice(
            options, classes: classes, spans: topology.spans,
            nodes: topology.groups, rank: ranks.rank, device: device)
        let fits = try ranks.gather([choice.data.memory.fits]).allSatisfy { $0[0] }
        if options.parallelism == .auto {
            let (chosen, reason) = choice.automatic(dataFits: fits)
            try report(.note("\(chosen.rawValue) parallelism: \(reason)"))
        }
        return choice.isHybrid(dataFits: fits) ? choice.schedule : nil
    }

    /// Builds the network, and takes its weights from the checkpoint, from another model or from the seed.
    func load(_ agreement: Agreement, _ workload: Workload) throws -> LoadedModel {
        let (device, dataset) = (workload.device, workload.dataset)
        let network = try Network(
            Architecture(parsing: options.model), imageSize: options.imageSize,
            classes: dataset.classes.count,
            options: Network.Options(
                maximumBatch: options.batch / options.microBatches, training: true, dropout: options.dropout,
                convolution: options.convolution.algorithms, freezesFeatures: options.freeze == .features,
                slices: options.slices, split: workload.schedule?.split(of: ranks?.rank ?? 0)),
            device: device)
        var fresh = TrainingState(
            version: version, options: options, device: device, dataset: dataset, network: network)
        if let ranks {
            fresh.device = Set(try ranks.gather(fresh.device)).sorted().joined(separator: " and ")
        }
        guard let (checkpoint, saved) = agreement.resumed else {
            return try newModel(network, dataset, fresh, workload.schedule)
        }
        try saved.requireSame(as: fresh)
        try saved.requirePossible(stepsPerEpoch: workload.stepsPerEpoch, checkpoint: checkpoint)
        let model = try Checkpoint(checkpoint + "/model.safetensors")
        try model.load(into: network)
        var state = saved
        state.options = options
        state.workingFolder = fresh.workingFolder
        return LoadedModel(network: network, description: model.description, state: state)
    }

    /// Connects this rank to the others; by messages if `auto` finds that windows do not work here.
    ///
    /// - Returns: nil without other ranks
    func connect(_ workload: Workload, _ model: LoadedModel) throws -> Connection? {
        guard let ranks, let topology = workload.topology else { return nil }
        func connection(_ topology: Topology) throws -> Connection {
            let exchange = try GradientExchange(
                model.network.trainedParameters.filter { !$0.isSplit }, device: workload.device,
                communicator: ranks.communicator, topology: topology, trace: workload.trace)
            let hybrid = try workload.schedule.map {
                try HybridLayers(
                    model.network, schedule: $0, communicator: ranks.communicator, topology: topology)
            }
            return (exchange, hybrid, topology)
        }
        do { return try connection(topology) } catch let error as WindowsUnavailable
            where options.transport == .auto
        {
            try report(.note("\(error): using messages instead"))
            return try self.topology(hasWindows: false).map(connection)
        }
    }

    /// Allocates everything else that a step needs.
    func prepare(
        _ agreement: Agreement, _ workload: Workload, _ model: LoadedModel, _ connection: Connection?
    ) throws -> Machinery {
        let (device, network, description) = (workload.device, model.network, model.description)
        let training = try TrainingStep(
            network: network, normalization: description.normalization, batch: options.batch,
            microBatches: options.microBatches, rule: options.updateRule,
            lossRule: options.lossRule(imagesOfClasses: workload.dataset.training.countsByClass),
            seed: options.seed, exchange: connection?.exchange, hybrid: connection?.hybrid,
            policy: options.exchange)
        if let resumed = agreement.resumed {
            // The average is that of the model that `load` has read, and now come the weights themselves.
            try TrainingState.readOptimizer(training.optimizer, network, resumed.checkpoint)
        }
        var jointForward: ((Pass) throws -> Void)?
        if workload.schedule != nil, let ranks {
            jointForward = { try training.evaluate($0, ranks: ranks) }
        }
        let validator = try Validator(
            network: network, normalization: description.normalization, shortSide: description.shortSide,
            jointForward: jointForward)
        let batches = try (0..<2).map { _ in try DeviceBatch(device: device, capacity: workload.localBatch) }
        // Last, because `auto` takes a share of the memory that is left.
        let capacity = options.cache.capacity(on: device.description, allocated: device.allocatedBytes)
        let cache = ImageCache(device: device, capacity: capacity, count: workload.dataset.training.count)
        return Machinery(training: training, validator: validator, batches: batches, cache: cache)
    }

    /// Creates the run's folder, or cuts a resumed run's log to the length that it had at the checkpoint.
    func publish(_ agreement: Agreement, _ dataset: Dataset) throws -> Output {
        let folder = isFirst ? try agreement.folder ?? newFolder() : nil
        if let state = agreement.resumed?.state, let folder {
            try JSONLinesFile.truncate(folder.metricsPath, toSize: state.metricsByteCount)
        }
        return Output(
            folder: folder, metrics: try folder.map { try MetricsLog($0.metricsPath) },
            badFiles: BadFiles(
                limit: options.maximumBad, fileCount: dataset.training.count + dataset.validation.count,
                run: options.output, path: folder?.badFilesPath))
    }

    // MARK: - Parts of a phase

    private func newFolder() throws -> RunFolder {
        try replacesUnfinished
            ? RunFolder.replaceUnfinished(options.output) : RunFolder.create(options.output)
    }

    private func topology(hasWindows: Bool = true) throws -> Topology? {
        try ranks.map {
            try Topology(
                microBatches: options.microBatches, nodes: $0.communicator.nodes,
                nodeSize: options.nodeSize, transport: options.transport.kind, hasWindows: hasWindows)
        }
    }

    /// Initialises the network, and describes it with another model's normalisation or the photographs' own.
    private func newModel(
        _ network: Network, _ dataset: Dataset, _ state: TrainingState, _ schedule: HybridSchedule?
    ) throws -> LoadedModel {
        try network.initialize(seed: options.seed)
        // The first rank measures the photographs for all.
        let sample = isFirst ? dataset.training.statisticsSample() : dataset.training
        let ownShortSide = options.shortSide ?? (isFirst ? defaultShortSide(sample) : 0)
        let shortSide = try ranks?.gather([ownShortSide])[0][0] ?? ownShortSide
        let normalization: Normalization
        var unreadable: [ImageError] = []
        if let path = options.initialModel {
            let initial = try Checkpoint(path)
            let (taken, drawn) = try initial.loadInitial(
                into: network, classes: dataset.classes, freezesFeatures: options.freeze == .features)
            try report(.initialised(from: initial.path, taken: taken, drawn: drawn))
            normalization = initial.description.normalization
        } else {
            var own: [Float] = []
            if isFirst {
                let statistics = sample.channelStatistics(
                    shortSide: shortSide, workers: options.workers, cache: .standard)
                own = (statistics.mean + statistics.deviation).map { Float($0) }
                unreadable = statistics.failures
            }
            let values = try ranks?.gather(own)[0] ?? own
            normalization = Normalization(mean: Array(values.prefix(3)), deviation: Array(values.suffix(3)))
        }
        let description = ModelDescription(
            architecture: network.architecture, classes: dataset.classes, imageSize: options.imageSize,
            shortSide: shortSide, normalization: normalization, seed: options.seed, words: dataset.words)
        if options.initialModel == nil {
            try scaleUnits(of: network, description, sample, schedule)
        }
        return LoadedModel(network: network, description: description, state: state, unreadable: unreadable)
    }

    /// Scales a new network's units by their sums over a few photographs; the first rank measures for all.
    ///
    /// If layers are split, all ranks run the photographs together, and take the first rank's measurements.
    private func scaleUnits(
        of network: Network, _ description: ModelDescription, _ sample: ImageSet,
        _ schedule: HybridSchedule?
    ) throws {
        if let ranks, let schedule {
            _ = try measuredUnits(of: network, description, sample) {
                try network.forwardSplit($0, $1, schedule: schedule, ranks: ranks)
            } agree: {
                try UnitScaling(
                    factors: ranks.gather($0.factors)[0], biases: ranks.gather($0.biases)[0])
            }
            return
        }
        let own = isFirst ? try measuredUnits(of: network, description, sample) : []
        guard let ranks else { return }
        var numbers = try ranks.gather(own.flatMap { $0.factors + $0.biases })[0][...]
        guard !isFirst else { return }
        func take(_ count: Int) -> [Float] {
            defer { numbers = numbers.dropFirst(count) }
            return Array(numbers.prefix(count))
        }
        try network.scaleUnits(
            network.hiddenUnitCounts.map { UnitScaling(factors: take($0), biases: take($0)) })
    }

    /// Scales the units by the central crops of 32 photographs.
    private func measuredUnits(
        of network: Network, _ description: ModelDescription, _ sample: ImageSet,
        forwardSplit: (SplitLayer, Pass) throws -> Void = { _, _ in },
        agree: (UnitScaling) throws -> UnitScaling = { $0 }
    ) throws -> [UnitScaling] {
        let set = sample.statisticsSample(limit: 32)
        let size = options.imageSize
        let plan = try EvaluationPlan(count: set.count, batchSize: network.options.maximumBatch)
        let input = try ImageInput(
            device: network.device, size: size, normalization: description.normalization)
        let batch = try DeviceBatch(device: network.device, capacity: network.options.maximumBatch)
        func load(_ index: Int) throws -> [Bool] {
            let loader = BatchLoader(set: set, shortSide: description.shortSide, workers: options.workers) {
                $0 == 0 ? plan.batch(index) : nil
            }
            defer { loader.stop() }
            guard let host = try loader.next() else { return [] }
            try batch.upload(host, size: size) { width, height, _ in
                AugmentationParameters.central(width: width, height: height, size: size)
            }
            let pass = Pass(batch: host.count, training: false)
            try input.load(bytes: batch.bytes, records: batch.records, output: network.input, pass: pass)
            return host.weights.map { $0 > 0 }
        }
        return try network.scaleUnits(
            batches: plan.batchCount, load: load, forwardSplit: forwardSplit, agree: agree)
    }

    /// Returns the usual short side; photographs of the crop's size keep theirs, and are padded instead.
    private func defaultShortSide(_ set: ImageSet) -> Int {
        let sample = set.statisticsSample(limit: 16)
        let sides = (0..<sample.count).compactMap { index -> Int? in
            (try? sample.decoded(index, shortSide: nil)).map { min($0.width, $0.height) }
        }
        return !sides.isEmpty && sides.allSatisfy { $0 == options.imageSize }
            ? options.imageSize : ModelDescription.usualShortSide(imageSize: options.imageSize)
    }
}
