import Configuration
import Foundation
import NeuralNet
import Photographs
import Runs

/// Finds a learning rate by a range test (Smith, 2017) on the run's first mini-batches.
///
/// The rate grows from step to step until the loss does. The weights are those of the run's start, and get
/// back their values. Every rank takes part, and all find the same rate, because a step's loss is the exact
/// sum over all.
struct RateSearch {
    let options: TrainingOptions
    let workload: Workload
    let machinery: Machinery
    let shortSide: Int

    /// Most steps of a test.
    private static let steps = 100

    /// The lowest and the highest rate of a test.
    private var range: (low: Double, high: Double) {
        options.optimizer == .sgd ? (1e-4, 0.3) : (1e-5, 0.03)
    }

    /// Runs the test.
    ///
    /// - Throws: `TrainingError` if no rate lowers the loss.
    func run() throws -> FoundRate {
        let training = machinery.training
        let network = training.network
        let weights: [[Float]] = try network.parameters.map {
            try network.weights[$0].read($0.storedCount)
        }
        let plans = PlanSequence(options, workload)
        let count = min(RateSearch.steps, workload.stepsPerEpoch * options.epochs)
        let loader = BatchLoader(
            set: workload.dataset.training, shortSide: shortSide, workers: options.workers,
            isCached: { [index = machinery.cache.index] in index.contains($0) },
            memory: workload.device.batchMemory
        ) { $0 < count ? plans.batch($0) : nil }
        defer { loader.stop() }
        let augmentation = options.augmentation.scaled(by: options.augmentStrength)
        var curve = RateCurve()
        for step in 0..<count {
            guard let host = try loader.next() else { break }
            let share = Double(step) / Double(max(1, count - 1))
            let rate = range.low * pow(range.high / range.low, share)
            try machinery.queue(
                host, step: step, stepsPerEpoch: workload.stepsPerEpoch, rate: rate, options: options,
                augmentation: augmentation)
            let totals = try training.takeTotals(of: step)
            guard curve.add(rate: rate, loss: Double(totals.loss / max(totals.weight, 1))) else { break }
        }
        try training.finishUpdate()
        for (parameter, values) in zip(network.parameters, weights) {
            try network.weights[parameter].write(values)
        }
        for layer in network.layers { layer.weightsChanged() }
        try training.optimizer.reset()
        try training.optimizer.average?.reset(to: network)
        return FoundRate(rate: curve.best(between: range), curve: curve.points)
    }
}

extension Trainer {
    /// Finds a learning rate as a run with `--learning-rate auto` does, and writes nothing.
    ///
    /// - Throws: the reason, as a sentence, why training could not start.
    public static func findRate(
        _ options: TrainingOptions, version: String, ranks: Ranks? = nil, sinks: [any EventSink]
    ) throws -> FoundRate {
        let sinks = ranks?.isFirst ?? true ? sinks : []
        var setup = TrainerSetup(
            options: options, resuming: false, version: version, ranks: ranks, tracePath: nil
        ) { event in for sink in sinks { try sink.receive(event) } }
        let agreement = try setup.agree()
        let (dataset, chosen) = try setup.list()
        if let chosen { for sink in sinks { try sink.receive(chosen) } }
        let workload = try setup.open(agreement, dataset)
        let model = try setup.load(agreement, workload)
        let machinery = try setup.prepare(
            agreement, workload, model, setup.connect(workload, model))
        return try RateSearch(
            options: setup.options, workload: workload, machinery: machinery,
            shortSide: model.description.shortSide
        ).run()
    }
}

/// Collects the losses of a range test.
struct RateCurve {
    /// Each rate with the mean loss over about the last ten steps.
    private(set) var points: [(rate: Double, loss: Double)] = []
    private var sum = 0.0
    private var weight = 0.0

    /// Adds a step; returns whether the test should go on.
    ///
    /// It ends when the mean loss is no number, or a tenth above its lowest value after the first ten steps.
    mutating func add(rate: Double, loss: Double) -> Bool {
        guard loss.isFinite else { return false }
        sum = 0.9 * sum + loss
        weight = 0.9 * weight + 1
        points.append((rate, sum / weight))
        let lowest = points.lazy.map(\.loss).min() ?? loss
        return points.count < 10 || sum / weight < 1.1 * lowest + 0.1
    }

    /// Returns a third of the rate at which the mean loss was lowest, within the range.
    ///
    /// The mean follows the rate by about ten steps, so the loss rises at once beyond that rate.
    func best(between range: (low: Double, high: Double)) -> Double {
        let lowest = points.min { $0.loss < $1.loss }?.rate ?? range.low
        // Two digits, so that logs and messages show the rate itself.
        let rate = max(range.low, lowest / 3)
        let unit = pow(10, (log10(rate)).rounded(.down) - 1)
        return (rate / unit).rounded() * unit
    }
}
