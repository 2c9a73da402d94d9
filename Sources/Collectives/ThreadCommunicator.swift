import Basics
import Foundation

/// Runs ranks as threads of one process, for tests that need no MPI.
public final class ThreadCommunicator: Communicator, @unchecked Sendable {
    public let rank: Int
    public let size: Int
    public let nodes: [[Int]]
    private let hub: Hub
    private var gathers = 0
    private var transports = 0

    private init(rank: Int, size: Int, nodes: [[Int]], hub: Hub) {
        self.rank = rank
        self.size = size
        self.hub = hub
        self.nodes = nodes
    }

    /// Runs `body` as each of `size` ranks, on separate threads, and waits for all of them.
    ///
    /// - Parameter nodes: the ranks of each pretended node; nil for one of all
    /// - Throws: the first error, which also ends the ranks that wait for the failed one.
    public static func run(
        _ size: Int, nodes: [[Int]]? = nil,
        _ body: @escaping @Sendable (ThreadCommunicator) throws -> Void
    ) throws {
        let nodes = nodes ?? [Array(0..<size)]
        let hub = Hub(size: size)
        let group = DispatchGroup()
        for rank in 0..<size {
            group.enter()
            do {
                try SystemThread.start("rank", stackSize: 8 << 20) {
                    do { try body(ThreadCommunicator(rank: rank, size: size, nodes: nodes, hub: hub)) } catch
                    {
                        hub.fail(error)
                    }
                    group.leave()
                }
            } catch {
                hub.fail(error)
                group.leave()
            }
        }
        group.wait()
        if let error = hub.failure { throw error }
    }

    public func gather(_ bytes: [UInt8]) throws -> [[UInt8]] {
        gathers += 1
        return try hub.gather(bytes, rank: rank, call: gathers)
    }

    public func transport(_ kind: TransportKind, group: [Int], byteCount: Int, channels: Int) throws
        -> any Transport
    {
        transports += 1
        let member = member(of: group)
        let block = hub.block(transports, group: group, member: member, byteCount: byteCount)
        // All blocks must exist before any rank writes.
        try barrier()
        return ThreadTransport(kind: kind, member: member, block: block, hub: hub)
    }

    /// Holds what the threads share.
    fileprivate final class Hub: @unchecked Sendable {
        private let size: Int
        private let condition = NSCondition()
        private var gathered: [Int: [Int: [UInt8]]] = [:]
        private var blocks: [String: Block] = [:]
        private(set) var failure: (any Error)?

        init(size: Int) { self.size = size }

        func fail(_ error: any Error) {
            condition.withLock {
                if failure == nil { failure = error }
                condition.broadcast()
            }
        }

        /// Throws if another rank has failed, so that a rank does not wait for it.
        func check() throws {
            if condition.withLock({ failure != nil }) {
                throw CollectiveError("another rank failed", kind: .otherRank)
            }
        }

        func gather(_ bytes: [UInt8], rank: Int, call: Int) throws -> [[UInt8]] {
            try condition.withLock {
                gathered[call, default: [:]][rank] = bytes
                condition.broadcast()
                while gathered[call]?.count != size {
                    guard failure == nil else {
                        throw CollectiveError("another rank failed", kind: .otherRank)
                    }
                    condition.wait()
                }
                return (0..<size).map { gathered[call]?[$0] ?? [] }
            }
        }

        func block(_ call: Int, group: [Int], member: Int, byteCount: Int) -> Block {
            condition.withLock {
                let key = "\(call) \(group)"
                let block = blocks[key] ?? Block(members: group.count)
                blocks[key] = block
                block.memory[member] = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 4096)
                return block
            }
        }
    }

    /// Holds a group's memory, and its messages.
    fileprivate final class Block: @unchecked Sendable {
        struct Way: Hashable { let receiver, channel, sender: Int }

        var memory: [UnsafeMutableRawPointer?]
        private let lock = NSLock()
        private var numbers: [Way: UInt64] = [:]
        private var messages: [Way: [[UInt8]]] = [:]

        init(members: Int) { memory = Array(repeating: nil, count: members) }

        deinit { for pointer in memory { pointer?.deallocate() } }

        /// The last message's number; all earlier writes of its sender are visible to its reader.
        subscript(way: Way) -> UInt64 {
            get { lock.withLock { numbers[way] ?? 0 } }
            set { lock.withLock { numbers[way] = newValue } }
        }

        func post(_ bytes: [UInt8], _ way: Way) { lock.withLock { messages[way, default: []].append(bytes) } }

        func take(_ way: Way) -> [UInt8]? {
            lock.withLock { messages[way]?.isEmpty == false ? messages[way]?.removeFirst() : nil }
        }

        /// Whether a sender's messages on a channel wait for their receivers.
        func holds(sender: Int, channel: Int) -> Bool {
            lock.withLock {
                messages.contains {
                    $0.key.sender == sender && $0.key.channel == channel && !$0.value.isEmpty
                }
            }
        }
    }

    private final class ThreadTransport: Transport {
        private let kind: TransportKind
        private let member: Int
        private let block: Block
        private let hub: Hub
        /// The expected pieces.
        private var expected: [Block.Way: [(offset: Int, byteCount: Int)]] = [:]
        let memory: UnsafeMutableRawPointer

        init(kind: TransportKind, member: Int, block: Block, hub: Hub) {
            self.kind = kind
            self.member = member
            self.block = block
            self.hub = hub
            guard let memory = block.memory[member] else {
                preconditionFailure("member \(member) has no memory in its group")
            }
            self.memory = memory
        }

        func memory(of peer: Int) -> UnsafeMutableRawPointer? { kind == .shared ? block.memory[peer] : nil }

        func write(_ bytes: UnsafeRawBufferPointer, to peer: Int, at offset: Int, channel: Int) throws {
            if kind == .sendrecv {
                block.post(Array(bytes), .init(receiver: peer, channel: channel, sender: member))
            } else if let base = bytes.baseAddress {
                block.memory[peer]?.advanced(by: offset).copyMemory(from: base, byteCount: bytes.count)
            }
        }

        func signal(_ peer: Int, channel: Int, number: UInt64) throws {
            if kind != .sendrecv { block[.init(receiver: peer, channel: channel, sender: member)] = number }
        }

        func expect(_ byteCount: Int, from peer: Int, at offset: Int, channel: Int) throws {
            if kind == .sendrecv {
                let way = Block.Way(receiver: member, channel: channel, sender: peer)
                expected[way, default: []].append((offset, byteCount))
            }
        }

        func hasArrived(from peer: Int, channel: Int, number: UInt64) throws -> Bool {
            try hub.check()
            let way = Block.Way(receiver: member, channel: channel, sender: peer)
            guard kind == .sendrecv else { return block[way] >= number }
            try receive()
            return expected[way] == nil
        }

        func isQuiet(channel: Int) throws -> Bool {
            guard kind == .sendrecv else { return true }
            try receive()
            return !block.holds(sender: member, channel: channel)
        }

        /// Takes all messages that are expected; large ones of MPI leave their sender only then.
        private func receive() throws {
            for way in Array(expected.keys) {
                while let next = expected[way]?.first, let bytes = block.take(way) {
                    guard bytes.count == next.byteCount else {
                        throw CollectiveError(
                            "a message of \(bytes.count) bytes where \(next.byteCount) were expected")
                    }
                    bytes.withUnsafeBytes {
                        if let base = $0.baseAddress {
                            (memory + next.offset).copyMemory(from: base, byteCount: $0.count)
                        }
                    }
                    expected[way]?.removeFirst()
                }
                if expected[way]?.isEmpty ?? false { expected[way] = nil }
            }
        }
    }
}
