/// Describes a file without constants.
struct PlainFamily: KernelFamily { let name: String }

/// The input of a network: crop, warp, colour and normalise.
public struct AugmentFamily: KernelFamily {
    public let name = "augment"
    /// Pixels of a warp whose places are computed together, by a CPU's vectors.
    public let block = TuningConstant("augment.block", .values([1, 16]), candidates: [1, 16]) {
        $0.kind == .cpu ? 16 : 1
    }
}

extension LaunchRange {
    /// Returns the launch that makes images, for augment and dense: a work-item makes a row on CPUs, which hide
    /// no latency but like long loops, and a pixel elsewhere.
    public static func images(height: Int, width: Int, count: Int, on device: DeviceTraits) -> LaunchRange {
        let columns = device.kind == .cpu ? 1 : width
        return LaunchRange([columns, height, count], local: [min(columns, 64), 1, 1])
    }
}

/// The update of the weights, and the sums that micro-batches and clipping need.
public struct OptimizerFamily: KernelFamily {
    public let name = "optimizer"
    /// Elements whose squares one work-item adds: one value, so that every device adds in the same order.
    public let chunk = TuningConstant("optimizer.chunk", .values([4096])) { _ in 4096 }
}

/// Multiply-adds on registers: the most that a device can do.
public struct PeakFamily: KernelFamily {
    public let name = "peak"
    public let vector = TuningConstant("peak.vector", .values([8, 16])) { $0.hasWideVectors ? 16 : 8 }
    /// Vectors in flight.
    public let sums = TuningConstant("peak.sums", .multiples(of: 1, in: 1...32)) { _ in 12 }
}

/// Max-pooling. The caller chooses VECTOR: 8, or 4 where there are four channels.
struct PoolingFamily: KernelFamily {
    let name = "pooling"
    let variants = [["VECTOR": 4], ["VECTOR": 8]]
}
