import Foundation
import Testing

@testable import Collectives

/// Tests with threads as ranks, on one node and on several that are pretended.
@Suite struct BlockExchangeTests {
    /// Ranks, and the ranks of each node.
    private static let jobs: [(ranks: Int, nodes: [[Int]])] = [
        (1, [[0]]), (2, [[0, 1]]), (3, [[0, 1, 2]]), (2, [[0], [1]]), (4, [[0, 1], [2, 3]]),
        (4, [[0, 2], [1, 3]]), (6, [[0, 1, 2], [3, 4, 5]]), (6, [[0, 3], [1, 4], [2, 5]]),
        (8, [[0, 1, 2, 3], [4, 5, 6, 7]]), (8, [[0, 1], [2, 3], [4, 5], [6, 7]]),
        // Nodes of different sizes exchange as one group.
        (3, [[0, 1], [2]]),
    ]

    /// Each transport everywhere, which shared memory is on one machine only, and the usual ones.
    private static let transports = TransportKind.allCases.map(Optional.some) + [nil]

    /// Calls `body` as each rank of each job.
    private static func run(
        _ transport: TransportKind?,
        _ body: @escaping @Sendable (ThreadCommunicator, Topology, BlockExchange) throws -> Void
    ) throws {
        for (ranks, nodes) in jobs where transport != .shared || nodes.count == 1 || isEven(nodes) {
            try ThreadCommunicator.run(ranks) { communicator in
                // With --node-size, nodes of one machine may share memory.
                let topology =
                    transport == .shared && nodes.count > 1
                    ? try Topology(
                        microBatches: 8, nodes: communicator.nodes,
                        nodeSize: nodes[0].count, transport: .shared)
                    : try Topology(microBatches: 8, nodes: nodes, transport: transport)
                let exchange = try BlockExchange(
                    communicator, topology: topology, blockBytes: 200, allToAllBytes: 200)
                try body(communicator, topology, exchange)
                try communicator.barrier()
            }
        }
    }

    private static func isEven(_ nodes: [[Int]]) -> Bool { Set(nodes.map(\.count)).count == 1 }

    /// The bytes from one rank to another in an exchange of that number, some of which are none.
    private static func block(_ sender: Int, _ receiver: Int, _ number: Int) -> [UInt8] {
        let count = (sender * 7 + receiver * 13 + number * 5) % 200
        return (0..<(count < 20 ? 0 : count)).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ sender &+ number) }
    }

    /// Holds bytes where they stay.
    private final class Memory {
        let bytes: UnsafeMutableRawBufferPointer
        init(_ content: [UInt8]) {
            bytes = .allocate(byteCount: content.count, alignment: 64)
            bytes.copyBytes(from: content)
        }
        deinit { bytes.deallocate() }
        var pointer: UnsafeRawBufferPointer { UnsafeRawBufferPointer(bytes) }
    }

    @Test(arguments: transports) func blocksOfAllArrive(_ transport: TransportKind?) throws {
        try BlockExchangeTests.run(transport) { communicator, _, exchange in
            let (rank, ranks) = (communicator.rank, 0..<communicator.size)
            for number in 0..<40 {
                let gathered = Memory(Self.block(rank, 0, number))
                try exchange.allGather(gathered.pointer, sizes: ranks.map { Self.block($0, 0, number).count })
                for peer in ranks where Array(exchange.block(from: peer)) != Self.block(peer, 0, number) {
                    throw CollectiveError("all-gather \(number), block of \(peer)")
                }
                let sent = ranks.map { Memory(Self.block(rank, $0, number)) }
                try exchange.allToAll {
                    sent[$0].pointer
                } size: {
                    Self.block($0, $1, number).count
                }
                for peer in ranks where Array(exchange.block(from: peer)) != Self.block(peer, rank, number) {
                    throw CollectiveError("all-to-all \(number), block of \(peer)")
                }
                withExtendedLifetime((gathered, sent)) {}
            }
        }
    }

    /// A value of any size and sign, so that another order of addition gives other bits.
    private static func value(_ leaf: Int, _ receiver: Int, _ place: Int) -> Float {
        var bits = UInt64(leaf * 64 + receiver) << 32 | UInt64(place)
        for _ in 0..<2 { bits = (bits ^ bits >> 29) &* 0x9E37_79B9_7F4A_7C15 }
        return Float(Int32(truncatingIfNeeded: bits))
            * Float(sign: .plus, exponent: -Int((bits >> 40) % 40), significand: 1)
    }

    private static func tree(_ leaves: Range<Int>, _ value: (Int) -> Float) -> Float {
        guard leaves.count > 1 else { return value(leaves.lowerBound) }
        let middle = leaves.lowerBound + leaves.count / 2
        return tree(leaves.lowerBound..<middle, value) + tree(middle..<leaves.upperBound, value)
    }

    /// Sums have the tree's bits, also where some ranks have no part of it or receive nothing.
    @Test(arguments: transports) func sumsHaveTheTreesBits(_ transport: TransportKind?) throws {
        try BlockExchangeTests.run(transport) { communicator, topology, exchange in
            let rank = communicator.rank
            for leaves in [1, 2, 4, 8, 64] {
                let parts = MicroBatchTree.parts(leaves: leaves, nodes: topology.groups)
                let reduction = exchange.reduction(parts)
                func count(_ receiver: Int) -> Int { receiver == 1 ? 0 : 50 - receiver }
                let own = Memory(Array(repeating: 0, count: 4 * 50 * communicator.size))
                let floats = own.bytes.bindMemory(to: Float.self)
                for receiver in 0..<communicator.size where !parts[rank].isEmpty {
                    for place in 0..<count(receiver) {
                        floats[50 * receiver + place] = Self.tree(parts[rank]) {
                            Self.value($0, receiver, place)
                        }
                    }
                }
                var sums = [Float](repeating: -1, count: 50)
                guard let base = floats.baseAddress else { continue }
                try sums.withUnsafeMutableBufferPointer { target in
                    guard let target = target.baseAddress else { return }
                    try exchange.reduceScatter(
                        reduction, { UnsafePointer(base + 50 * $0) }, count: count, into: target)
                }
                for place in 0..<count(rank)
                where sums[place].bitPattern
                    != Self.tree(0..<leaves, { Self.value($0, rank, place) }).bitPattern
                {
                    throw CollectiveError("\(leaves) leaves on \(topology.groups), rank \(rank), \(place)")
                }
                guard sums[count(rank)...].allSatisfy({ $0 == -1 }) else {
                    throw CollectiveError("rank \(rank) wrote behind its sums")
                }
            }
        }
    }

    /// What several ranks of a node need or add to crosses between nodes once.
    @Test func nodesExchangeOneStream() throws {
        let nodes = [[0, 1, 2, 3], [4, 5, 6, 7]]
        try ThreadCommunicator.run(8) { communicator in
            let counter = CountingCommunicator(communicator, node: nodes[communicator.rank / 4])
            let topology = try Topology(microBatches: 8, nodes: nodes)
            let exchange = try BlockExchange(
                counter, topology: topology, blockBytes: 400, allToAllBytes: 400)
            /// Checks the messages and the bytes that this rank has sent out of its node since the last call.
            func expect(_ messages: Int, _ bytes: Int, _ name: String) throws {
                guard counter.messages == messages, counter.bytes == bytes else {
                    throw CollectiveError("\(name): \(counter.messages) messages, \(counter.bytes) bytes")
                }
                (counter.messages, counter.bytes) = (0, 0)
            }
            let memory = Memory(Array(repeating: 0, count: 400))
            let sums = UnsafeMutablePointer<Float>.allocate(capacity: 100)
            defer { sums.deallocate() }
            try exchange.allGather(memory.pointer, sizes: Array(repeating: 400, count: 8))
            try expect(1, 400, "all-gather")
            try exchange.allToAll { _ in
                memory.pointer
            } size: { _, _ in
                400
            }
            try expect(1, 1600, "all-to-all")
            let floats = UnsafePointer(memory.bytes.bindMemory(to: Float.self).baseAddress ?? sums)
            try exchange.reduceScatter(
                exchange.reduction(MicroBatchTree.parts(leaves: 8, nodes: nodes)), { _ in floats },
                count: { _ in 100 }, into: sums)
            try expect(1, 400, "reduce-scatter")
            try communicator.barrier()
        }
    }

    /// Counts what leaves a rank's node.
    private final class CountingCommunicator: Communicator {
        private let communicator: ThreadCommunicator
        fileprivate let outside: Set<Int>
        var messages = 0
        var bytes = 0
        var rank: Int { communicator.rank }
        var size: Int { communicator.size }
        var nodes: [[Int]] { communicator.nodes }

        init(_ communicator: ThreadCommunicator, node: [Int]) {
            self.communicator = communicator
            outside = Set(0..<communicator.size).subtracting(node)
        }

        func gather(_ bytes: [UInt8]) throws -> [[UInt8]] { try communicator.gather(bytes) }

        func transport(_ kind: TransportKind, group: [Int], byteCount: Int, channels: Int) throws
            -> any Transport
        {
            CountingTransport(
                try communicator.transport(kind, group: group, byteCount: byteCount, channels: channels),
                group: group, counter: self)
        }
    }

    private final class CountingTransport: Transport {
        private let transport: any Transport
        private let group: [Int]
        private let counter: CountingCommunicator

        init(_ transport: any Transport, group: [Int], counter: CountingCommunicator) {
            (self.transport, self.group, self.counter) = (transport, group, counter)
        }

        var memory: UnsafeMutableRawPointer { transport.memory }
        func memory(of peer: Int) -> UnsafeMutableRawPointer? { transport.memory(of: peer) }

        func write(_ bytes: UnsafeRawBufferPointer, to peer: Int, at offset: Int, channel: Int) throws {
            if counter.outside.contains(group[peer]) { counter.bytes += bytes.count }
            try transport.write(bytes, to: peer, at: offset, channel: channel)
        }

        func signal(_ peer: Int, channel: Int, number: UInt64) throws {
            if counter.outside.contains(group[peer]) { counter.messages += 1 }
            try transport.signal(peer, channel: channel, number: number)
        }

        func expect(_ byteCount: Int, from peer: Int, at offset: Int, channel: Int) throws {
            try transport.expect(byteCount, from: peer, at: offset, channel: channel)
        }

        func hasArrived(from peer: Int, channel: Int, number: UInt64) throws -> Bool {
            try transport.hasArrived(from: peer, channel: channel, number: number)
        }

        func isQuiet(channel: Int) throws -> Bool { try transport.isQuiet(channel: channel) }
    }

    @Test func partsAreSubtreesOfRanksAndNodes() {
        func isSubtree(_ leaves: Range<Int>) -> Bool {
            leaves.isEmpty || leaves.count & (leaves.count - 1) == 0 && leaves.lowerBound % leaves.count == 0
        }
        for leaves in [1, 2, 4, 8, 64] {
            for (count, size) in (1...9).flatMap({ count in (1...4).map { (count, $0) } }) {
                // Ranks are dealt out to the nodes in turn.
                let nodes = (0..<count).map { node in (0..<size).map { node + $0 * count } }
                let parts = MicroBatchTree.parts(leaves: leaves, nodes: nodes)
                #expect(parts.allSatisfy(isSubtree))
                #expect(nodes.joined().flatMap { Array(parts[$0]) } == Array(0..<leaves))
                for node in nodes {
                    let held = node.map { parts[$0] }.filter { !$0.isEmpty }
                    #expect(isSubtree((held.first?.lowerBound ?? 0)..<(held.last?.upperBound ?? 0)))
                }
                // As many ranks as possible hold something, on as many nodes as possible.
                #expect(nodes.count(where: { !parts[$0[0]].isEmpty }) == min(leaves, count))
            }
        }
    }
}
