import Basics
import Foundation

/// Sends a block of bytes from every rank to every other one, and waits for those of the others.
///
/// All-gathers, all-to-alls and reduce-scatters of activations consist of such exchanges. The ranks of a node
/// use the topology's transport inside nodes, and others that between nodes. Blocks arrive in two sets of
/// slots in turn: a rank that writes to a set has received this rank's blocks of the exchange before, which
/// this rank sends only when it has used the set.
public final class BlockExchange {
    private struct Peer {
        let transport: any Transport
        /// This rank's index, and the peer's, among the ranks that the transport connects, and their number.
        let own, member, count: Int
    }

    public let rank: Int
    /// The number of ranks.
    public let size: Int
    /// The most bytes of a block.
    public let blockBytes: Int
    private let slot: Int
    private let transports: [any Transport]
    /// By rank; nil for this one.
    private var peers: [Peer?]
    private var number: UInt64 = 0
    private var received: [Int]

    /// The most bytes of a message, whose count MPI takes as 32 bits.
    private static let piece = 1 << 26

    /// Opens the transports; every rank of the job calls it at the same time, with the same arguments.
    ///
    /// - Parameter blockBytes: the most bytes of a block
    public init(_ communicator: any Communicator, topology: Topology, blockBytes: Int) throws {
        rank = communicator.rank
        size = communicator.size
        self.blockBytes = blockBytes
        slot = max(64, blockBytes).roundedUp(to: 64)
        peers = Array(repeating: nil, count: communicator.size)
        received = Array(repeating: 0, count: communicator.size)
        var transports: [any Transport] = []
        for (group, kind) in topology.connections(of: communicator.rank) where group.count > 1 {
            let transport = try communicator.transport(
                kind, group: group, byteCount: 2 * group.count * slot, channels: 2)
            transports.append(transport)
            let own = communicator.member(of: group)
            for (member, peer) in group.enumerated() where peer != rank && peers[peer] == nil {
                peers[peer] = Peer(transport: transport, own: own, member: member, count: group.count)
            }
        }
        self.transports = transports
    }

    /// Returns the bytes that the transports of a rank take in memory.
    public static func byteCount(blockBytes: Int, ranks: Int) -> Int { 2 * ranks * blockBytes }

    private func place(_ member: Int, of peer: Peer, channel: Int) -> Int {
        (channel * peer.count + member) * slot
    }

    /// Sends `outgoing(rank)` to each other rank, and waits for `incoming(rank)` bytes of it.
    ///
    /// Every rank calls it at the same point. The bytes may change afterwards.
    public func exchange(
        outgoing: (Int) -> UnsafeRawBufferPointer, incoming: (Int) -> Int
    ) throws {
        number += 1
        let channel = Int(number % 2)
        // The next ranks first, so that not all send to the same one at once.
        let order = (1..<size).map { (rank + $0) % size }
        for rank in order {
            guard let peer = peers[rank] else { continue }
            received[rank] = incoming(rank)
            precondition(received[rank] <= blockBytes, "a block of \(received[rank]) bytes")
            try pieces(received[rank]) { piece in
                try peer.transport.expect(
                    piece.count, from: peer.member,
                    at: place(peer.member, of: peer, channel: channel) + piece.lowerBound, channel: channel)
            }
        }
        for rank in order {
            guard let peer = peers[rank] else { continue }
            let bytes = outgoing(rank)
            precondition(bytes.count <= blockBytes, "a block of \(bytes.count) bytes")
            try pieces(bytes.count) { piece in
                try peer.transport.write(
                    UnsafeRawBufferPointer(rebasing: bytes[piece]), to: peer.member,
                    at: place(peer.own, of: peer, channel: channel) + piece.lowerBound, channel: channel)
            }
            try peer.transport.signal(peer.member, channel: channel, number: number)
        }
        var backoff = Backoff()
        for rank in order {
            guard let peer = peers[rank] else { continue }
            while try !peer.transport.hasArrived(from: peer.member, channel: channel, number: number) {
                backoff.pause()
            }
            backoff.pause(unless: true)
        }
        for transport in transports {
            while try !transport.isQuiet(channel: channel) { backoff.pause() }
        }
    }

    /// Returns the block of another rank in the last exchange, until the next one but one.
    public func block(from rank: Int) -> UnsafeRawBufferPointer {
        guard let peer = peers[rank] else { return UnsafeRawBufferPointer(start: nil, count: 0) }
        let place = place(peer.member, of: peer, channel: Int(number % 2))
        return UnsafeRawBufferPointer(start: peer.transport.memory + place, count: received[rank])
    }

    private func pieces(_ count: Int, _ body: (Range<Int>) throws -> Void) rethrows {
        for start in stride(from: 0, to: count, by: BlockExchange.piece) {
            try body(start..<min(count, start + BlockExchange.piece))
        }
    }
}
