import Basics
import Randomness

/// Chooses the training photographs of each mini-batch of one epoch.
///
/// The seed cuts the set into `microBatches` fixed parts of equal size, which leave out at most
/// `microBatches` − 1 photographs. Each epoch shuffles within a part. A batch takes the next
/// `batchSize / microBatches` files of each part; the last incomplete batch is dropped. The plan depends only
/// on its arguments, so a run that is resumed, or split over other ranks, sees the same batches.
///
/// With balanced sampling an epoch has as many batches, but draws all classes equally often. A class's
/// photographs come in turns, so those of a small class come several times, and those of a large one once or
/// not at all. The parts are then drawn from the whole set.
public struct EpochPlan: Sendable {
    public let batchSize: Int
    public let microBatches: Int
    public let batchCount: Int
    /// The positions in the set of each part's photographs, in this epoch's order.
    public let parts: [[Int]]

    /// - Parameter balancing: the class of each photograph, for balanced sampling; nil for every photograph
    ///   once.
    /// - Throws: `DatasetError` if the micro-batches do not divide the batch or no batch can be filled.
    public init(
        count: Int, batchSize: Int, microBatches: Int = 1,
        balancing labels: [Int]? = nil, seed: UInt64, epoch: Int
    ) throws {
        try requirePositive(batchSize)
        guard microBatches > 0 && batchSize % microBatches == 0 else {
            throw DatasetError(
                .badOption,
                "\(microBatches) micro-batches do not divide a batch of \(batchSize); choose a divisor of it")
        }
        let partSize = count / microBatches
        batchCount = partSize / (batchSize / microBatches)
        guard batchCount > 0 else {
            let parts = microBatches > 1 ? " for \(microBatches) micro-batches" : ""
            throw DatasetError(
                .batchTooLarge(largestBatch: partSize * microBatches),
                "a batch of \(batchSize): there are only \(count) training photographs\(parts)")
        }
        self.batchSize = batchSize
        self.microBatches = microBatches
        if let labels {
            let starts = (0..<batchCount).map { $0 * batchSize }
            let drawn = EpochPlan.balancedDraws(
                labels, count: starts.count * batchSize, seed: seed, epoch: epoch)
            // A batch takes the next draws, so that a small class's photographs are seldom twice in one.
            let share = batchSize / microBatches
            parts = (0..<microBatches).map { part in
                starts.flatMap { drawn[($0 + part * share)..<($0 + (part + 1) * share)] }
            }
            return
        }
        var cut = Philox(seed: seed, purpose: .microBatches)
        let all = microBatches == 1 ? Array(0..<count) : cut.permutation(count)
        parts = (0..<microBatches).map { part in
            var order = Philox(seed: seed, purpose: .shuffle, step: UInt64(epoch), index: UInt32(part))
            let members = all[part * partSize..<(part + 1) * partSize]
            return order.permutation(partSize).map { members[members.startIndex + $0] }
        }
    }

    /// Returns positions whose classes are drawn equally often, give or take one, in random order.
    private static func balancedDraws(_ labels: [Int], count: Int, seed: UInt64, epoch: Int) -> [Int] {
        let members = Dictionary(grouping: labels.indices) { labels[$0] }
        func stream(_ index: Int) -> Philox {
            Philox(seed: seed, purpose: .balancing, step: UInt64(epoch), index: UInt32(index))
        }
        var order = stream(0)
        let classes = members.keys.sorted()
        let ranking = order.permutation(classes.count)
        let equalShares = (0..<count).map { classes[ranking[$0 % classes.count]] }
        var turns = members.mapValues { _ in [Int]() }
        var streams = Dictionary(uniqueKeysWithValues: classes.map { ($0, stream(1 + $0)) })
        return order.permutation(count).map { place in
            let label = equalShares[place]
            if let next = turns[label]?.popLast() { return next }
            let all = members[label] ?? []
            var turn = streams[label]?.permutation(all.count).map { all[$0] } ?? []
            defer { turns[label] = turn }
            return turn.removeLast()
        }
    }

    /// Returns the positions of batch `index`, micro-batch after micro-batch; nil past the last.
    public func batch(_ index: Int) -> [Int]? {
        (0..<batchCount).contains(index) ? parts.flatMap { $0[positions(index)] } : nil
    }

    /// Returns the positions of one micro-batch of batch `index`; nil past the last batch.
    public func batch(_ index: Int, microBatch: Int) -> [Int]? {
        guard (0..<batchCount).contains(index), parts.indices.contains(microBatch) else { return nil }
        return Array(parts[microBatch][positions(index)])
    }

    /// Returns the place of batch `index` in each part.
    private func positions(_ index: Int) -> Range<Int> {
        let share = batchSize / microBatches
        return index * share..<(index + 1) * share
    }
}

/// Takes every photograph once, in the set's order; the last batch may be smaller.
public struct EvaluationPlan: Sendable {
    public let count: Int
    public let batchSize: Int

    /// - Throws: `DatasetError.badOption` for a batch size below 1.
    public init(count: Int, batchSize: Int) throws {
        try requirePositive(batchSize)
        self.count = count
        self.batchSize = batchSize
    }

    public var batchCount: Int { count.ceilDivided(by: batchSize) }

    /// Returns the positions of batch `index`; nil past the last.
    public func batch(_ index: Int) -> [Int]? {
        guard (0..<batchCount).contains(index) else { return nil }
        return Array(index * batchSize..<min(count, (index + 1) * batchSize))
    }
}

private func requirePositive(_ batchSize: Int) throws {
    if batchSize < 1 { throw DatasetError(.badOption, "batch size \(batchSize): must be at least 1") }
}
