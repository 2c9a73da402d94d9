import Basics
import Collectives
import Compute
import Configuration
import NeuralNet

/// Compares data with hybrid parallelism for one rank, and decides between them (`--parallelism auto`).
public struct ParallelismChoice {
    /// What one strategy takes.
    public struct Strategy: Sendable {
        public let name: Parallelism
        public let memory: MemoryPlan
        /// Bytes that a rank sends in a step: gradients, and activations with their gradients.
        public let gradientBytes, activationBytes: Int
        fileprivate let passes: [Work]
        fileprivate let update: Work
        fileprivate let microBatches: Int

        /// Returns a step's predicted seconds: the device's work (roofline model), the exchange, and both.
        ///
        /// The step waits for activations. Gradients are exchanged while the device works, at best all the
        /// time.
        ///
        /// - Parameter link: 10⁹ bytes per second that a rank sends
        public func seconds(at speed: DeviceSpeed, link: Double) -> (
            work: Double, exchange: Double, step: Double
        ) {
            let work = Double(microBatches) * passes.seconds(at: speed) + update.seconds(at: speed)
            let (gradients, activations) = (
                Double(gradientBytes) / link * 1e-9, Double(activationBytes) / link * 1e-9
            )
            return (work, gradients + activations, activations + max(work, gradients))
        }
    }

    let schedule: HybridSchedule
    public let data: Strategy
    /// Nil if the network has no hidden fully connected layer.
    public let hybrid: Strategy?
    private let parallelism: Parallelism

    /// - Parameters:
    ///   - spans: the micro-batches of all ranks
    ///   - nodes: the groups of ranks that exchange among themselves first; nil for one of all
    ///   - rank: the one whose device is described
    public init(
        _ options: TrainingOptions, classes: Int, spans: [MicroBatchSpan], nodes: [[Int]]? = nil,
        rank: Int, device: DeviceDescription
    ) throws {
        let schedule = HybridSchedule(
            spans: spans, nodes: nodes, microBatch: options.batch / options.microBatches)
        self.schedule = schedule
        parallelism = options.parallelism
        func strategy(_ name: Parallelism) throws -> Strategy {
            let memory = try TrainingMemory(
                options, classes: classes, microBatches: spans[rank].count, exchanges: true,
                split: name == .hybrid ? schedule.split(of: rank) : nil, device: device)
            let batch = schedule.microBatch * spans[rank].count
            let network = try memory.network(batch: batch)
            let common = network.trainedParameters.reduce(0) { $0 + ($1.isSplit ? 0 : $1.storedCount) }
            let activations = spans.indices.map {
                schedule.bytesSent(
                    by: $0, network.hiddenShapes, needsFeatureGradient: network.needsFeatureGradient)
            }
            return Strategy(
                name: name, memory: try memory.plan(batch: batch),
                gradientBytes: 8 * common * (spans.count - 1) / spans.count,
                activationBytes: name == .hybrid ? activations.max() ?? 0 : 0, passes: network.passWork,
                update: network.updateWork(options.optimizer, averages: options.averageDecay != nil),
                microBatches: spans[rank].count)
        }
        data = try strategy(.data)
        hybrid =
            try Architecture(parsing: options.model).hasHiddenFullyConnected ? strategy(.hybrid) : nil
    }

    /// The bytes of gradients that hybrid parallelism does not send, for each byte of activations that it
    /// sends instead.
    public var savedBytes: Double {
        guard let hybrid else { return 0 }
        return Double(data.gradientBytes - hybrid.gradientBytes) / Double(max(1, hybrid.activationBytes))
    }

    /// `auto` splits layers if this many bytes of gradients are saved for each byte of activations.
    ///
    /// The step waits for all of the activations, but only for a part of the gradients.
    public static let worthwhile = 2.0

    /// The rule of `auto`, as a clause.
    public static let rule =
        "auto chooses hybrid if data parallelism does not fit a rank's device, or if hybrid saves at least "
        + "\(worthwhile) bytes of gradients for every byte of activations that it sends"

    /// Returns what `auto` chooses, and why, as a clause.
    ///
    /// - Parameter dataFits: whether data parallelism fits the devices of all ranks
    public func automatic(dataFits: Bool) -> (parallelism: Parallelism, reason: String) {
        guard hybrid != nil else { return (.data, "there is no hidden fully connected layer to split") }
        let ratio = (savedBytes * 100).rounded() / 100
        let saved = "hybrid sends 1 byte of activations for every \(ratio) bytes of gradients that it saves"
        if !dataFits { return (.hybrid, "data parallelism does not fit the device; \(saved)") }
        return (
            savedBytes >= ParallelismChoice.worthwhile ? .hybrid : .data,
            "\(saved); it is chosen from \(ParallelismChoice.worthwhile) on"
        )
    }

    /// Returns whether layers are split.
    ///
    /// - Parameter dataFits: whether data parallelism fits the devices of all ranks
    public func isHybrid(dataFits: Bool) -> Bool {
        switch parallelism {
        case .data: false
        case .hybrid: hybrid != nil
        case .auto: automatic(dataFits: dataFits).parallelism == .hybrid
        }
    }

    /// The strategies with their memory and what they send, as a table.
    public var table: String {
        let strategies = [data, hybrid].compactMap { $0 }
        var table = TextTable(
            header: ["per rank"] + strategies.map(\.name.rawValue),
            [.left] + strategies.map { _ in .right })
        for kind in MemoryPlan.Kind.allCases {
            table.add([kind.rawValue] + strategies.map { MemorySize.text($0.memory[kind]) })
        }
        table.add(["total"] + strategies.map { MemorySize.text($0.memory.total) })
        table.add(["fits the device"] + strategies.map { $0.memory.fits ? "yes" : "no" })
        table.add(["gradients sent a step"] + strategies.map { MemorySize.text($0.gradientBytes) })
        table.add(["activations sent a step"] + strategies.map { MemorySize.text($0.activationBytes) })
        return table.text
    }
}
