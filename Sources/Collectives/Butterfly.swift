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
/// so buckets that are needed soon overtake the others. One thread at a time may use a butterfly.
public final class Butterfly {
    /// Connects the ranks of one level: all ranks of a node, or the ranks of all nodes that own the same
    /// part.
    struct Level {
        let transport: any Transport
        /// This rank's index in the group.
        let member: Int
        let count: Int
        let order: SumOrder
    }

    /// What a bucket does next.
    private enum Phase: Equatable {
        case idle
        /// Send the parts to their owners.
        case send(Int)
        /// Wait for the others' values of this rank's part, and add.
        case add(Int)
        /// Send this rank's part's sum to all.
        case handBack(Int)
        /// Wait for the sums of the other parts.
        case collect(Int, expecting: Bool)
    }

    private struct Bucket {
        /// The floats that each level adds: the whole bucket, then the part that this rank owns after the
        /// level before.
        var ranges: [Range<Int>] = []
        /// The floats of a part at each level. The last parts may be shorter, or empty.
        var partSizes: [Int] = []
        /// The byte in each level's block where the others' values of this rank's part arrive, one part per
        /// member.
        var slots: [Int] = []
        /// The byte in each level's block where sums arrive that are copied to their place later.
        var landings: [Int] = []
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
    /// Called when a bucket's all-reduce completes.
    public var done: ((_ bucket: Int) -> Void)?
    /// Called after each piece of work, with its start and end in seconds of `Clock`.
    public var observer: ((_ bucket: Int, _ work: String, _ start: Double, _ end: Double) -> Void)?

    /// The floats to add and to send at a time, which stay in the second-level cache.
    private static let piece = 1 << 16

    /// Opens the transports; every rank of the job calls it at the same time, with the same arguments.
    ///
    /// - Parameters:
    ///   - buckets: ranges of floats; the one with the lowest number is the most urgent
    ///   - floatCount: the end of the last bucket
    ///   - topology: for at least two ranks
    public init(
        _ communicator: any Communicator, topology: Topology, buckets ranges: [Range<Int>], floatCount: Int
    ) throws {
        var buckets = ranges.map { range in
            var bucket = Bucket()
            bucket.ranges = [range]
            return bucket
        }
        var levels: [Level] = []
        for (depth, stage) in topology.stages(of: communicator.rank).enumerated() {
            let count = stage.group.count
            guard let member = stage.group.firstIndex(of: communicator.rank) else {
                preconditionFailure("rank \(communicator.rank) is not in its own group \(stage.group)")
            }
            // The first level's block contains the values. Shared memory is read in place; other levels need
            // slots.
            var offset = depth == 0 ? (floatCount * 4).roundedUp(to: 4096) : 0
            for index in buckets.indices {
                let range = buckets[index].ranges[depth]
                let size = range.count.ceilDivided(by: count).roundedUp(to: 16)
                buckets[index].partSizes.append(size)
                buckets[index].slots.append(offset)
                if depth > 0 || stage.kind != .shared { offset += size * count * 4 }
                buckets[index].landings.append(offset)
                if depth > 0 { offset += size * count * 4 }
                buckets[index].ranges.append(Butterfly.part(member, of: range, size: size))
            }
            let transport = try communicator.transport(
                stage.kind, group: stage.group, byteCount: max(offset, 4096),
                channels: 2 * max(1, buckets.count))
            levels.append(
                Level(transport: transport, member: member, count: count, order: SumOrder(stage.spans)))
        }
        guard let first = levels.first else {
            preconditionFailure("a butterfly of one rank has nothing to add")
        }
        self.levels = levels
        self.buckets = buckets
        values = first.transport.memory.bindMemory(to: Float.self, capacity: max(1, floatCount))
        values.update(repeating: 0, count: floatCount)
    }

    /// Returns the floats of member `index`'s part.
    private static func part(_ index: Int, of range: Range<Int>, size: Int) -> Range<Int> {
        min(
            range.upperBound, range.lowerBound + index * size)..<min(
                range.upperBound, range.lowerBound + (index + 1) * size)
    }

    // MARK: - Use

    /// Starts a bucket's all-reduce. This rank's values must be in their place, and not change until it
    /// completes.
    public func start(_ bucket: Int) {
        guard !buckets[bucket].ranges[0].isEmpty else {
            done?(bucket)
            return
        }
        if let observer {
            let now = Clock.seconds
            observer(bucket, "posted", now, now)
        }
        buckets[bucket].number += 1
        buckets[bucket].phase = .send(0)
        let place = active.firstIndex { $0 > bucket } ?? active.endIndex
        active.insert(bucket, at: place)
    }

    /// Returns whether the sums of a started bucket are in their place.
    func isDone(_ bucket: Int) -> Bool { buckets[bucket].phase == .idle }

    /// Whether no bucket is under way.
    public var isIdle: Bool { active.isEmpty }

    /// Does one piece of work, of the most urgent bucket that has any.
    ///
    /// - Returns: whether there was any work
    @discardableResult public func progress() throws -> Bool {
        for (place, index) in active.enumerated() {
            let began = observer == nil ? 0 : Clock.seconds
            guard let work = try advance(index) else { continue }
            observer?(index, work, began, Clock.seconds)
            if buckets[index].phase == .idle {
                active.remove(at: place)
                done?(index)
            }
            return true
        }
        return false
    }

    /// Works until a bucket's all-reduce completes.
    public func wait(_ bucket: Int) throws {
        var backoff = Backoff()
        while !isDone(bucket) { if try progress() { backoff = Backoff() } else { backoff.pause() } }
    }

    // MARK: - Work

    private func scatterChannel(_ bucket: Int) -> Int { 2 * bucket }
    private func gatherChannel(_ bucket: Int) -> Int { 2 * bucket + 1 }

    /// Takes a bucket to its next phase.
    ///
    /// - Returns: what was done; nil if the bucket has to wait
    private func advance(_ index: Int) throws -> String? {
        switch buckets[index].phase {
        case .idle: return nil
        case .send(let depth):
            try send(index, depth)
            buckets[index].phase = .add(depth)
            return "send"
        case .add(let depth):
            guard try haveArrived(index, depth, scatterChannel(index), fromOwners: false) else { return nil }
            if depth + 1 < levels.count {
                add(index, depth) { _ in }
                buckets[index].phase = .send(depth + 1)
            } else {
                // Sends each piece of the sum while it is in the cache.
                try add(index, depth) { try handBack($0, index, depth) }
                try signalOwned(index, depth)
                buckets[index].phase = .collect(depth, expecting: false)
            }
            return "add"
        case .handBack(let depth):
            try Butterfly.pieces(buckets[index].ranges[depth + 1]) { try handBack($0, index, depth) }
            try signalOwned(index, depth)
            buckets[index].phase = .collect(depth, expecting: false)
            return "hand back"
        case .collect(let depth, expecting: false):
            // The sums arrive where the parts were sent from.
            guard try levels[depth].transport.isQuiet(channel: scatterChannel(index)) else { return nil }
            try expectSums(index, depth)
            buckets[index].phase = .collect(depth, expecting: true)
            return "expect"
        case .collect(let depth, expecting: true):
            guard try haveArrived(index, depth, gatherChannel(index), fromOwners: true),
                try levels[depth].transport.isQuiet(channel: gatherChannel(index))
            else { return nil }
            if depth > 0 { copyLanded(index, depth) }
            buckets[index].phase = depth == 0 ? .idle : .handBack(depth - 1)
            return "collect"
        }
    }

    private func part(_ member: Int, _ index: Int, _ depth: Int) -> Range<Int> {
        Butterfly.part(member, of: buckets[index].ranges[depth], size: buckets[index].partSizes[depth])
    }

    private static func pieces(_ range: Range<Int>, _ body: (Range<Int>) throws -> Void) rethrows {
        for start in stride(from: range.lowerBound, to: range.upperBound, by: piece) {
            try body(start..<min(range.upperBound, start + piece))
        }
    }

    /// Returns all other members, the next first, so that not all send to the same one at once.
    private func peers(_ level: Level) -> [Int] {
        (1..<level.count).map { (level.member + $0) % level.count }
    }

    private func send(_ index: Int, _ depth: Int) throws {
        let level = levels[depth]
        let bucket = buckets[index]
        let own = bucket.ranges[depth + 1]
        let readsInPlace = depth == 0 && level.transport.memory(of: level.member) != nil
        if !own.isEmpty, !readsInPlace {
            for peer in peers(level) {
                try level.transport.expect(
                    own.count * 4, from: peer, at: bucket.slots[depth] + peer * bucket.partSizes[depth] * 4,
                    channel: scatterChannel(index))
            }
        }
        for peer in peers(level) {
            let part = part(peer, index, depth)
            if part.isEmpty { continue }
            if !readsInPlace {
                try level.transport.write(
                    UnsafeRawBufferPointer(start: values + part.lowerBound, count: part.count * 4), to: peer,
                    at: bucket.slots[depth] + level.member * bucket.partSizes[depth] * 4,
                    channel: scatterChannel(index))
            }
            try level.transport.signal(peer, channel: scatterChannel(index), number: bucket.number)
        }
    }

    /// Returns whether all messages have arrived: those of all other owners, or those that this rank needs as
    /// an owner.
    private func haveArrived(_ index: Int, _ depth: Int, _ channel: Int, fromOwners: Bool) throws -> Bool {
        let level = levels[depth]
        if !fromOwners, buckets[index].ranges[depth + 1].isEmpty { return true }
        for peer in peers(level) where !fromOwners || !part(peer, index, depth).isEmpty {
            guard try level.transport.hasArrived(from: peer, channel: channel, number: buckets[index].number)
            else { return false }
        }
        return true
    }

    /// Adds this rank's part, piece by piece, and calls `done` after each.
    private func add(_ index: Int, _ depth: Int, _ done: (Range<Int>) throws -> Void) rethrows {
        let level = levels[depth]
        let bucket = buckets[index]
        let own = bucket.ranges[depth + 1]
        let sources = (0..<level.count).map { member -> UnsafePointer<Float> in
            if member == level.member { return UnsafePointer(values + own.lowerBound) }
            if depth == 0, let memory = level.transport.memory(of: member) {
                return UnsafePointer(memory.assumingMemoryBound(to: Float.self) + own.lowerBound)
            }
            let slot = level.transport.memory + bucket.slots[depth] + member * bucket.partSizes[depth] * 4
            return UnsafePointer(slot.assumingMemoryBound(to: Float.self))
        }
        try Butterfly.pieces(own) { piece in
            let offset = piece.lowerBound - own.lowerBound
            level.order.add(sources.map { $0 + offset }, count: piece.count, into: values + piece.lowerBound)
            try done(piece)
        }
    }

    /// Returns the byte of the block where the floats from `first` of an owner's part arrive on the other
    /// ranks.
    private func landing(_ first: Int, owner: Int, _ index: Int, _ depth: Int) -> Int {
        guard depth > 0 else { return first * 4 }
        return buckets[index].landings[depth] + (first - buckets[index].ranges[depth].lowerBound) * 4
    }

    private func handBack(_ piece: Range<Int>, _ index: Int, _ depth: Int) throws {
        let level = levels[depth]
        let offset = landing(piece.lowerBound, owner: level.member, index, depth)
        for peer in peers(level) {
            try level.transport.write(
                UnsafeRawBufferPointer(start: values + piece.lowerBound, count: piece.count * 4), to: peer,
                at: offset, channel: gatherChannel(index))
        }
    }

    private func signalOwned(_ index: Int, _ depth: Int) throws {
        if buckets[index].ranges[depth + 1].isEmpty { return }
        for peer in peers(levels[depth]) {
            try levels[depth].transport.signal(
                peer, channel: gatherChannel(index), number: buckets[index].number)
        }
    }

    private func expectSums(_ index: Int, _ depth: Int) throws {
        let level = levels[depth]
        for peer in peers(level) {
            try Butterfly.pieces(part(peer, index, depth)) { piece in
                try level.transport.expect(
                    piece.count * 4, from: peer, at: landing(piece.lowerBound, owner: peer, index, depth),
                    channel: gatherChannel(index))
            }
        }
    }

    /// Copies sums that arrived beside the values to their place.
    private func copyLanded(_ index: Int, _ depth: Int) {
        for peer in peers(levels[depth]) {
            let part = part(peer, index, depth)
            let source = levels[depth].transport.memory + landing(part.lowerBound, owner: peer, index, depth)
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
