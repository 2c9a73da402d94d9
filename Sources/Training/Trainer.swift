import Basics
import Collectives
import Configuration
import DeviceInput
import Evaluation
import Foundation
import Models
import NeuralNet
import Photographs
import Runs

/// A run of training, from a folder of photographs to checkpoints.
///
/// `TrainerSetup` prepares it; its file describes the parts.
public final class Trainer {
    let options: TrainingOptions
    /// This run's ranks; nil if there is only one.
    let ranks: Ranks?
    let workload: Workload
    let network: Network
    let exchange: GradientExchange?
    let hybrid: HybridLayers?
    let machinery: Machinery
    let output: Output
    let augmentation: Augmentation
    private let sinks: [any EventSink]
    private let start: ContinuousClock.Instant
    private let secondsBefore: Double

    var description: ModelDescription
    var learningRate: LearningRate
    var state: TrainingState
    /// Lines about bad files that the first rank does not have yet.
    var unreported: [String] = []
    var exchangeBefore = (underWay: 0.0, exposed: 0.0)
    private var hasReportedInput = false
    /// Whether this process has finished a step.
    var hasStepped = false

    /// The best epoch's top-1 accuracy on the validation photographs, a fraction of 1.
    public var bestTop1: Double? { state.best?.top1 }

    /// A training photograph in a file of its own that can be read; nil if there is none.
    public var readablePhotograph: String? {
        let (set, shortSide) = (workload.dataset.training, description.shortSide)
        return (0..<set.count).lazy.filter { index in
            FileManager.default.fileExists(atPath: set.location(index))
                && (try? set.decoded(index, shortSide: shortSide)) != nil
        }.first.map { set.location($0) }
    }

    /// Returns the options of a model's run, and the fingerprint of the photographs that it was trained on.
    ///
    /// - Parameter model: a run's folder, a checkpoint's folder or a file in it.
    /// - Returns: nil if no run's state is there.
    public static func origin(ofModel model: String) -> (options: TrainingOptions, fingerprint: String)? {
        let places = [
            model, model + "/checkpoints/last", URL(fileURLWithPath: model).deletingLastPathComponent().path,
            (try? RunFolder.newestCheckpoint(model)) ?? model,
        ]
        for place in places {
            if let state = try? TrainingState.read(place) { return (state.locatedOptions, state.data) }
        }
        return nil
    }

    /// Returns the options of a run to resume, with the changes that were made in its `config.yaml` since.
    ///
    /// - Throws: `TrainingError` if there is no run, no checkpoint to resume from, or a change of the file
    ///   that would change the result.
    public static func options(ofRun run: String) throws -> TrainingOptions {
        let state = try TrainingState.read(RunFolder.newestCheckpoint(run))
        var saved = state.options
        for option in TrainingOption.all where option.effect == .invocation { option.leaveOpen(in: &saved) }
        let file = RunFolder.configurationPath(run)
        var configuration = TrainingConfiguration(saved)
        // A copy of a run may lack the file.
        if FileManager.default.fileExists(atPath: file) { try configuration.read(file) }
        var options = configuration.options
        guard options.output.isEmpty else {
            throw TrainingError(
                "\(file): out is \(options.output), but a run stays in its folder",
                kind: .changedConfiguration(file))
        }
        try state.requireSameOptions(options, in: file)
        let located = state.locatedOptions
        for option in TrainingOption.all
        where option.traits.contains(.photographs) && option.text(options) == option.text(saved) {
            if let path = option.text(located) { _ = option.set(path, in: &options) }
        }
        options.output = run
        return options
    }

    /// Starts a run, or resumes the one in `options.output`.
    ///
    /// - Parameters:
    ///   - resuming: whether to resume from the run's newest checkpoint, whose options must be the same
    ///     except for those that do not change the result
    ///   - replacesUnfinished: whether a new run may take the place of one without a checkpoint
    ///   - version: the program's version
    ///   - ranks: the processes that train together, each with a trainer of its own; nil if there are no
    ///     others
    ///   - tracePath: a file for a timeline of the run
    ///   - sinks: receive the events of the first rank
    /// - Throws: the reason, as a sentence, why the run cannot start.
    public init(
        _ options: TrainingOptions, resuming: Bool = false, replacesUnfinished: Bool = false,
        version: String, ranks: Ranks? = nil, trace tracePath: String? = nil, sinks: [any EventSink]
    ) throws {
        start = .now
        self.ranks = ranks
        let sinks = ranks?.isFirst ?? true ? sinks : []
        var setup = TrainerSetup(
            options: options, resuming: resuming, replacesUnfinished: replacesUnfinished, version: version,
            ranks: ranks, tracePath: tracePath
        ) { event in for sink in sinks { try sink.receive(event) } }
        let agreement = try setup.agree()
        let (dataset, chosenBatch) = try setup.list()
        let options = setup.options
        self.options = options
        workload = try setup.open(agreement, dataset)
        let model = try setup.load(agreement, workload)
        let connection = try setup.connect(workload, model)
        machinery = try setup.prepare(agreement, workload, model, connection)
        output = try setup.publish(agreement, workload.dataset)

        self.sinks = (output.metrics.map { [$0] } ?? []) + sinks
        network = model.network
        exchange = connection?.exchange
        hybrid = connection?.hybrid
        augmentation = options.augmentation.scaled(by: options.augmentStrength)
        description = model.description
        state = model.state
        secondsBefore = state.seconds
        learningRate = LearningRate(
            options: options, stepsPerEpoch: workload.stepsPerEpoch,
            peak: state.foundLearningRate ?? options.givenLearningRate ?? 0, plateau: state.plateau)
        try begin(
            version: version, isNew: !resuming, model.unreadable, connection?.topology,
            chosenBatch: chosenBatch)
    }

    /// Reports what is trained, and writes a new run's first files.
    private func begin(
        version: String, isNew: Bool, _ unreadable: [ImageError],
        _ topology: Topology?, chosenBatch: RunEvent?
    ) throws {
        let (dataset, device) = (workload.dataset, workload.device.description)
        let start = RunStart(
            options, version: version, isNew: isNew, ranks: ranks?.count ?? 1, device: device,
            dataset: dataset, network: network, shortSide: description.shortSide)
        try report(.started(start))
        for remark in dataset.remarks { try report(.note(remark)) }
        if let chosenBatch { try report(chosenBatch) }
        if isNew, LearningProblem.isImbalanced(start.balance, options) {
            let problem = LearningProblem.imbalance(start.balance)
            state.warnings.append(problem.kind)
            try report(.warning(epoch: 0, problem))
        }
        if let topology, let exchange {
            let cores = Ranks.usableCores
            if device.kind == .cpu, cores < device.computeUnits {
                try report(.fewCores(usable: cores, share: device.computeUnits))
            }
            let policy =
                options.clipNorm == nil
                ? options.exchange.rawValue
                : "synchronous, because clipping needs all gradients before the first update"
            let split = network.splitLayers.map(\.layer.name)
            let parts = [topology.description, "\(options.microBatches) micro-batches", exchange.description]
            let splitNote = split.isEmpty ? [] : ["split over the ranks: " + split.joined(separator: " and ")]
            try report(.note((parts + [policy] + splitNote).joined(separator: ", ")))
            if let reason = topology.flatReason { try report(.flatExchange(reason)) }
        }
        try ranks?.verifyWeights(network, step: state.step)
        try output.folder?.writeConfiguration(options)
        if isNew {
            try noteBadFiles(unreadable)
            // From here on there is a checkpoint to resume from, and a full disk shows at once.
            try writeCheckpoint(step: 0)
        } else {
            // The run may have been killed between a checkpoint and its links.
            try output.folder?.link("last", step: state.step)
            if let best = state.best { try output.folder?.link("best", step: best.step) }
            try report(.resumed(step: state.step, seconds: state.seconds))
        }
    }

    func report(_ event: RunEvent) throws { for sink in sinks { try sink.receive(event) } }

    /// Seconds that the run has taken, including those before it was resumed.
    var secondsSinceStart: Double { secondsBefore + (ContinuousClock.now - start).seconds }

    /// Trains to the end, with a validation and a checkpoint at the end of each epoch.
    ///
    /// - Returns: the last epoch's report; nil if all epochs were finished before.
    /// - Throws: `TrainingInterrupted` after a signal; `TrainingError` if the loss is not finite or too many
    ///   photographs are bad; errors of files and of the device.
    @discardableResult public func run() throws -> EpochReport? {
        Interruption.begin(maximumTime: options.maximumTime?.seconds)
        try findLearningRate()
        let loader = loader()
        defer { loader.stop() }
        var last: EpochReport?
        do {
            while state.validatedEpochs < options.epochs, !isOutOfPatience {
                let epoch = state.validatedEpochs + 1
                let times = try runSteps(of: epoch, loader: loader)
                if last == nil { try reportCache() }
                if !hasReportedInput, let bound = InputBound(times, workers: options.workers) {
                    hasReportedInput = true
                    try report(.inputBound(bound))
                }
                last = try validate(epoch, times)
            }
            if let patience = options.patience, state.validatedEpochs < options.epochs {
                try report(.stoppedEarly(epoch: state.validatedEpochs, patience: patience))
            }
            try writeTrace()
        } catch let stop as TrainingInterrupted {
            try writeTrace()
            throw stop
        } catch let error as FileError {
            try report(.checkpointFailed(lastStep: state.step, run: options.output))
            throw error
        }
        return last
    }

    /// Finds the learning rate if it is left to the program and the run has not begun.
    private func findLearningRate() throws {
        guard options.givenLearningRate == nil, state.foundLearningRate == nil else { return }
        let search = try RateSearch(
            options: options, workload: workload, machinery: machinery, shortSide: description.shortSide
        ).run()
        state.foundLearningRate = search.rate
        learningRate = LearningRate(
            options: options, stepsPerEpoch: workload.stepsPerEpoch,
            peak: search.rate, plateau: state.plateau)
        try report(.learningRateFound(search))
    }

    /// How many bytes of decoded photographs are read ahead.
    private static let readAheadBytes = 256 << 20

    /// Starts the threads that read this rank's images of all steps that are left.
    private func loader() -> BatchLoader {
        let plans = PlanSequence(options, workload)
        let first = state.step
        return BatchLoader(
            set: workload.dataset.training, shortSide: description.shortSide, workers: options.workers,
            readAhead: .bytes(Self.readAheadBytes),
            isCached: { [index = machinery.cache.index] in index.contains($0) },
            need: pixelNeed(firstStep: first), memory: workload.device.batchMemory
        ) { plans.batch(first + $0) }
    }

    /// Writes the timeline of all ranks if there is one.
    private func writeTrace() throws {
        guard let trace = workload.trace else { return }
        try workload.device.finish()
        try trace.collect()
        let events = trace.events(rank: ranks?.rank ?? 0)
        var all = [events]
        // One rank after the other, because only the first keeps the others' events.
        if let ranks {
            for rank in 1..<ranks.count {
                let part = try ranks.communicator.gather(ranks.rank == rank ? events : [])[rank]
                if ranks.isFirst { all.append(part) }
            }
        }
        if ranks?.isFirst ?? true {
            try trace.write(all)
            try report(.traced(path: trace.path))
        }
    }
}
