import Basics
import Foundation

/// Adds arrays of all ranks, bucket by bucket, and leaves the sums with every rank ("butterfly
/// synchronisation", section 3.1 of the paper).
///
/// A bucket is cut into one part a rank. Each rank sends every part to the part's owner, which adds them in
/// the order of the micro-batches' tree and hands the sum back to all. Where there are several nodes that happens
/// inside each node first, and each part then goes the same way between the nodes, from one rank a node.
/// Which transport carries the bytes, and which bucket is ready first, changes no bit of the result.
///
/// Nothing here waits but `wait`: `progress` does one piece of work, of the bucket with the lowest number
/// that has any. So a bucket that is needed soon overtakes those that are needed later. Used by one thread at
/// a time.
public final class Butterfly {
    /// The way between the ranks of one level: all ranks of a node, or those of all nodes that own the same
    /// part.
    struct Level {
        let transport: any Transport
        /// This rank's place in the group.
        let member: Int
        let count: Int
        let order: SumOrder
    }

    /// What a bucket does next.
    private enum Phase: Equatable {
        case idle
        /// Sends the parts to their owners.
        case send(Int)
        /// Waits for all others' numbers of the own part, and adds.
        case add(Int)
        /// Hands the own part's sum to all.
        case handBack(Int)
        /// Waits for the sums of the other parts.
        case collect(Int, expecting: Bool)
    }

    private struct Bucket {
        /// For each level the floats that it adds; of the first the whole bucket, then the part that the
        /// level before has left to this rank.
        var ranges: [Range<Int>] = []
        /// For each level the floats of a part (the last ones may be shorter, or empty).
        var partSizes: [Int] = []
        /// For each level, in bytes of its transport's block: where the others' numbers of the own part land,
        /// a part a member …
        var slots: [Int] = []
        /// … and where sums land that do not go to their place at once.
        var landings: [Int] = []
        var phase = Phase.idle
        /// Counts this bucket's exchanges: the number of its messages.
        var number: UInt64 = 0
    }

    /// Room for `floatCount` floats that are to be added, at a multiple of 4096 bytes.
    public let values: UnsafeMutablePointer<Float>
    private let levels: [Level]
    private var buckets: [Bucket]
    /// Buckets under way, the most urgent first.
    private var active: [Int] = []
    /// Told of each bucket whose sums are in their place.
    public var done: ((_ bucket: Int) -> Void)?
    /// Told of each piece of work: the bucket, what was done, when it began and ended in seconds since the
    /// process's clock began.
    public var observer: ((_ bucket: Int, _ work: String, _ start: Double, _ end: Double) -> Void)?

    /// Floats of the longest piece that is added and handed on at a time: it stays in the second-level cache.
    private static let piece = 1 << 16

    /// Every rank of the job makes one at the same time, with the same arguments.
    ///
    /// - Parameters:
    ///   - buckets: ranges of floats; the one with the lowest number is the most urgent
    ///   - floatCount: all that the buckets reach to
    ///   - topology: who holds which micro-batches, and the ways between the ranks
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
                throw CollectiveError("a rank outside its own group")
            }
            // The values lie in the first level's block; a level reads in place there what it can, and needs
            // slots elsewhere.
            var offset = depth == 0 ? Butterfly.aligned(floatCount * 4) : 0
            for index in buckets.indices {
                let range = buckets[index].ranges[depth]
                let size = ((range.count + count - 1) / count + 15) / 16 * 16
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
            throw CollectiveError("a butterfly of one rank has nothing to add")
        }
        self.levels = levels
        self.buckets = buckets
        values = first.transport.memory.bindMemory(to: Float.self, capacity: max(1, floatCount))
        values.update(repeating: 0, count: floatCount)
    }

    private static func aligned(_ bytes: Int) -> Int { (bytes + 4095) / 4096 * 4096 }

    /// Floats of member `index`'s part.
    private static func part(_ index: Int, of range: Range<Int>, size: Int) -> Range<Int> {
        min(
            range.upperBound, range.lowerBound + index * size)..<min(
                range.upperBound, range.lowerBound + (index + 1) * size)
    }

    // MARK: - Use

    /// Begins to add a bucket: this rank's values are in their place, and stay untouched until the bucket is
    /// done.
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

    /// Whether the sums of a bucket that was begun are in their place.
    public func isDone(_ bucket: Int) -> Bool { buckets[bucket].phase == .idle }

    /// Whether no bucket is under way.
    public var isIdle: Bool { active.isEmpty }

    /// Does one piece of work of the most urgent bucket that has any.
    ///
    /// - Returns: whether there was any
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

    /// Waits until a bucket is done, and helps the more urgent ones on meanwhile.
    public func wait(_ bucket: Int) throws {
        var backoff = Backoff()
        while !isDone(bucket) { if try progress() { backoff = Backoff() } else { backoff.pause() } }
    }

    // MARK: - Work

    private func scatterChannel(_ bucket: Int) -> Int { 2 * bucket }
    private func gatherChannel(_ bucket: Int) -> Int { 2 * bucket + 1 }

    /// Takes a bucket one phase on.
    ///
    /// - Returns: what was done; nil where there is something to wait for
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
                // While a piece of the sum is in the cache it is handed on.
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
            // The sums land where the parts were sent from.
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

    /// All members but this one, the next first, so that not all send to the same one at once.
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

    /// Whether the messages that this rank waits for are all here: as an owner from all others, or from all
    /// other owners.
    private func haveArrived(_ index: Int, _ depth: Int, _ channel: Int, fromOwners: Bool) throws -> Bool {
        let level = levels[depth]
        if !fromOwners, buckets[index].ranges[depth + 1].isEmpty { return true }
        for peer in peers(level) where !fromOwners || !part(peer, index, depth).isEmpty {
            guard try level.transport.hasArrived(from: peer, channel: channel, number: buckets[index].number)
            else { return false }
        }
        return true
    }

    /// Adds the own part, piece by piece.
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

    /// Where part `owner`'s floats from `first` on land on the other ranks of a level, in bytes of the block.
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

    /// Brings sums that have landed beside the values to their place.
    private func copyLanded(_ index: Int, _ depth: Int) {
        for peer in peers(levels[depth]) {
            let part = part(peer, index, depth)
            let source = levels[depth].transport.memory + landing(part.lowerBound, owner: peer, index, depth)
            (values + part.lowerBound).update(
                from: source.assumingMemoryBound(to: Float.self), count: part.count)
        }
    }
}

/// Seconds since the machine's monotonic clock began.
public enum Clock {
    public static var seconds: Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
}
