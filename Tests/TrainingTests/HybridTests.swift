import Collectives
import Compute
import Foundation
import NeuralNet
import TestSupport
import Testing

@testable import Configuration
@testable import DeviceInput
@testable import Training

/// Compares steps of several ranks, here threads, that split layers or do not, with those of one process.
@Suite(.serialized) struct HybridTests {
    struct Mode: CustomTestStringConvertible, Sendable {
        var ranks = 1
        var isHybrid = true
        var policy = ExchangePolicy.lazy
        var transport = TransportKind.shared
        var nodeSize: Int?
        var method = UpdateRule.Method.sgd
        var clipNorm: Float?
        var averageDecay: Double?
        var freezes = false
        var mixup: Double?
        var kernels = KernelChoice.auto
        var slices = Slices.standard
        var testDescription: String {
            "\(ranks) ranks, \(isHybrid ? "hybrid" : "data"), \(policy), \(transport), nodes of "
                + "\(nodeSize ?? ranks), \(method), clip \(clipNorm ?? 0), average \(averageDecay ?? 0), "
                + "\(freezes ? "frozen" : "all"), mixup \(mixup ?? 0), \(kernels), \(slices) slices"
        }

        /// The same training in one process.
        var alone: Mode {
            var mode = self
            (mode.ranks, mode.isHybrid, mode.policy) = (1, false, .synchronous)
            (mode.transport, mode.nodeSize) = (.shared, nil)
            return mode
        }
    }

    /// Every number of ranks with every transport, and both policies in turn.
    private static let matrix = [2, 3, 4, 8].flatMap { ranks in
        TransportKind.allCases.enumerated().map { index, transport in
            Mode(
                ranks: ranks, policy: (ranks + index) % 2 == 0 ? .lazy : .synchronous, transport: transport)
        } + [Mode(ranks: ranks, isHybrid: false)]
    }
    /// Training in one process without options.
    private static let plain = Result { try train(Mode().alone) }

    private static let options = [
        Mode(ranks: 3, clipNorm: 0.5), Mode(ranks: 8, clipNorm: 0.5),
        Mode(ranks: 2, method: .adamw, averageDecay: 0.8),
        Mode(ranks: 4, isHybrid: false, method: .adamw, averageDecay: 0.8),
        Mode(ranks: 4, nodeSize: 2, mixup: 0.3), Mode(ranks: 3, freezes: true),
        Mode(ranks: 3, kernels: .gpu), Mode(ranks: 8, transport: .sendrecv, clipNorm: 0.5, kernels: .gpu),
        Mode(ranks: 2, slices: 1), Mode(ranks: 3, slices: 64),
    ]

    private static let steps = 12
    private static let batch = 32
    private static let microBatches = 8

    struct Outcome: Equatable {
        /// Weights, averages and moments, on the first rank.
        var values: [[UInt32]] = []
        var totals: [SoftmaxCrossEntropy.Totals] = []
        var losses: [Double] { totals.map { Double($0.loss / $0.weight) } }
    }

    private static let setup = NSLock()

    private static func train(_ mode: Mode, _ communicator: ThreadCommunicator? = nil) throws -> Outcome {
        let topology = try communicator.map {
            try Topology(
                microBatches: microBatches, nodes: $0.nodes, nodeSize: mode.nodeSize,
                transport: mode.transport)
        }
        let rank = communicator?.rank ?? 0
        let schedule = topology.flatMap {
            mode.isHybrid ? HybridSchedule(spans: $0.spans, microBatch: batch / microBatches) : nil
        }
        // The runtime does not like two contexts being made at once.
        let (device, network) = try setup.withLock {
            let device = try Device.open(DeviceSelector(parsing: "auto"), kernels: mode.kernels)
            // Layers of 8, 2 and 2 slices, the last of which is shorter: some ranks hold nothing of them.
            let network = try Network(
                Architecture(parsing: "16,M,16,F256,F80,F48"), imageSize: 12, classes: 5,
                options: Network.Options(
                    maximumBatch: batch / microBatches, training: true, dropout: 0.2,
                    freezesFeatures: mode.freezes, slices: mode.slices, split: schedule?.split(of: rank)),
                device: device)
            try network.initialize(seed: 3)
            return (device, network)
        }
        let exchange = try communicator.flatMap { communicator in
            try topology.map {
                try GradientExchange(
                    network.trainedParameters.filter { !$0.isSplit }, device: device,
                    communicator: communicator, topology: $0, sizes: .init(joined: 4096, cut: 8192))
            }
        }
        let hybrid = try schedule.flatMap { schedule in
            try communicator.flatMap { communicator in
                try topology.map {
                    try HybridLayers(
                        network, schedule: schedule, communicator: communicator, topology: $0)
                }
            }
        }
        let span = exchange?.span ?? MicroBatchSpan(first: 0, count: microBatches)
        let images = (span.first * batch / microBatches)..<((span.first + span.count) * batch / microBatches)
        let (training, data) = try setup.withLock {
            let training = try TrainingStep(
                network: network, normalization: TrainingStepTests.normalization, batch: batch,
                microBatches: microBatches,
                rule: UpdateRule(
                    mode.method, weightDecay: 0.01, clipNorm: mode.clipNorm, averageDecay: mode.averageDecay),
                lossRule: LossRule(mixup: mode.mixup), seed: 3, exchange: exchange, hybrid: hybrid,
                policy: mode.policy)
            return (training, try DeviceBatch(device: device, capacity: images.count))
        }
        var outcome = Outcome()
        for step in 0..<steps {
            let shares = training.shares(step: step, weights: images.map { _ in 1 })
            try data.upload(images, classes: 5, side: 12, variant: step, weight: { _ in 1 }, shares: shares)
            try training.run(data, step: step, learningRate: mode.method == .sgd ? 0.03 : 0.003)
            if step > 0 { outcome.totals.append(try training.takeTotals(of: step - 1)) }
        }
        outcome.totals.append(try training.takeTotals(of: steps - 1))
        try training.finishUpdate()
        func collect(_ parameters: [Parameter], _ buffer: (Parameter) -> Buffer) throws {
            for parameter in parameters {
                var values: [Float] = []
                if let hybrid {
                    try hybrid.export(parameter, buffer(parameter)) { values += $0 }
                } else {
                    values = parameter.exported(try buffer(parameter).read(parameter.storedCount))
                }
                outcome.values.append(values.map(\.bitPattern))
            }
        }
        try collect(network.parameters) { network.weights[$0] }
        try training.withAveragedWeights { try collect(network.parameters) { network.weights[$0] } }
        for moments in training.optimizer.moments { try collect(network.trainedParameters) { moments[$0] } }
        if let communicator {
            // A rank holds its share, and no more.
            let held = network.parameters.filter(\.isSplit).reduce(0) { $0 + $1.storedCount }
            let all = try communicator.gather([held]).reduce(0) { $0 + $1[0] }
            let whole = 256 * 6 * 6 * 16 + 80 * 256 + 48 * 80 + 256 + 80 + 48
            guard all == (mode.isHybrid ? whole : 0) else {
                throw CollectiveError("the ranks hold \(all) numbers of the split layers' \(whole)")
            }
            try communicator.barrier()
        }
        return outcome
    }

    private static func check(_ mode: Mode, against alone: Outcome) throws {
        expectLearnt(alone.losses, classes: 5)
        try ThreadCommunicator.run(mode.ranks) { communicator in
            let ranks = try train(mode, communicator)
            guard ranks.totals == alone.totals else {
                throw CollectiveError("rank \(communicator.rank) has other totals")
            }
            guard communicator.rank > 0 || ranks.values == alone.values else {
                let place = zip(ranks.values, alone.values).enumerated().first { $1.0 != $1.1 }
                throw CollectiveError("array \(place?.offset ?? -1) has other bits")
            }
        }
    }

    @Test(arguments: matrix) func ranksHaveTheBitsOfOneProcess(_ mode: Mode) throws {
        try HybridTests.check(mode, against: HybridTests.plain.get())
    }

    @Test(arguments: options) func optionsHaveTheBitsOfOneProcess(_ mode: Mode) throws {
        let alone = try HybridTests.train(mode.alone)
        try HybridTests.check(mode, against: alone)
        // The option has an effect, without which the comparison says little.
        var plain = Mode().alone
        plain.kernels = mode.kernels
        let has =
            mode.clipNorm != nil || mode.averageDecay != nil || mode.freezes || mode.mixup != nil
            || mode.slices != Slices.standard
        #expect(try has == (alone != HybridTests.train(plain)))
    }

    /// All micro-batches have one turn and one place in it.
    @Test func turnsCoverTheMiniBatch() {
        for (spans, turns) in [([2, 2], 2), ([4, 2, 2], 4), ([1, 1, 1, 1], 1)] {
            var first = 0
            let parts = spans.map { count in
                defer { first += count }
                return MicroBatchSpan(first: first, count: count)
            }
            let schedule = HybridSchedule(spans: parts, microBatch: 3)
            #expect(schedule.turns == turns)
            let rows = schedule.places.map { "\($0.turn) \($0.row)" }
            #expect(Set(rows).count == first)
            #expect((0..<turns).reduce(0) { $0 + schedule.rows(turn: $1).reduce(0, +) } == 3 * first)
        }
        #expect(
            HybridSchedule(
                spans: [4, 2, 2].map { MicroBatchSpan(first: 0, count: $0) }, microBatch: 3
            ).places.map { [$0.turn, $0.row] } == [
                [0, 0], [1, 0], [2, 0], [3, 0], [0, 3], [1, 3], [0, 6], [1, 6],
            ])
    }
}
