import Collectives
import Compute
import TestSupport
import Testing

@testable import Configuration
@testable import DeviceInput
@testable import NeuralNet
@testable import Training

/// Compares steps of several ranks, here threads, that split layers or do not, with those of one process.
///
/// `RankMatrixTests` does so with whole runs.
@Suite(.serialized) struct HybridTests {
    struct Mode: CustomTestStringConvertible, Sendable {
        var ranks = 1
        var isHybrid = true
        var policy = ExchangePolicy.lazy
        /// Nil: shared memory inside nodes, windows between them.
        var transport: TransportKind?
        var nodeSize: Int?
        /// Pretended nodes.
        var nodes: [[Int]]?
        var method = UpdateRule.Method.sgd
        var clipNorm: Float?
        var averageDecay: Double?
        var freezes = false
        var mixup: Double?
        var kernels = KernelChoice.auto
        var slices = Slices.standard
        var testDescription: String {
            "\(ranks) ranks, \(isHybrid ? "hybrid" : "data"), \(policy), "
                + "\(transport?.rawValue ?? "auto"), nodes \(nodes ?? [[nodeSize ?? ranks]]), \(method), "
                + "clip \(clipNorm ?? 0), average \(averageDecay ?? 0), "
                + "\(freezes ? "frozen" : "all"), mixup \(mixup ?? 0), \(kernels), \(slices) slices"
        }

        /// The same training in one process.
        var alone: Mode {
            var mode = self
            (mode.ranks, mode.isHybrid, mode.policy) = (1, false, .synchronous)
            (mode.transport, mode.nodeSize, mode.nodes) = (nil, nil, nil)
            return mode
        }
    }

    private static let options = [
        Mode(ranks: 3, clipNorm: 0.5), Mode(ranks: 8, clipNorm: 0.5),
        Mode(ranks: 2, method: .adamw, averageDecay: 0.8),
        Mode(ranks: 4, isHybrid: false, method: .adamw, averageDecay: 0.8),
        Mode(ranks: 2, method: .adamw, clipNorm: 0.5), Mode(ranks: 4, method: .adamw, clipNorm: 0.5),
        Mode(ranks: 8, method: .adamw, clipNorm: 0.5),
        Mode(ranks: 8, isHybrid: false, method: .adamw, clipNorm: 0.5),
        Mode(ranks: 4, nodeSize: 2, mixup: 0.3), Mode(ranks: 3, freezes: true),
        Mode(ranks: 3, kernels: .gpu), Mode(ranks: 8, transport: .sendrecv, clipNorm: 0.5, kernels: .gpu),
        Mode(ranks: 2, slices: 1), Mode(ranks: 3, slices: 64),
        Mode(ranks: 4, nodes: [[0, 2], [1, 3]], clipNorm: 0.5), Mode(ranks: 8, nodeSize: 4, clipNorm: 0.5),
        Mode(ranks: 6, transport: .sendrecv, nodes: [[0, 1], [2, 3], [4, 5]], slices: 64),
    ]

    private static let model = "16,M,16,F256,F80,F48"
    private static let steps = 12
    private static let batch = 32
    private static let microBatches = 8

    struct Outcome: Equatable {
        /// Weights, averages and moments, on the first rank.
        var values: [[UInt32]] = []
        var totals: [SoftmaxCrossEntropy.Totals] = []
        var losses: [Double] { totals.map { Double($0.loss / $0.weight) } }
    }

    private static func train(_ mode: Mode, _ communicator: ThreadCommunicator? = nil) throws -> Outcome {
        let topology = try communicator.map {
            try Topology(
                microBatches: microBatches, nodes: mode.nodes ?? $0.nodes, nodeSize: mode.nodeSize,
                transport: mode.transport)
        }
        let rank = communicator?.rank ?? 0
        let schedule = topology.flatMap {
            mode.isHybrid
                ? HybridSchedule(spans: $0.spans, nodes: $0.groups, microBatch: batch / microBatches) : nil
        }
        let device = try Device.open(DeviceSelector(parsing: "auto"), kernels: mode.kernels)
        // Layers of 8, 2 and 2 slices, the last of which is shorter: some ranks hold nothing of them.
        let network = try Network(
            Architecture(parsing: model), imageSize: 12, classes: 5,
            options: Network.Options(
                maximumBatch: batch / microBatches, training: true, dropout: 0.2,
                freezesFeatures: mode.freezes, slices: mode.slices, split: schedule?.split(of: rank)),
            device: device)
        try network.initialize(seed: 3)
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
        let training = try TrainingStep(
            network: network, normalization: TrainingStepTests.normalization, batch: batch,
            microBatches: microBatches,
            rule: UpdateRule(
                mode.method, weightDecay: 0.01, clipNorm: mode.clipNorm, averageDecay: mode.averageDecay),
            lossRule: LossRule(mixup: mode.mixup), seed: 3, exchange: exchange, hybrid: hybrid,
            policy: mode.policy)
        let data = try DeviceBatch(device: device, capacity: images.count)
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

    /// All micro-batches have one turn and one place in it, in the micro-batches' order.
    @Test func turnsCoverTheMiniBatch() throws {
        for nodes in [[[0, 1]], [[0, 1, 2]], [[0], [1], [2], [3]], [[0, 2], [1, 3]]] {
            let topology = try Topology(microBatches: 4, nodes: nodes)
            let schedule = HybridSchedule(spans: topology.spans, nodes: topology.groups, microBatch: 3)
            #expect(schedule.turns == topology.spans.map(\.count).max())
            #expect((0..<schedule.turns).reduce(0) { $0 + schedule.rows(turn: $1).reduce(0, +) } == 12)
            for (microBatch, place) in schedule.places.enumerated() {
                let rank = try #require(topology.spans.firstIndex { $0.range.contains(microBatch) })
                #expect(place.turn == microBatch - topology.spans[rank].first)
                #expect(place.row == schedule.rows(turn: place.turn)[..<rank].reduce(0, +))
            }
        }
        let three = HybridSchedule(
            spans: [(0, 4), (4, 2), (6, 2)].map { MicroBatchSpan(first: $0, count: $1) }, microBatch: 3)
        #expect(
            three.places.map { [$0.turn, $0.row] } == [
                [0, 0], [1, 0], [2, 0], [3, 0], [0, 3], [1, 3], [0, 6], [1, 6],
            ])
    }

    // MARK: - Decision

    /// `auto` splits where hidden layers are large and the mini-batch is small, and not in the other cases.
    ///
    /// docs/scaling.md has both with their times.
    @Test(arguments: [
        ("16,M,F64", 64, 512, Parallelism.data), ("32,M,64,M,F2048,F2048", 32, 16, .hybrid),
        // The same networks on the other side.
        ("16,M,F64", 64, 2, .hybrid), ("32,M,64,M,F2048,F2048", 32, 2048, .data),
    ]) func automaticParallelism(model: String, imageSize: Int, batch: Int, expected: Parallelism) throws {
        var options = TrainingOptions()
        (options.model, options.imageSize, options.parallelism) = (model, imageSize, .auto)
        (options.batchSize, options.microBatches) = (batch, 2)
        let device = try #require(DeviceDescription.all().first)
        let choice = try ParallelismChoice(
            options, classes: 10, spans: Topology(microBatches: 2, nodes: [[0, 1]]).spans,
            rank: 0, device: device)
        let (chosen, reason) = choice.automatic(dataFits: true)
        #expect(chosen == expected, "\(reason)")
        #expect(choice.isHybrid(dataFits: true) == (expected == .hybrid))
        // Memory that does not suffice decides alone.
        #expect(choice.automatic(dataFits: false).parallelism == .hybrid)
    }

    /// What `trainer plan --ranks 2` says of bytes and times, for one hidden layer, by hand.
    @Test func bytesAndTimesByHand() throws {
        var options = TrainingOptions()
        (options.model, options.imageSize, options.batchSize, options.microBatches) = ("F64", 8, 8, 2)
        let choice = try ParallelismChoice(
            options, classes: 10, spans: Topology(microBatches: 2, nodes: [[0, 1]]).spans,
            rank: 0, device: #require(DeviceDescription.all().first))
        let (data, hybrid) = (choice.data, try #require(choice.hybrid))
        // 8·8 pixels with 4 channels, 64 units, and 16 stored classes, each with biases; half of them go to
        // the other rank, and half of the sums too.
        let (hidden, last) = (256 * 64 + 64, 64 * 16 + 16)
        #expect(data.gradientBytes == 4 * (hidden + last) && hybrid.gradientBytes == 4 * last)
        // Features of 4 images; 32 outputs of the other rank's 4 images; gradients of its 32 outputs of 4.
        #expect(data.activationBytes == 0 && hybrid.activationBytes == 4 * (4 * 256 + 4 * 32 + 4 * 32))
        #expect(choice.savedBytes == Double(4 * hidden) / Double(hybrid.activationBytes))
        // On a fast device only the exchange takes time, on a slow one the work hides gradients.
        let fast = DeviceSpeed(gflops: 1e12, gigabytesPerSecond: 1e12)
        let slow = DeviceSpeed(gflops: 1e-6, gigabytesPerSecond: 1e12)
        for strategy in [data, hybrid] {
            let (gradients, activations) = (strategy.gradientBytes, strategy.activationBytes)
            let quick = strategy.seconds(at: fast, link: 1e-6)
            #expect(abs(quick.exchange * 1e3 / Double(gradients + activations) - 1) < 1e-9)
            #expect(abs(quick.step / quick.exchange - 1) < 1e-9, "\(quick)")
            let long = strategy.seconds(at: slow, link: 1e-3)
            #expect(abs(long.step - long.work - Double(activations) * 1e-6) < 1e-9 * long.work, "\(long)")
        }
    }

    // MARK: - Memory

    /// Compares what `trainer plan --ranks N` shows for a rank with what the rank allocates, by kind.
    @Test(arguments: [(2, true), (3, true), (4, true), (8, true), (3, false)])
    func planIsWhatARankAllocates(ranks: Int, isHybrid: Bool) throws {
        try ThreadCommunicator.run(ranks) { communicator in
            let rank = communicator.rank
            let device = try Device.open(DeviceSelector(parsing: "auto"))
            var options = TrainingOptions()
            (options.model, options.imageSize, options.shortSide) = (HybridTests.model, 12, 12)
            (options.batchSize, options.microBatches) = (HybridTests.batch, HybridTests.microBatches)
            (options.optimizer, options.cache) = (.sgd, .off)
            let topology = try Topology(
                microBatches: HybridTests.microBatches, nodes: communicator.nodes)
            let choice = try ParallelismChoice(
                options, classes: 5, spans: topology.spans, nodes: topology.groups, rank: rank,
                device: device.description)
            guard let plan = isHybrid ? choice.hybrid?.memory : choice.data.memory else {
                throw CollectiveError("there is no plan")
            }
            /// Compares two numbers of bytes; arrays that ranks share begin at whole pages.
            func expect(_ planned: Int, _ allocated: Int, within tolerance: Int = 0, _ kind: String) throws {
                guard abs(planned - allocated) <= tolerance else {
                    throw CollectiveError(
                        "rank \(rank), \(kind): \(planned) planned, \(allocated) allocated")
                }
            }
            func bytes(_ buffers: [Buffer]) -> Int { buffers.reduce(0) { $0 + $1.byteCount } }

            let schedule = isHybrid ? choice.schedule : nil
            let network = try Network(
                Architecture(parsing: HybridTests.model), imageSize: 12, classes: 5,
                options: Network.Options(
                    maximumBatch: schedule?.microBatch ?? 4, training: true,
                    split: schedule?.split(of: rank)), device: device)
            try network.initialize(seed: 3)
            let own = network.plan.layerByteCounts.reduce(0, +)
            try expect(plan[.weights], bytes(network.weights.buffers) + own, "weights")
            let losses =
                2
                * SoftmaxCrossEntropy.byteCounts(
                    maximumBatch: HybridTests.batch / HybridTests.microBatches, classes: 5
                ).reduce(0, +)
            let activations =
                plan[.activations] + plan[.activationGradients] + plan[.gatheredActivations]
                + plan[.workspace] - losses
            let afterNetwork = device.allocatedBytes
            // The single bytes of empty buffers.
            try expect(plan[.weights] + activations, afterNetwork, within: 64, "the network")

            let exchange = try GradientExchange(
                network.trainedParameters.filter { !$0.isSplit }, device: device,
                communicator: communicator, topology: topology)
            let hybrid = try schedule.map {
                try HybridLayers(network, schedule: $0, communicator: communicator, topology: topology)
            }
            let training = try TrainingStep(
                network: network, normalization: TrainingStepTests.normalization,
                batch: HybridTests.batch, microBatches: HybridTests.microBatches, rule: UpdateRule(.sgd),
                seed: 3, exchange: exchange, hybrid: hybrid)
            let moments = training.optimizer.moments.reduce(0) { $0 + bytes($1.buffers) }
            try expect(plan[.optimizerState], moments, "the optimiser's state")
            let gradients = device.allocatedBytes - afterNetwork - moments - losses / 2
            try expect(plan[.gradients], gradients, within: 3 * Buffer.sliceAlignment, "gradients")

            // A step allocates nothing else, but some buffers of a byte.
            let span = topology.spans[rank]
            let data = try DeviceBatch(device: device, capacity: 4 * span.count)
            try data.upload(4 * span.first..<4 * (span.first + span.count), classes: 5, side: 12)
            let before = device.allocatedBytes
            try training.run(data, step: 0, learningRate: 0.01)
            _ = try training.takeTotals(of: 0)
            // The update must not outlive its memory.
            try device.finish()
            try expect(before, device.peakAllocatedBytes, within: 64, "a step")
            try communicator.barrier()
        }
    }
}
