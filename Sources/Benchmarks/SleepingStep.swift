import Basics
import Collectives
import Compute
import Foundation
import NeuralNet
import Training

/// A training step whose computation is sleep, and whose exchanges are those of `train`.
final class SleepingStep {
    private let seconds: Double
    /// The share of a step's work that each parameter's layer takes; none at its bias.
    private let shares: [Double]
    /// The buckets that hold each parameter's gradient; none if its layer is split.
    private let bucketsOf: [[Int]]
    /// The first parameter in each bucket, which backward reaches last; of no use for the first bucket, which
    /// holds the step's totals.
    private let firstOf: [Int]
    private let driver: ExchangeDriver
    /// The bytes of all buckets.
    let gradientBytes: Int
    /// The place of each parameter's layer among the split ones; nil for a bias and for other layers.
    private let splitOf: [Int?]
    private let activations: SleepingActivations?

    /// - Parameters:
    ///   - device: the one whose limits decide how gradients are arranged
    ///   - hybrid: how hidden fully connected layers are split; nil if they are not
    init(
        _ plan: NetworkPlan, _ device: DeviceDescription, seconds: Double,
        _ communicator: any Communicator, _ topology: Topology, hybrid: HybridSchedule?
    ) throws {
        self.seconds = seconds
        let parameters = plan.trainedParameters
        var work: [Double] = []
        var splitOf: [Int?] = []
        var isSplit: [Bool] = []
        var splitCount = 0
        for (index, layer) in plan.layers.enumerated() {
            let splits = hybrid != nil && layer.spec.isClassifier && index < plan.layers.count - 1
            for parameter in layer.parameters {
                // A layer's time is proportional to its operations: a convolution's weights times its pixels.
                let pixels = Double(layer.output.height * layer.output.width)
                work.append(parameter.decays ? Double(parameter.count) * pixels : 0)
                isSplit.append(splits)
                splitOf.append(splits && parameter.decays ? splitCount : nil)
                if splits, parameter.decays { splitCount += 1 }
            }
        }
        let total = work.reduce(0, +)
        shares = work.map { $0 / total }
        self.splitOf = splitOf
        let exchanged = parameters.indices.filter { !isSplit[$0] }
        let layout = GradientLayout(
            exchanged.map { parameters[$0] }, device: device, sizes: GradientBuckets.Sizes(for: topology))
        var bucketsOf: [[Int]] = parameters.map { _ in [] }
        for (place, index) in exchanged.enumerated() { bucketsOf[index] = layout.bucketsOf[place] }
        self.bucketsOf = bucketsOf
        firstOf = layout.buckets.indices.map { bucket in
            bucketsOf.firstIndex { $0.contains(bucket) } ?? 0
        }
        gradientBytes = layout.buckets.reduce(0) { $0 + $1.bytes.count }
        let butterfly = try Butterfly(
            communicator, topology: topology, buckets: layout.ranges, floatCount: layout.floatCount)
        activations = try hybrid.map {
            try SleepingActivations(plan.hiddenShapes, $0, communicator, topology)
        }
        driver = ExchangeDriver(butterfly, threaded: true)
    }

    func stop() { driver.stop() }

    /// Runs the backward pass of a step and the forward pass of the next one.
    ///
    /// - Parameter isLazy: whether a layer waits for its own gradients only
    func run(computing: Bool = true, exchanging: Bool = true, isLazy: Bool = false) throws {
        let activations = exchanging ? activations : nil
        let last = splitOf.lastIndex { $0 != nil }
        if exchanging { driver.queue(0, .complete) {} }
        for index in shares.indices.reversed() {
            if index == last { try activations?.exchangeOutputs() }
            if computing { sleep(shares[index] * seconds * 2 / 3) }
            if let split = splitOf[index] { try activations?.reduceInputs(split) }
            guard exchanging else { continue }
            for bucket in bucketsOf[index] where firstOf[bucket] == index {
                driver.queue(bucket, .complete) {}
            }
        }
        if exchanging, !isLazy { for bucket in firstOf.indices { try driver.wait(bucket) } }
        if exchanging, isLazy { try driver.wait(0) }
        for index in shares.indices {
            if exchanging, isLazy { for bucket in bucketsOf[index] { try driver.wait(bucket) } }
            if let split = splitOf[index] { try activations?.gatherInputs(split) }
            if computing { sleep(shares[index] * seconds / 3) }
            if index == last { try activations?.exchangeOutputs() }
        }
    }

    private func sleep(_ seconds: Double) { if seconds > 0 { usleep(UInt32(seconds * 1e6)) } }
}

/// The exchanges of `HybridLayers`, of numbers that mean nothing.
private final class SleepingActivations {
    private let shapes: [HiddenShape]
    private let schedule: HybridSchedule
    private let rank: Int
    private let exchange: BlockExchange
    private let reductions: [BlockExchange.Reduction]
    /// What is sent, and room for sums.
    private let block, sums: UnsafeMutableRawBufferPointer

    init(
        _ shapes: [HiddenShape], _ schedule: HybridSchedule,
        _ communicator: any Communicator, _ topology: Topology
    ) throws {
        self.shapes = shapes
        self.schedule = schedule
        rank = communicator.rank
        let bytes = schedule.blockBytes(shapes)
        let exchange = try BlockExchange(
            communicator, topology: topology, blockBytes: bytes,
            allToAllBytes: schedule.allToAllBytes(shapes))
        self.exchange = exchange
        reductions = shapes.map { exchange.reduction(schedule.slices($0.slices.count)) }
        block = .allocate(byteCount: bytes, alignment: 64)
        sums = .allocate(byteCount: bytes, alignment: 64)
        block.initializeMemory(as: UInt8.self, repeating: 0)
    }

    deinit {
        block.deallocate()
        sums.deallocate()
    }

    /// The floats that each rank has of a split layer's input in a turn, or receives of its gradient.
    private func inputs(_ layer: Int, turn: Int) -> [Int] {
        let rows = schedule.rows(turn: turn)
        if layer == 0 { return rows.map { $0 * shapes[0].inputs } }
        return schedule.held(of: shapes[layer - 1]).map { $0.count * rows.reduce(0, +) }
    }

    private func bytes(_ floats: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: block[..<(4 * floats)])
    }

    func gatherInputs(_ layer: Int) throws {
        for turn in 0..<schedule.turns {
            let counts = inputs(layer, turn: turn)
            try exchange.allGather(bytes(counts[rank]), sizes: counts.map { 4 * $0 })
        }
    }

    func reduceInputs(_ layer: Int) throws {
        guard let source = block.baseAddress, let target = sums.baseAddress else { return }
        for turn in 0..<schedule.turns {
            let counts = inputs(layer, turn: turn)
            try exchange.reduceScatter(
                reductions[layer], { _ in UnsafePointer(source.assumingMemoryBound(to: Float.self)) },
                count: { counts[$0] }, into: target.assumingMemoryBound(to: Float.self))
        }
    }

    /// The all-to-all behind the last split layer; backward sends as much the other way round.
    func exchangeOutputs() throws {
        guard let shape = shapes.last else { return }
        let held = schedule.held(of: shape).map(\.count)
        for turn in 0..<schedule.turns {
            let rows = schedule.rows(turn: turn)
            try exchange.allToAll {
                bytes(rows[$0] * held[rank])
            } size: {
                rows[$1] * held[$0] * 4
            }
        }
    }
}
