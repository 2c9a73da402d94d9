import Basics
import Collectives
import Compute
import Foundation
import NeuralNet
import Training

/// Times the exchange of gradients between ranks without a device.
public struct ExchangeBenchmark {
    private let communicator: MPICommunicator
    private let nodeSize: Int?
    /// Whether MPI opens windows between all ranks; without them `onesided` is left out.
    public let hasWindows: Bool

    /// Prepares benchmarks of a job's ranks; `nodeSize` as for `Topology`.
    public init(_ communicator: MPICommunicator, nodeSize: Int?) throws {
        self.communicator = communicator
        self.nodeSize = nodeSize
        do {
            let all = Array(0..<communicator.size)
            _ = try communicator.transport(.onesided, group: all, byteCount: 4096, channels: 1)
            hasWindows = true
        } catch is WindowsUnavailable { hasWindows = false }
        try communicator.freeWindows()
    }

    /// - Parameter kind: nil for what training chooses
    private func topology(_ kind: TransportKind?) throws -> Topology {
        try Topology(
            microBatches: MicroBatchTree.defaultMicroBatches(ranks: communicator.size),
            nodes: communicator.nodes, nodeSize: nodeSize, transport: kind, hasWindows: hasWindows)
    }

    /// The times of one way to add arrays of one size.
    public struct Way {
        public let name: String
        public let byteCount: Int
        /// Seconds of each round, of the slowest rank.
        public var seconds: [Double] = []
        /// The number of ranks and rounds whose sums have other bits than the micro-batches' tree gives.
        public var differing = 0
    }

    /// The transports that connect these ranks; nil for one inside nodes and another between them.
    private var transports: [TransportKind?] {
        let nodes = communicator.nodes
        let everywhere = TransportKind.allCases.filter {
            ($0 != .shared || nodes.count == 1) && ($0 != .onesided || hasWindows)
        }
        return everywhere + (nodes.count > 1 && nodes.contains { $0.count > 1 } ? [nil] : [])
    }

    /// Adds arrays of `floatCount` floats in every way in turn, `rounds` times after a warm-up.
    public func ways(floatCount: Int, rounds: Int) throws -> [Way] {
        let ways = try timed(floatCount: floatCount, rounds: rounds)
        try communicator.freeWindows()
        return ways
    }

    private func timed(floatCount: Int, rounds: Int) throws -> [Way] {
        typealias Floats = UnsafeMutablePointer<Float>
        let first = try topology(nil)
        let cut = GradientBuckets.Sizes(for: first).cut / 4
        let buckets = stride(from: 0, to: floatCount, by: cut).map { $0..<min(floatCount, $0 + cut) }
        let spans = first.spans
        let values = Floats.allocate(capacity: floatCount)
        let sums = Floats.allocate(capacity: floatCount)
        defer {
            values.deallocate()
            sums.deallocate()
        }
        typealias Candidate = (name: String, values: Floats, sums: Floats, run: () throws -> Void)
        var candidates = try transports.map { kind -> Candidate in
            let topology = try topology(kind)
            let butterfly = try Butterfly(
                communicator, topology: topology, buckets: buckets, floatCount: floatCount)
            func run() throws {
                for bucket in buckets.indices.reversed() { try butterfly.start(bucket) }
                for bucket in buckets.indices { try butterfly.wait(bucket) }
            }
            let name = "butterfly, \(kind?.rawValue ?? topology.transports)"
            return (name, butterfly.values, butterfly.values, run)
        }
        func reduce() throws { try communicator.allReduce(values, into: sums, count: floatCount) }
        func reduceAsynchronously() throws {
            try communicator.allReduceAsynchronously(values, into: sums, count: floatCount)
        }
        candidates.append(("MPI_Allreduce", values, sums, reduce))
        candidates.append(("MPI_Iallreduce", values, sums, reduceAsynchronously))
        var ways = candidates.map { Way(name: $0.name, byteCount: floatCount * 4) }
        for round in 0...rounds {
            for (index, way) in candidates.enumerated() {
                for place in 0..<floatCount {
                    way.values[place] = ExchangeBenchmark.value(communicator.rank, place, round)
                }
                try communicator.barrier()
                let seconds = try Benchmark.time { try way.run() }
                let isSame = stride(from: 0, to: floatCount, by: max(1, floatCount / 10_007)).allSatisfy {
                    way.sums[$0].bitPattern == ExchangeBenchmark.tree(spans, $0, round).bitPattern
                }
                let all: [[Double]] = try communicator.gather([seconds, isSame ? 0 : 1])
                guard round > 0 else { continue }
                ways[index].seconds.append(all.map { $0[0] }.max() ?? 0)
                ways[index].differing += Int(all.reduce(0) { $0 + $1[1] })
            }
        }
        return ways
    }

    /// Returns a value of varying magnitude and sign, so that another order of addition gives other bits.
    private static func value(_ rank: Int, _ place: Int, _ round: Int) -> Float {
        var bits = UInt64(rank) << 40 ^ UInt64(round) << 32 ^ UInt64(place)
        bits = (bits ^ bits >> 29) &* 0x9E37_79B9_7F4A_7C15
        bits = (bits ^ bits >> 32) &* 0xD6E8_FEB8_6659_FD93
        return Float(Int32(truncatingIfNeeded: bits)) * (bits >> 63 == 0 ? 1 : 0x1p-20)
    }

    /// Returns the expected sum at `place`: the ranks' values, added in the tree's order.
    private static func tree(_ spans: [MicroBatchSpan], _ place: Int, _ round: Int) -> Float {
        func sum(_ ranks: ArraySlice<Int>) -> Float {
            guard ranks.count > 1, let first = ranks.first, let last = ranks.last else {
                return ranks.first.map { value($0, place, round) } ?? 0
            }
            let middle = (spans[first].first + spans[last].first + spans[last].count) / 2
            let split = ranks.firstIndex { spans[$0].first >= middle } ?? ranks.endIndex
            return sum(ranks[..<split]) + sum(ranks[split...])
        }
        return sum(spans.indices.sorted { spans[$0].first < spans[$1].first }[...])
    }

    /// Says how well an exchange hides behind a device that leaves the host idle.
    public struct StandIn {
        public let policy: String
        /// The bytes of the gradients that a rank exchanges in a step, and of its totals.
        public let gradientBytes: Int
        /// Median seconds of a step: only the device's work, only the exchange, and both.
        public let compute: Double
        public let exchange: Double
        public let step: Double
        /// The share of the exchange by which a step is not longer than its round's compute.
        ///
        /// Noise may bring it above 1 or below 0.
        public let hidden: Double
    }

    /// Runs steps in which each layer's passes are sleeps, and the ranks exchange in between.
    ///
    /// They are synchronous and lazy, with data parallelism and, if there is a layer to split, hybrid.
    ///
    /// - Parameters:
    ///   - plan: describes the network
    ///   - device: the one whose limits decide how gradients are arranged
    ///   - seconds: a step's compute, of which forward takes a third
    ///   - batch: images of a mini-batch, which decide the size of the activations that hybrid ranks exchange
    public func standIn(
        _ plan: NetworkPlan, _ device: DeviceDescription, seconds: Double, steps: Int, batch: Int
    ) throws -> [StandIn] {
        let topology = try topology(nil)
        let microBatches = MicroBatchTree.defaultMicroBatches(ranks: communicator.size)
        func step(hybrid: Bool) throws -> SleepingStep {
            let schedule = HybridSchedule(
                spans: topology.spans, nodes: topology.groups, microBatch: max(1, batch / microBatches))
            return try SleepingStep(
                plan, device, seconds: seconds, communicator, topology, hybrid: hybrid ? schedule : nil)
        }
        let data = try step(hybrid: false)
        let hybrid = plan.hiddenShapes.isEmpty ? nil : try step(hybrid: true)
        defer {
            data.stop()
            hybrid?.stop()
        }
        func time(_ body: () throws -> Void) throws -> Double {
            try communicator.barrier()
            return try communicator.gather([Benchmark.time(body)]).map { $0[0] }.max() ?? 0
        }
        let policies: [(name: String, step: SleepingStep, isLazy: Bool)] =
            [("synchronous", data, false), ("lazy", data, true)]
            + (hybrid.map { [("hybrid", $0, true), ("hybrid, synchronous", $0, false)] } ?? [])
        var rounds: [(compute: Double, exchanges: [Double], steps: [Double])] = []
        for round in 0...steps {
            // In turn, so that a disturbance of the machine affects all of them.
            let compute = try time { try data.run(exchanging: false) }
            let exchanges = try policies.map { policy in
                try time { try policy.step.run(computing: false, isLazy: false) }
            }
            let steps = try policies.map { policy in
                try time { try policy.step.run(isLazy: policy.isLazy) }
            }
            if round > 0 { rounds.append((compute, exchanges, steps)) }
        }
        let compute = Benchmark.median(rounds.map(\.compute))
        return policies.enumerated().map { index, policy in
            let exchange = Benchmark.median(rounds.map { $0.exchanges[index] })
            return StandIn(
                policy: policy.name, gradientBytes: policy.step.gradientBytes,
                compute: compute, exchange: exchange,
                step: Benchmark.median(rounds.map { $0.steps[index] }),
                hidden: 1 - Benchmark.median(rounds.map { $0.steps[index] - $0.compute }) / exchange)
        }
    }
}
