import Basics

/// Backward-data of fully connected layers; their other passes are matrix products.
public struct FullyConnectedFamily: KernelFamily {
    public let name = "fully_connected"
    public let vector = TuningConstant("fully_connected.vector", .values([8, 16]), candidates: [8, 16]) {
        $0.hasWideVectors ? 16 : 8
    }
    public let panels = TuningConstant(
        "fully_connected.panels", .multiples(of: 1, in: 1...8), candidates: [1, 2, 3, 4]
    ) { $0.hasWideVectors ? 4 : 1 }
    public let rows = TuningConstant(
        "fully_connected.rows", .multiples(of: 1, in: 1...16), candidates: [4, 6, 8]
    ) { _ in 6 }
    public let narrowRows = TuningConstant(
        "fully_connected.narrow-rows", .multiples(of: 1, in: 1...16), candidates: [4, 6, 8]
    ) { $0.hasWideVectors ? 8 : 6 }
    public let depthBlock = TuningConstant(
        "fully_connected.depth-block", .multiples(of: 16, in: 16...4096), candidates: [32, 64, 128]
    ) { _ in 64 }
    /// Inputs of one work-item: long runs of weights, and enough items for many cores.
    public let inputsPerItem = TuningConstant(
        "fully_connected.inputs-per-item", .multiples(of: 1, in: 1...65_536), candidates: [64, 128, 256],
        isMacro: false
    ) { _ in 128 }

    public func body(for device: DeviceTraits) -> KernelBody { .cpu }

    /// Returns the launch of backward-data, and the inputs that one work-item takes.
    public func backwardData(inputs: Int, tuning: Tuning) -> (range: LaunchRange, inputsPerItem: Int) {
        let share = tuning[inputsPerItem]
        return (LaunchRange([inputs.ceilDivided(by: share)], local: [1]), share)
    }
}
