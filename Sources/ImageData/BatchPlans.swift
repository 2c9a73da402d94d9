import Randomness

/// Which training files make up each mini-batch of one epoch.
///
/// The seed cuts the set into `shards` fixed parts of equal size (at most `shards` − 1 files are left out); each epoch shuffles within a part;
/// batch b is, shard after shard, the next `batchSize / shards` files of each part. The last incomplete batch is dropped.
/// A function of its arguments alone: a run that is resumed, or cut over other ranks, sees the same batches.
public struct EpochPlan: Sendable {
    public let batchSize: Int
    public let shards: Int
    public let batchCount: Int
    /// For each part its files' positions in the set, in this epoch's order.
    public let parts: [[Int]]

    /// - Throws: `DatasetError.badOption` where the batch does not divide by the shards or no batch can be filled.
    public init(count: Int, batchSize: Int, shards: Int = 1, seed: UInt64, epoch: Int) throws(DatasetError) {
        guard batchSize > 0 else { throw DatasetError(.badOption, "batch size \(batchSize): must be at least 1") }
        guard shards > 0 && batchSize % shards == 0 else {
            throw DatasetError(.badOption, "\(shards) shards do not divide a batch of \(batchSize); choose a divisor of it")
        }
        let partSize = count / shards
        batchCount = partSize / (batchSize / shards)
        guard batchCount > 0 else {
            let advice = partSize > 0 ? "give --batch \(partSize * shards) or less" : "give fewer --shards"
            let parts = shards > 1 ? " for \(shards) shards" : ""
            throw DatasetError(
                .badOption, "--batch \(batchSize): there are only \(count) training photographs\(parts); \(advice)")
        }
        self.batchSize = batchSize
        self.shards = shards
        var cut = Philox(seed: seed, purpose: .shards)
        let all = shards == 1 ? Array(0..<count) : cut.permutation(count)
        parts = (0..<shards).map { part in
            var order = Philox(seed: seed, purpose: .shuffle, step: UInt64(epoch), index: UInt32(part))
            let members = all[part * partSize..<(part + 1) * partSize]
            return order.permutation(partSize).map { members[members.startIndex + $0] }
        }
    }

    /// The positions of batch `index`, shard after shard; nil past the last.
    public func batch(_ index: Int) -> [Int]? {
        guard index >= 0 && index < batchCount else { return nil }
        let share = batchSize / shards
        return parts.flatMap { $0[index * share..<(index + 1) * share] }
    }

    /// The positions of shard `shard` of batch `index`: `batchSize / shards` of them; nil past the last.
    public func batch(_ index: Int, shard: Int) -> [Int]? {
        guard index >= 0 && index < batchCount && parts.indices.contains(shard) else { return nil }
        let share = batchSize / shards
        return Array(parts[shard][index * share..<(index + 1) * share])
    }
}

/// Every file once, in the set's order; the last batch may be smaller.
public struct EvaluationPlan: Sendable {
    public let count: Int
    public let batchSize: Int

    /// - Throws: `DatasetError.badOption` for a batch size below 1.
    public init(count: Int, batchSize: Int) throws(DatasetError) {
        guard batchSize > 0 else { throw DatasetError(.badOption, "batch size \(batchSize): must be at least 1") }
        self.count = count
        self.batchSize = batchSize
    }

    public var batchCount: Int { (count + batchSize - 1) / batchSize }

    /// The positions of batch `index`; nil past the last.
    public func batch(_ index: Int) -> [Int]? {
        guard index >= 0 && index < batchCount else { return nil }
        return Array(index * batchSize..<min(count, (index + 1) * batchSize))
    }
}
