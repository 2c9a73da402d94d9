import Basics
import Foundation

/// Exchanges blocks between all ranks, and waits for those of the others: all-gather, all-to-all and
/// reduce-scatter.
///
/// With several nodes of equal size each of them has two stages, like `Butterfly`: one inside the node, and
/// one with the ranks of the same place in the other nodes. So what several ranks of a node need (all-gather)
/// or add to (reduce-scatter) crosses the network once, and a rank sends one message to each other node.
public final class BlockExchange {
    /// Connects the ranks of one stage.
    ///
    /// Blocks arrive in two sets of slots in turn: a rank that writes to a set has received this rank's
    /// blocks of the exchange before, which this rank sends only when it has used the set.
    private final class Level {
        /// The ranks, of which this one is `own`.
        let group: [Int]
        let own: Int
        let slot: Int
        private let transport: any Transport
        private var number: UInt64 = 0
        /// The bytes of the blocks that came last, by member.
        private var received: [[Int]]

        /// The most bytes of a message, whose count MPI takes as 32 bits.
        private static let piece = 1 << 26

        init(_ communicator: any Communicator, _ stage: Topology.Stage, slotBytes: Int) throws {
            group = stage.group
            own = communicator.member(of: group)
            slot = max(64, slotBytes).roundedUp(to: 64)
            received = Array(repeating: [], count: group.count)
            transport = try communicator.transport(
                stage.kind, group: group, byteCount: 2 * group.count * slot, channels: 2)
        }

        private func place(_ member: Int) -> Int { (Int(number % 2) * group.count + member) * slot }

        /// Sends blocks to each other member, and waits for as many bytes of each as `incoming` says.
        ///
        /// Every member calls it at the same point. The blocks may change afterwards.
        func exchange(
            outgoing: (Int) -> [UnsafeRawBufferPointer], incoming: (Int) -> [Int]
        ) throws {
            number += 1
            let channel = Int(number % 2)
            // The next members first, so that not all send to the same one at once.
            let order = (1..<group.count).map { (own + $0) % group.count }
            for member in order {
                received[member] = incoming(member)
                try pieces(received[member]) { _, piece, offset in
                    try transport.expect(
                        piece.count, from: member, at: place(member) + offset, channel: channel)
                }
            }
            for member in order {
                let blocks = outgoing(member)
                try pieces(blocks.map(\.count)) { block, piece, offset in
                    try transport.write(
                        UnsafeRawBufferPointer(rebasing: blocks[block][piece]), to: member,
                        at: place(own) + offset, channel: channel)
                }
                try transport.signal(member, channel: channel, number: number)
            }
            var backoff = Backoff()
            for member in order {
                while try !transport.hasArrived(from: member, channel: channel, number: number) {
                    backoff.pause()
                    try transport.poll()
                }
                backoff.pause(unless: true)
            }
            while try !transport.isQuiet(channel: channel) {
                backoff.pause()
                try transport.poll()
            }
        }

        /// Returns a block of the last exchange, which stays until the next one but one.
        func block(_ index: Int, from member: Int) -> UnsafeRawBufferPointer {
            let start = place(member) + received[member][..<index].reduce(0, +)
            return UnsafeRawBufferPointer(start: transport.memory + start, count: received[member][index])
        }

        /// Calls `body` with the pieces of blocks that follow each other in a slot, and their places there.
        private func pieces(
            _ sizes: [Int], _ body: (_ block: Int, _ piece: Range<Int>, _ offset: Int) throws -> Void
        ) throws {
            var start = 0
            for (block, size) in sizes.enumerated() {
                for first in stride(from: 0, to: size, by: Level.piece) {
                    let end = min(size, first + Level.piece)
                    precondition(start + end <= slot, "blocks of \(sizes) bytes in a slot of \(slot)")
                    try body(block, first..<end, start + first)
                }
                start += size
            }
        }
    }

    /// Says which ranks have partial sums, and in which order they are added.
    public struct Reduction {
        /// The members of this rank's node that have some, in the tree's order.
        fileprivate let members: [Int]
        /// The nodes that have some.
        fileprivate let nodes: [Int]
        fileprivate let insideOrder, betweenOrder: SumOrder
    }

    /// The most bytes of a block.
    public let blockBytes: Int
    private let rank: Int
    private let nodes: [[Int]]
    /// This rank's node, and its place there.
    private let node, place: Int
    /// Nil if a node has one rank, and if there is one node.
    private let inside, between: Level?
    /// The block of each rank in the last exchange.
    private var blocks: [UnsafeRawBufferPointer]
    /// What goes to the other nodes as one: the blocks or the sums of this node's ranks, by node.
    private let bundles: UnsafeMutableRawBufferPointer

    /// Opens the transports; every rank of the job calls it at the same time, with the same arguments.
    ///
    /// - Parameters:
    ///   - blockBytes: the most bytes of a block, and of a sum
    ///   - allToAllBytes: the most bytes of a block of an all-to-all in which all ranks take part
    public init(
        _ communicator: any Communicator, topology: Topology, blockBytes: Int, allToAllBytes: Int
    ) throws {
        rank = communicator.rank
        self.blockBytes = blockBytes
        let nodes = topology.groups
        self.nodes = nodes
        let node = nodes.firstIndex { $0.contains(communicator.rank) } ?? 0
        self.node = node
        place = nodes[node].firstIndex(of: communicator.rank) ?? 0
        blocks = Array(
            repeating: UnsafeRawBufferPointer(start: nil, count: 0), count: communicator.size)
        var levels: [Bool: Level] = [:]
        for stage in topology.stages(of: communicator.rank) {
            let isInside = stage.group == nodes[node]
            levels[isInside] = try Level(
                communicator, stage,
                slotBytes: isInside
                    ? nodes.count * blockBytes : max(blockBytes, nodes[node].count * allToAllBytes))
        }
        (inside, between) = (levels[true], levels[false])
        bundles = .allocate(
            byteCount: levels.count == 2 ? nodes.count * (levels[false]?.slot ?? 0) : 0, alignment: 64)
    }

    deinit { bundles.deallocate() }

    /// Returns the ranks of a place in all nodes.
    private func column(_ place: Int) -> [Int] { nodes.map { $0[place] } }

    /// Returns a rank's block in the last all-gather or all-to-all, until the next exchange.
    public func block(from rank: Int) -> UnsafeRawBufferPointer { blocks[rank] }

    /// Gives each rank the blocks of all.
    ///
    /// Every rank calls it at the same point. Between nodes first, and then inside them.
    ///
    /// - Parameters:
    ///   - block: this rank's, which must not change until the blocks have been used
    ///   - sizes: the bytes of each rank's block
    public func allGather(_ block: UnsafeRawBufferPointer, sizes: [Int]) throws {
        blocks[rank] = block
        if let between {
            try between.exchange(
                outgoing: { _ in [block] }, incoming: { [sizes[between.group[$0]]] })
            for (member, rank) in between.group.enumerated() where member != between.own {
                blocks[rank] = between.block(0, from: member)
            }
        }
        guard let inside else { return }
        let own = column(place).map { blocks[$0] }
        try inside.exchange(outgoing: { _ in own }, incoming: { column($0).map { sizes[$0] } })
        for member in inside.group.indices where member != inside.own {
            for (index, rank) in column(member).enumerated() {
                blocks[rank] = inside.block(index, from: member)
            }
        }
    }

    /// Gives each rank a block of each other one.
    ///
    /// Every rank calls it at the same point. Inside the nodes first: each rank gets what its node sends to
    /// the ranks of its place.
    ///
    /// - Parameters:
    ///   - outgoing: this rank's block for another one, or for itself
    ///   - size: the bytes of the block from one rank to another
    public func allToAll(
        _ outgoing: (Int) -> UnsafeRawBufferPointer, size: (_ sender: Int, _ receiver: Int) -> Int
    ) throws {
        blocks[rank] = outgoing(rank)
        let receivers = column(place)
        if let inside {
            try inside.exchange(
                outgoing: { column($0).map(outgoing) },
                incoming: { member in receivers.map { size(inside.group[member], $0) } })
            for (member, rank) in inside.group.enumerated() where member != inside.own {
                blocks[rank] = inside.block(node, from: member)
            }
        }
        guard let between else { return }
        try between.exchange(
            outgoing: { node in
                guard let inside else { return [outgoing(receivers[node])] }
                let parts = inside.group.indices.map {
                    $0 == inside.own ? outgoing(receivers[node]) : inside.block(node, from: $0)
                }
                var end = node * between.slot
                for part in parts where !part.isEmpty {
                    UnsafeMutableRawBufferPointer(rebasing: bundles[end..<end + part.count]).copyMemory(
                        from: part)
                    end += part.count
                }
                return [UnsafeRawBufferPointer(rebasing: bundles[node * between.slot..<end])]
            }, incoming: { node in [nodes[node].reduce(0) { $0 + size($1, rank) }] })
        for (other, ranks) in nodes.enumerated() where other != node {
            var start = 0
            for sender in ranks {
                let end = start + size(sender, rank)
                blocks[sender] = UnsafeRawBufferPointer(
                    rebasing: between.block(0, from: other)[start..<end])
                start = end
            }
        }
    }

    /// Returns the order in which partial sums are added.
    ///
    /// - Parameter parts: the leaves of the tree that each rank has added up, as `MicroBatchTree.parts`
    ///   returns for the topology's groups
    public func reduction(_ parts: [Range<Int>]) -> Reduction {
        func span(_ leaves: [Range<Int>]) -> MicroBatchSpan {
            let first = leaves.map(\.lowerBound).min() ?? 0
            return MicroBatchSpan(first: first, count: leaves.reduce(0) { $0 + $1.count })
        }
        let held = nodes.map { ranks in ranks.map { parts[$0] }.filter { !$0.isEmpty } }
        let members = nodes[node].indices.filter { !parts[nodes[node][$0]].isEmpty }
        let others = nodes.indices.filter { !held[$0].isEmpty }
        return Reduction(
            members: members, nodes: others, insideOrder: SumOrder(held[node].map { span([$0]) }),
            betweenOrder: SumOrder(others.map { span(held[$0]) }))
    }

    /// Adds the ranks' partial sums, each rank those that it receives.
    ///
    /// Every rank calls it at the same point. Inside the nodes first.
    ///
    /// - Parameters:
    ///   - outgoing: this rank's partial sums for a rank, which is not asked for if it has none
    ///   - count: the floats that a rank receives
    ///   - target: room for this rank's
    public func reduceScatter(
        _ reduction: Reduction, _ outgoing: (Int) -> UnsafePointer<Float>, count: (Int) -> Int,
        into target: UnsafeMutablePointer<Float>
    ) throws {
        let receivers = column(place)
        let isHolder = reduction.members.contains(place)
        func bytes(_ receiver: Int) -> UnsafeRawBufferPointer {
            UnsafeRawBufferPointer(start: outgoing(receiver), count: 4 * count(receiver))
        }
        try inside?.exchange(
            outgoing: { isHolder ? column($0).map(bytes) : [] },
            incoming: { reduction.members.contains($0) ? receivers.map { 4 * count($0) } : [] })
        /// Returns this node's sums for a node's rank of this place; if need be, adds them up in a bundle.
        func sum(_ node: Int) -> UnsafePointer<Float> {
            let sources = reduction.members.map { member in
                member == place
                    ? outgoing(receivers[node]) : (inside?.block(node, from: member)).floats
            }
            if sources.count == 1 { return sources[0] }
            var sum = target
            if let between, let base = bundles.baseAddress {
                sum = (base + node * between.slot).assumingMemoryBound(to: Float.self)
            }
            reduction.insideOrder.add(sources, count: count(receivers[node]), into: sum)
            return UnsafePointer(sum)
        }
        let isAdding = !reduction.members.isEmpty
        guard let between else {
            guard isAdding, count(rank) > 0 else { return }
            let sums = sum(node)
            if sums != UnsafePointer(target) { target.update(from: sums, count: count(rank)) }
            return
        }
        try between.exchange(
            outgoing: { node in
                let count = count(receivers[node])
                return isAdding && count > 0
                    ? [UnsafeRawBufferPointer(start: sum(node), count: 4 * count)] : []
            }, incoming: { reduction.nodes.contains($0) && count(rank) > 0 ? [4 * count(rank)] : [] })
        guard count(rank) > 0 else { return }
        reduction.betweenOrder.add(
            reduction.nodes.map { $0 == node ? sum(node) : Optional(between.block(0, from: $0)).floats },
            count: count(rank), into: target)
    }
}

extension UnsafeRawBufferPointer? {
    /// The bytes of a block that has arrived, as floats.
    fileprivate var floats: UnsafePointer<Float> {
        guard let base = self?.baseAddress else { preconditionFailure("an empty block") }
        return base.assumingMemoryBound(to: Float.self)
    }
}
