import Basics

/// Describes a file without constants.
struct PlainFamily: KernelFamily { let name: String }

/// Describes the kernel of a network's input: crop, warp, colour and normalise.
public struct AugmentFamily: KernelFamily {
    public let name = "augment"
    /// Pixels of a warp whose places are computed together, by a CPU's vectors.
    public let block = TuningConstant("augment.block", 16, gpu: 1, .values([1, 16]), candidates: [1, 16])
}

/// Describes dropout: a work-item of a CPU draws with whole vectors.
public struct DropoutFamily: KernelFamily {
    public let name = "dropout"
    public let variants = [["LANES": 1], ["LANES": 16]]
    public func variants(_ tuning: Tuning) -> [[String: Int]] { [variant(tuning)] }

    private func lanes(_ tuning: Tuning) -> Int { tuning.sharesGroups ? 1 : 16 }

    /// Returns the variant for a device.
    public func variant(_ tuning: Tuning) -> [String: Int] { ["LANES": lanes(tuning)] }

    /// Returns the launch over `count` values.
    public func launch(count: Int, tuning: Tuning) -> LaunchRange {
        LaunchRange([count.ceilDivided(by: 4 * lanes(tuning))], local: [tuning.groupItems(64)])
    }
}

extension LaunchRange {
    /// Work-items in all.
    public var count: Int { global.reduce(1, *) }

    /// Returns the launch that makes images, for augment and dense.
    ///
    /// A work-item makes a row on CPUs, which hide no latency but like long loops, and a pixel elsewhere.
    public static func images(height: Int, width: Int, count: Int, on device: DeviceTraits) -> LaunchRange {
        let columns = device.body == .cpu ? 1 : width
        return LaunchRange([columns, height, count], local: [min(columns, 64), 1, 1])
    }
}

/// Describes the update of the weights, and the sums that micro-batches and clipping need.
public struct OptimizerFamily: KernelFamily {
    public let name = "optimizer"
    /// Elements whose squares one work-item adds: one value, so that every device adds in the same order.
    public let chunk = TuningConstant("optimizer.chunk", 4096, .values([4096]))
    private static let groupItems = 256

    public func sizes(_ tuning: Tuning) -> [String: Int] {
        ["GROUP_ITEMS": Self.groupItems, "LANES": lanes(tuning)]
    }

    /// Returns the values that a work-item updates.
    private func lanes(_ tuning: Tuning) -> Int { tuning.sharesGroups ? 1 : 8 }

    /// Returns the launch of a kernel that updates `count` values independently.
    public func values(_ count: Int, tuning: Tuning) -> LaunchRange {
        LaunchRange([count.ceilDivided(by: lanes(tuning))], local: [Self.groupItems])
    }

    /// Returns the launch that adds the squares of each of `chunks`, or one that adds partial sums.
    public func sums(chunks: Int = 1, tuning: Tuning) -> LaunchRange {
        let items = tuning.groupItems(Self.groupItems)
        return LaunchRange([items * chunks], local: [items])
    }
}

/// Describes softmax and cross-entropy: a row of scores is a work-item's on CPUs, a work-group's on GPUs.
public struct SoftmaxFamily: KernelFamily {
    public let name = "softmax"
    private static let rowItems = 128
    public let sizes = ["ROW_ITEMS": rowItems]

    /// Returns the launch over rows, or (1) that of the rows' sum.
    public func rows(_ count: Int, tuning: Tuning) -> LaunchRange {
        tuning.sharesGroups
            ? LaunchRange([Self.rowItems, count], local: [Self.rowItems, 1])
            : LaunchRange([count], local: [1])
    }
}

/// Describes the windows and means of dense evaluation.
public struct DenseFamily: KernelFamily {
    public let name = "dense"

    /// Returns the launch that copies `count` windows of `height` rows.
    public func windows(height: Int, count: Int, tuning: Tuning) -> LaunchRange {
        let items = tuning.groupItems(64)
        return LaunchRange([items, height, count], local: [items, 1, 1])
    }

    /// Returns the launch that averages rows of `stride` scores for each of `images`.
    public func means(stride: Int, images: Int, tuning: Tuning) -> LaunchRange {
        LaunchRange([stride / 16, images], local: [tuning.groupItems(16), 1])
    }
}

/// Describes the kernels that measure a device's arithmetic and memory.
public struct PeakFamily: KernelFamily {
    public let name = "peak"
    public let vector = TuningConstant("peak.vector", 8, wide: 16, .values([8, 16]))
    /// Vectors in flight.
    public let sums = TuningConstant("peak.sums", 12, .range(1...32))

    public func sizes(_ tuning: Tuning) -> [String: Int] { ["IS_INTERLEAVED": tuning.sharesGroups ? 1 : 0] }

    /// Returns the launch of multiply-adds for a device's number of compute units.
    public func launch(computeUnits: Int, tuning: Tuning) -> LaunchRange {
        items(computeUnits * (tuning.sharesGroups ? 2048 : 64), tuning: tuning)
    }

    /// Returns the launch that reads or writes `count` floats, a multiple of 2¹⁶, and the vectors of one
    /// work-item.
    public func memory(count: Int, tuning: Tuning) -> (range: LaunchRange, vectors: Int) {
        precondition(count % (1 << 16) == 0)
        let vectors = tuning.sharesGroups ? 16 : 2048
        return (items(count / (vectors * tuning[vector]), tuning: tuning), vectors)
    }

    private func items(_ count: Int, tuning: Tuning) -> LaunchRange {
        LaunchRange([count], local: [tuning.groupItems(256)])
    }
}

/// Describes max-pooling; the caller chooses VECTOR.
public struct PoolingFamily: KernelFamily {
    public let name = "pooling"
    public let variants = [["VECTOR": 4], ["VECTOR": 8]]

    /// Returns the floats of a work-item's vector: on GPUs neighbouring work-items read neighbouring vectors.
    public func vector(channels: Int, tuning: Tuning) -> Int {
        channels == 4 || tuning.sharesGroups ? 4 : 8
    }

    /// Returns the launch over windows of maps with `channels`.
    public func launch(channels: Int, columns: Int, rows: Int, tuning: Tuning) -> LaunchRange {
        let vectors = channels / vector(channels: channels, tuning: tuning)
        let neighbours = min(vectors, tuning.sharesGroups ? 16 : 4)
        return LaunchRange([vectors, columns, rows], local: [neighbours, min(columns, 16), 1])
    }
}
