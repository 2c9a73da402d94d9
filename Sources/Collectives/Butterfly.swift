import Basics
import Foundation

/// All-reduces arrays of all ranks, bucket by bucket ("butterfly synchronisation", section 3.1 of the paper).
///
/// A bucket has one part per rank. Each rank sends every part to the part's owner, which adds them in the
/// order of the micro-batches' tree (reduce-scatter) and sends the sum to all (all-gather). With several
/// nodes this happens inside each node first, and then each part goes the same way between the nodes, from
/// one rank per node. The transport and the order in which buckets are ready change no bit of the result.
///
/// Only `wait` waits. `progress` does one piece of work, of the bucket with the lowest number that has any,
/// so buckets that are needed soon overtake the others. Messages cannot overtake what MPI has already queued
/// in a socket, so at most `credit` buckets at a time are handed to it. They always arrive, because no
/// receive waits for credit: those of the parts are posted when a bucket starts, those of the sums when its
/// parts have left. One thread at a time may use a butterfly.
public final class Butterfly {
    /// Connects the ranks of one level: those of a node, or those of all nodes that own the same part.
    private struct Level {
        let transport: any Transport
        /// This rank's index in the group.
        let member: Int
        /// All other members, the next first, so that not all send to the same one at once.
        let peers: [Int]
        let order: SumOrder
        /// Whether this rank reads the others' values in their memory.
        let readsInPlace: Bool
        /// Whether what is sent waits in a queue that later buckets cannot overtake.
        let needsCredit: Bool
    }

    /// Describes a bucket's floats at one level.
    private struct Share {
        /// The floats that the level adds: the whole bucket, or the part that this rank owns one level below.
        let range: Range<Int>
        /// The floats of a part; the last parts may be shorter, or empty.
        let partSize: Int
        let member: Int
        /// The byte of the block where the members' values of this rank's part arrive.
        let slots: Int
        /// The byte of the block where the sums of `range` arrive: the values' own place at the first level.
        let sums: Int

        var own: Range<Int> { part(member) }
        func slot(_ member: Int) -> Int { slots + member * partSize * 4 }
        func place(ofSum float: Int) -> Int { sums + (float - range.lowerBound) * 4 }

        func part(_ member: Int) -> Range<Int> {
            let start = range.lowerBound + member * partSize
            return (start..<start + partSize).clamped(to: range)
        }
    }

    /// What a bucket does next.
    private enum Phase: Equatable {
        case idle
        /// Send the parts to their owners.
        case send(Int)
        /// Wait until the parts have left, and prepare to receive the sums, which arrive in their place.
        case expect(Int)
        /// Wait for the others' values of this rank's part, and add.
        case add(Int)
        /// Send this rank's part's sum to all.
        case handBack(Int)
        /// Wait for the sums of the other parts.
        case collect(Int)
    }

    private struct Bucket {
        /// Its floats at each level.
        let shares: [Share]
        var phase = Phase.idle
        /// The number of this bucket's exchanges, which numbers its messages.
        var number: UInt64 = 0
    }

    /// The `floatCount` floats to add, at a multiple of 4096 bytes.
    public let values: UnsafeMutablePointer<Float>
    private let levels: [Level]
    private var buckets: [Bucket]
    /// The buckets under way, the most urgent first.
    private var active: [Int] = []
    /// The buckets whose messages may not have left this rank.
    private var sending: [Int] = []
    /// Called when a bucket's all-reduce completes.
    public var done: ((_ bucket: Int) -> Void)?
    /// Called after each piece of work, with its start and end in seconds of `Clock`.
    public var observer: ((_ bucket: Int, _ work: String, _ start: Double, _ end: Double) -> Void)?

    /// The floats to add and to send at a time, which stay in the second-level cache.
    private static let piece = 1 << 16

    /// The most buckets whose messages are under way at a time.
    static let credit = 2

    /// Opens the transports; every rank of the job calls it at the same time, with the same arguments.
    ///
    /// - Parameters:
    ///   - buckets: ranges of floats; the one with the lowest number is the most urgent
    ///   - floatCount: the end of the last bucket
    ///   - topology: for at least two ranks
    public init(
        _ communicator: any Communicator, topology: Topology, buckets ranges: [Range<Int>], floatCount: Int
    ) throws {
        var shares: [[Share]] = ranges.map { _ in [] }
        var levels: [Level] = []
        for (depth, stage) in topology.stages(of: communicator.rank).enumerated() {
            let count = stage.group.count
            let member = communicator.member(of: stage.group)
            // The first level's block contains the values, where their sums arrive. Shared memory is read in
            // place; other levels need slots.
            var offset = depth == 0 ? (floatCount * 4).roundedUp(to: 4096) : 0
            for index in ranges.indices {
                let range = shares[index].last?.own ?? ranges[index]
                let size = range.count.ceilDivided(by: count).roundedUp(to: 16)
                let slots = offset
                if depth > 0 || stage.kind != .shared { offset += size * count * 4 }
                let sums = depth > 0 ? offset : range.lowerBound * 4
                if depth > 0 { offset += size * count * 4 }
                shares[index].append(
                    Share(range: range, partSize: size, member: member, slots: slots, sums: sums))
            }
            let transport = try communicator.transport(
                stage.kind, group: stage.group, byteCount: max(offset, 4096),
                channels: 2 * max(1, ranges.count))
            levels.append(
                Level(
                    transport: transport, member: member, peers: (1..<count).map { (member + $0) % count },
                    order: SumOrder(stage.spans),
                    readsInPlace: depth == 0 && transport.memory(of: member) != nil,
                    needsCredit: stage.kind == .sendrecv))
        }
        guard let first = levels.first else {
            preconditionFailure("a butterfly of one rank has nothing to add")
        }
        self.levels = levels
        buckets = shares.map { Bucket(shares: $0) }
        values = first.transport.memory.bindMemory(to: Float.self, capacity: max(1, floatCount))
        values.update(repeating: 0, count: floatCount)
    }

    // MARK: - Use

    /// Starts a bucket's all-reduce, until whose end this rank's values must not change.
    ///
    /// The ranks may start buckets in different orders.
    public func start(_ bucket: Int) throws {
        if buckets[bucket].shares[0].range.isEmpty {
            done?(bucket)
            return
        }
        if let observer {
            let now = Clock.seconds
            observer(bucket, "posted", now, now)
        }
        buckets[bucket].number += 1
        buckets[bucket].phase = .send(0)
        for depth in levels.indices { try expectParts(bucket, depth) }
        active.insert(bucket, at: active.firstIndex { $0 > bucket } ?? active.endIndex)
    }

    /// Whether no bucket is under way.
    public var isIdle: Bool { active.isEmpty }

    /// Does one piece of work, of the most urgent bucket that has any.
    ///
    /// - Returns: whether there was any work
    @discardableResult public func progress() throws -> Bool {
        for level in levels { try level.transport.poll() }
        if sending.count == Butterfly.credit { sending = try sending.filter { try !haveLeft($0) } }
        for (place, index) in active.enumerated() {
            let began = observer == nil ? 0 : Clock.seconds
            guard let work = try advance(index) else { continue }
            observer?(index, work, began, Clock.seconds)
            if buckets[index].phase == .idle {
                active.remove(at: place)
                sending.removeAll { $0 == index }
                done?(index)
            }
            return true
        }
        return false
    }

    /// Works until a bucket's all-reduce completes.
    public func wait(_ bucket: Int) throws {
        var backoff = Backoff()
        while buckets[bucket].phase != .idle { backoff.pause(unless: try progress()) }
    }

    // MARK: - Work

    private func scatterChannel(_ bucket: Int) -> Int { 2 * bucket }
    private func gatherChannel(_ bucket: Int) -> Int { 2 * bucket + 1 }

    /// Takes a bucket to its next phase.
    ///
    /// - Returns: what was done; nil if the bucket has to wait
    private func advance(_ index: Int) throws -> String? {
        let bucket = buckets[index]
        switch bucket.phase {
        case .idle: return nil
        case .send(let depth):
            guard mayStartSending(index, depth) else { return nil }
            try send(index, depth)
            buckets[index].phase = .expect(depth)
            return "send"
        case .expect(let depth):
            // Before anything that needs credit: the owners' credit waits for these receives.
            guard try levels[depth].transport.isQuiet(channel: scatterChannel(index)) else { return nil }
            try expectSums(index, depth)
            buckets[index].phase = .add(depth)
            return "expect"
        case .add(let depth):
            let peers = bucket.shares[depth].own.isEmpty ? [] : levels[depth].peers
            let isLast = depth + 1 == levels.count
            guard try haveArrived(index, depth, scatterChannel(index), from: peers),
                !isLast || mayStartSending(index, depth)
            else { return nil }
            if !isLast {
                add(bucket.shares[depth], levels[depth]) { _ in }
                buckets[index].phase = .send(depth + 1)
            } else {
                // Sends each piece of the sum while it is in the cache.
                try add(bucket.shares[depth], levels[depth]) { try handBack($0, index, depth) }
                try signalSums(index, depth)
            }
            return "add"
        case .handBack(let depth):
            guard mayStartSending(index, depth) else { return nil }
            try Butterfly.pieces(bucket.shares[depth].own) { try handBack($0, index, depth) }
            try signalSums(index, depth)
            return "hand back"
        case .collect(let depth):
            let owners = levels[depth].peers.filter { !bucket.shares[depth].part($0).isEmpty }
            guard try haveArrived(index, depth, gatherChannel(index), from: owners),
                try levels[depth].transport.isQuiet(channel: gatherChannel(index))
            else { return nil }
            if depth > 0 { copySums(of: owners, bucket.shares[depth], levels[depth]) }
            buckets[index].phase = depth == 0 ? .idle : .handBack(depth - 1)
            return "collect"
        }
    }

    private static func pieces(_ range: Range<Int>, _ body: (Range<Int>) throws -> Void) rethrows {
        for start in stride(from: range.lowerBound, to: range.upperBound, by: piece) {
            try body(start..<min(range.upperBound, start + piece))
        }
    }

    private func bytes(_ floats: Range<Int>) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: values + floats.lowerBound, count: floats.count * 4)
    }

    private func haveArrived(_ index: Int, _ depth: Int, _ channel: Int, from peers: [Int]) throws -> Bool {
        try peers.allSatisfy {
            try levels[depth].transport.hasArrived(from: $0, channel: channel, number: buckets[index].number)
        }
    }

    /// Whether a bucket may send now; if so, it counts as sending until its messages have left.
    private func mayStartSending(_ index: Int, _ depth: Int) -> Bool {
        guard levels[depth].needsCredit, !sending.contains(index) else { return true }
        guard sending.count < Butterfly.credit else { return false }
        sending.append(index)
        return true
    }

    /// Returns whether all messages of a bucket have left this rank.
    private func haveLeft(_ index: Int) throws -> Bool {
        try levels.allSatisfy {
            try !$0.needsCredit
                || $0.transport.isQuiet(channel: scatterChannel(index))
                    && $0.transport.isQuiet(channel: gatherChannel(index))
        }
    }

    /// Prepares to receive the others' values of this rank's part.
    private func expectParts(_ index: Int, _ depth: Int) throws {
        let (level, share) = (levels[depth], buckets[index].shares[depth])
        for peer in level.peers where !share.own.isEmpty && !level.readsInPlace {
            try level.transport.expect(
                share.own.count * 4, from: peer, at: share.slot(peer), channel: scatterChannel(index))
        }
    }

    /// Sends the parts to their owners.
    private func send(_ index: Int, _ depth: Int) throws {
        let (level, share) = (levels[depth], buckets[index].shares[depth])
        let channel = scatterChannel(index)
        for peer in level.peers where !share.part(peer).isEmpty {
            if !level.readsInPlace {
                try level.transport.write(
                    bytes(share.part(peer)), to: peer, at: share.slot(level.member), channel: channel)
            }
            try level.transport.signal(peer, channel: channel, number: buckets[index].number)
        }
    }

    /// Adds this rank's part, piece by piece, and calls `done` after each.
    private func add(_ share: Share, _ level: Level, _ done: (Range<Int>) throws -> Void) rethrows {
        let own = share.own
        let sources = (0...level.peers.count).map { member -> UnsafePointer<Float> in
            if member == level.member { return UnsafePointer(values + own.lowerBound) }
            if level.readsInPlace, let memory = level.transport.memory(of: member) {
                return UnsafePointer(memory.assumingMemoryBound(to: Float.self) + own.lowerBound)
            }
            let slot = level.transport.memory + share.slot(member)
            return UnsafePointer(slot.assumingMemoryBound(to: Float.self))
        }
        try Butterfly.pieces(own) { piece in
            let offset = piece.lowerBound - own.lowerBound
            level.order.add(sources.map { $0 + offset }, count: piece.count, into: values + piece.lowerBound)
            try done(piece)
        }
    }

    /// Sends a piece of the sum of this rank's part to all.
    private func handBack(_ piece: Range<Int>, _ index: Int, _ depth: Int) throws {
        let place = buckets[index].shares[depth].place(ofSum: piece.lowerBound)
        for peer in levels[depth].peers {
            try levels[depth].transport.write(
                bytes(piece), to: peer, at: place, channel: gatherChannel(index))
        }
    }

    /// Ends the messages of `handBack`.
    private func signalSums(_ index: Int, _ depth: Int) throws {
        for peer in levels[depth].peers where !buckets[index].shares[depth].own.isEmpty {
            try levels[depth].transport.signal(
                peer, channel: gatherChannel(index), number: buckets[index].number)
        }
        buckets[index].phase = .collect(depth)
    }

    private func expectSums(_ index: Int, _ depth: Int) throws {
        let share = buckets[index].shares[depth]
        for peer in levels[depth].peers {
            try Butterfly.pieces(share.part(peer)) { piece in
                try levels[depth].transport.expect(
                    piece.count * 4, from: peer, at: share.place(ofSum: piece.lowerBound),
                    channel: gatherChannel(index))
            }
        }
    }

    /// Copies sums that arrived beside the values to their place.
    private func copySums(of owners: [Int], _ share: Share, _ level: Level) {
        for part in owners.map(share.part) {
            let source = level.transport.memory + share.place(ofSum: part.lowerBound)
            (values + part.lowerBound).update(
                from: source.assumingMemoryBound(to: Float.self), count: part.count)
        }
    }
}

/// The machine's monotonic clock.
public enum Clock {
    /// The time in seconds since an arbitrary moment, the same for all processes of the machine.
    public static var seconds: Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
}
