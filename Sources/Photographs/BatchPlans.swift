import Basics
import Randomness

/// Chooses the training photographs of each mini-batch of one epoch.
///
/// The seed cuts the set into `microBatches` fixed parts of equal size, which leave out at most
/// `microBatches` − 1 photographs. Each epoch shuffles within a part. A batch takes the next
/// `batchSize / microBatches` files of each part; the last incomplete batch is dropped. The plan depends only
/// on its arguments, so a run that is resumed, or split over other ranks, sees the same batches.
public struct EpochPlan: Sendable {
    public let batchSize: Int
    public let microBatches: Int
    public let batchCount: Int
    /// The positions in the set of each part's photographs, in this epoch's order.
    public let parts: [[Int]]

    /// - Throws: `DatasetError` if the micro-batches do not divide the batch or no batch can be filled.
    public init(count: Int, batchSize: Int, microBatches: Int = 1, seed: UInt64, epoch: Int) throws {
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
        var cut = Philox(seed: seed, purpose: .microBatches)
        let all = microBatches == 1 ? Array(0..<count) : cut.permutation(count)
        parts = (0..<microBatches).map { part in
            var order = Philox(seed: seed, purpose: .shuffle, step: UInt64(epoch), index: UInt32(part))
            let members = all[part * partSize..<(part + 1) * partSize]
            return order.permutation(partSize).map { members[members.startIndex + $0] }
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
