import Testing

@testable import Collectives

/// Tests with threads as ranks; `MPITests` does the same through mpirun.
@Suite struct ButterflyTests {
    /// A value of any size and sign, so that another order of addition gives other bits.
    private static func value(_ microBatch: Int, _ index: Int, _ step: Int) -> Float {
        var bits = UInt64(step * 8 + microBatch) << 32 | UInt64(index)
        for _ in 0..<2 { bits = (bits ^ bits >> 29) &* 0x9E37_79B9_7F4A_7C15 }
        return Float(Int32(truncatingIfNeeded: bits))
            * Float(sign: .plus, exponent: -Int((bits >> 40) % 40), significand: 1)
    }

    private static func tree(_ first: Int, _ count: Int, _ body: (Int) -> Float) -> Float {
        count == 1 ? body(first) : tree(first, count / 2, body) + tree(first + count / 2, count / 2, body)
    }

    /// Compares every bit of some exchanges with the tree; the order of buckets differs from rank to rank.
    private static func check(
        ranks: Int, microBatches: Int, nodeSize: Int?, nodes: [[Int]]? = nil,
        transport: TransportKind, buckets: [Range<Int>], steps: Int = 3
    ) throws {
        try ThreadCommunicator.run(ranks) { communicator in
            let topology = try Topology(
                microBatches: microBatches, nodes: nodes ?? communicator.nodes,
                nodeSize: nodeSize, transport: transport)
            let floats = buckets.map(\.upperBound).max() ?? 0
            let butterfly = try Butterfly(
                communicator, topology: topology, buckets: buckets, floatCount: floats)
            let span = topology.spans[communicator.rank]
            for step in 0..<steps {
                for index in 0..<floats {
                    butterfly.values[index] = tree(span.first, span.count) { value($0, index, step) }
                }
                let order = (0..<buckets.count).map { ($0 + communicator.rank + step) % buckets.count }
                for bucket in order {
                    butterfly.start(bucket)
                    if bucket % 2 == communicator.rank % 2 { try butterfly.progress() }
                }
                for bucket in order.reversed() { try butterfly.wait(bucket) }
                for range in buckets {
                    for index in range
                    where butterfly.values[index].bitPattern
                        != tree(0, microBatches, { value($0, index, step) }).bitPattern
                    {
                        throw CollectiveError(
                            "\(ranks) ranks, \(microBatches) micro-batches, nodes \(nodeSize ?? 0), "
                                + "\(transport), step \(step), rank \(communicator.rank), value \(index): "
                                + "\(butterfly.values[index])")
                    }
                }
            }
            // The blocks must exist until all ranks have read them.
            try communicator.barrier()
        }
    }

    @Test(arguments: TransportKind.allCases) func sumsHaveTheTreesBits(_ transport: TransportKind) throws {
        // Empty, three floats, odd, not divisible by the ranks, longer than a piece.
        let buckets = [0..<3, 3..<3, 16..<17, 32..<1031, 1040..<(1040 + (1 << 16) + 77)]
        for (ranks, nodeSize) in [
            (2, nil), (3, nil), (4, nil), (8, nil), (4, 2), (8, 2), (8, 4), (6, 3), (4, 1),
        ] as [(Int, Int?)] {
            try ButterflyTests.check(
                ranks: ranks, microBatches: 8, nodeSize: nodeSize,
                transport: transport, buckets: buckets, steps: 2)
        }
    }

    /// Launchers may deal ranks out to the nodes in turn.
    @Test func nodesOfRanksThatAreNoNeighbours() throws {
        let nodes = [[0, 2, 4], [1, 3, 5]]
        let topology = try Topology(microBatches: 8, nodes: nodes)
        #expect(topology.description == "6 ranks in 2 nodes, shared inside and onesided between")
        #expect(topology.stages(of: 3).map(\.group) == [[1, 3, 5], [2, 3]])
        for transport in [TransportKind.onesided, .sendrecv] {
            try ButterflyTests.check(
                ranks: 6, microBatches: 8, nodeSize: nil, nodes: nodes, transport: transport,
                buckets: [0..<3, 16..<1031])
        }
        // Nodes of different sizes have no counterparts in each other.
        #expect(try Topology(microBatches: 8, nodes: [[0, 1], [2]]).description == "3 ranks over onesided")
    }

    @Test(arguments: TransportKind.allCases) func manySmallExchangesInARow(_ transport: TransportKind) throws
    {
        try ButterflyTests.check(
            ranks: 3, microBatches: 4, nodeSize: nil,
            transport: transport, buckets: [0..<5, 16..<40], steps: 200)
    }

    /// Adds half as much again as VGG's first fully connected layer, so that bytes are beyond 2³¹.
    @Test func addsAParameterOf154MillionFloats() throws {
        let count = 154_140_672
        try ThreadCommunicator.run(2) { communicator in
            let topology = try Topology(microBatches: 2, nodes: communicator.nodes, transport: .onesided)
            let butterfly = try Butterfly(
                communicator, topology: topology, buckets: [0..<count], floatCount: count)
            let own = communicator.rank == 0 ? Float(0.5) : Float(2)
            for index in 0..<count { butterfly.values[index] = own * Float(index % 1021) }
            butterfly.start(0)
            try butterfly.wait(0)
            for index in 0..<count where butterfly.values[index] != 2.5 * Float(index % 1021) {
                throw CollectiveError("rank \(communicator.rank), value \(index): \(butterfly.values[index])")
            }
            try communicator.barrier()
        }
    }

    @Test func urgentBucketsOvertake() throws {
        try ThreadCommunicator.run(2) { communicator in
            let topology = try Topology(microBatches: 2, nodes: communicator.nodes, transport: .onesided)
            let butterfly = try Butterfly(
                communicator, topology: topology, buckets: [0..<16, 16..<64], floatCount: 64)
            var order: [Int] = []
            butterfly.observer = { bucket, work, _, _ in if work != "posted" { order.append(bucket) } }
            butterfly.start(1)
            butterfly.start(0)
            try butterfly.progress()
            guard order.first == 0 else { throw CollectiveError("bucket \(order) went first") }
            try butterfly.wait(1)
            try butterfly.wait(0)
            try communicator.barrier()
        }
    }

    @Test func aRankThatFailsEndsTheOthers() {
        #expect(throws: CollectiveError("on purpose")) {
            try ThreadCommunicator.run(3) { communicator in
                if communicator.rank == 1 { throw CollectiveError("on purpose") }
                _ = try communicator.gather([1])
            }
        }
    }

    @Test func saysWhatCannotBeCut() {
        func kind(_ topology: @autoclosure () throws -> Topology) -> TopologyError.Kind? {
            #expect(throws: TopologyError.self) { try topology() }?.kind
        }
        #expect(kind(try Topology(microBatches: 2, nodes: [[0, 1, 2]])) == .microBatches)
        #expect(kind(try Topology(microBatches: 4, nodes: [[0, 1, 2]], nodeSize: 2)) == .nodeSize)
        #expect(
            kind(try Topology(microBatches: 4, nodes: [[0, 1], [2, 3]], transport: .shared)) == .transport)
    }
}
