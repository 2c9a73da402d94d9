/// Describes a file without constants.
struct PlainFamily: KernelFamily { let name: String }

/// Describes the kernel of a network's input: crop, warp, colour and normalise.
public struct AugmentFamily: KernelFamily {
    public let name = "augment"
    /// Pixels of a warp whose places are computed together, by a CPU's vectors.
    public let block = TuningConstant("augment.block", 16, gpu: 1, .values([1, 16]), candidates: [1, 16])
}

extension LaunchRange {
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
}

/// Describes the kernel that measures a device's arithmetic: multiply-adds on registers.
public struct PeakFamily: KernelFamily {
    public let name = "peak"
    public let vector = TuningConstant("peak.vector", 8, wide: 16, .values([8, 16]))
    /// Vectors in flight.
    public let sums = TuningConstant("peak.sums", 12, .range(1...32))
}

/// Describes max-pooling; the caller chooses VECTOR, 4 for images of four channels, else 8.
struct PoolingFamily: KernelFamily {
    let name = "pooling"
    let variants = [["VECTOR": 4], ["VECTOR": 8]]
}
