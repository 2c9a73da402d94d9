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
                    try butterfly.start(bucket)
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
        let flat = try Topology(microBatches: 8, nodes: [[0, 1], [2]]).flatReason
        #expect(flat == .unequalNodes(ranks: [2, 1]))
        #expect(
            flat?.description.hasSuffix("because the nodes have different numbers of ranks: 2, 1") == true)
        let five = (0..<5).map { Array(3 * $0..<3 * $0 + 3) }
        let uncut = try Topology(microBatches: 16, nodes: five).flatReason
        #expect(uncut == .indivisible(microBatches: 16, nodes: 5, ranksPerNode: 3))
        let text = "16 micro-batches cannot be divided between 5 nodes of 3 ranks"
        #expect(uncut?.description.hasSuffix(text) == true)
        for nodes in [[[0, 1], [2, 3]], [[0], [1], [2]], [[0, 1, 2]]] {
            #expect(try Topology(microBatches: 8, nodes: nodes).flatReason == nil)
        }
        #expect(try Topology(microBatches: 32, nodes: five).flatReason == nil)
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
            try butterfly.start(0)
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
            try butterfly.start(1)
            try butterfly.start(0)
            try butterfly.progress()
            guard order.first == 0 else { throw CollectiveError("bucket \(order) went first") }
            try butterfly.wait(1)
            try butterfly.wait(0)
            try communicator.barrier()
        }
    }

    /// What MPI has queued in a socket cannot be overtaken, so little is handed to it at a time.
    @Test func atMostTwoBucketsAreHandedToMPIUrgentFirst() throws {
        let communicator = MessageRecorder()
        let topology = try Topology(microBatches: 2, nodes: communicator.nodes, hasWindows: false)
        let buckets = (0..<4).map { $0 * 64..<($0 + 1) * 64 }
        let butterfly = try Butterfly(
            communicator, topology: topology, buckets: buckets, floatCount: 256)
        func work() throws { while try butterfly.progress() {} }
        // Parts travel on even channels, sums on odd ones, two channels a bucket.
        for bucket in [3, 2, 1, 0] {
            try butterfly.start(bucket)
            try work()
        }
        let messages = communicator.messages
        #expect(messages.expected == [6, 4, 2, 0], "all receives are posted at once")
        #expect(messages.written == [6, 4])
        messages.left = [6]
        try work()
        #expect(messages.written == [6, 4, 0], "the most urgent follows, and not the next")
        messages.left = [6, 4, 0]
        try work()
        #expect(messages.written == [6, 4, 0, 2])
        // Sums count too: that of bucket 3 may go beside bucket 1, and bucket 2 has to wait.
        messages.arrived = [6]
        try work()
        messages.arrived = [6, 4]
        try work()
        #expect(messages.written == [6, 4, 0, 2, 7])
        messages.left = [6, 4, 0, 2]
        try work()
        #expect(messages.written == [6, 4, 0, 2, 7, 5])
    }

    /// The ranks' first buckets have no receivers until all have started; a thread's message waits for one.
    @Test(.timeLimit(.minutes(1)), arguments: [nil, 2]) func oppositeOrdersDoNotBlockEachOther(nodeSize: Int?)
        throws
    {
        let buckets = (0..<24).map { $0 * 64..<$0 * 64 + 40 + $0 }
        try ThreadCommunicator.run(4) { communicator in
            let topology = try Topology(
                microBatches: 4, nodes: communicator.nodes, nodeSize: nodeSize, transport: .sendrecv)
            let butterfly = try Butterfly(
                communicator, topology: topology, buckets: buckets, floatCount: 24 * 64)
            for step in 0..<10 {
                for index in 0..<24 * 64 { butterfly.values[index] = Float(communicator.rank + step) }
                var order = Array(buckets.indices)
                if communicator.rank % 2 == step % 2 { order.reverse() }
                for bucket in order {
                    try butterfly.start(bucket)
                    while try butterfly.progress() {}
                }
                for bucket in order { try butterfly.wait(bucket) }
                for index in buckets.joined() where butterfly.values[index] != Float(6 + 4 * step) {
                    throw CollectiveError(
                        "rank \(communicator.rank), step \(step), value \(index): \(butterfly.values[index])")
                }
            }
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

/// Stands for the first of two ranks, whose messages leave and arrive when a test says so.
private final class MessageRecorder: Communicator {
    final class Messages: Transport {
        let memory = UnsafeMutableRawPointer.allocate(byteCount: 1 << 16, alignment: 4096)
        /// The channels of what was expected and written, in order.
        var expected: [Int] = []
        var written: [Int] = []
        /// The channels whose messages have left this rank, and those whose messages have come.
        var left: Set<Int> = []
        var arrived: Set<Int> = []

        deinit { memory.deallocate() }

        func memory(of peer: Int) -> UnsafeMutableRawPointer? { nil }
        func write(_ bytes: UnsafeRawBufferPointer, to peer: Int, at offset: Int, channel: Int) {
            written.append(channel)
        }
        func signal(_ peer: Int, channel: Int, number: UInt64) {}
        func expect(_ byteCount: Int, from peer: Int, at offset: Int, channel: Int) {
            if channel % 2 == 0 { expected.append(channel) }
        }
        func hasArrived(from peer: Int, channel: Int, number: UInt64) -> Bool { arrived.contains(channel) }
        func isQuiet(channel: Int) -> Bool { !written.contains(channel) || left.contains(channel) }
    }

    let rank = 0
    let size = 2
    let nodes = [[0], [1]]
    let messages = Messages()

    func gather(_ bytes: [UInt8]) -> [[UInt8]] { [bytes, bytes] }
    func transport(_ kind: TransportKind, group: [Int], byteCount: Int, channels: Int) -> any Transport {
        messages
    }
}
