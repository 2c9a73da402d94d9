import Basics

/// Describes backward-data of fully connected layers; their other passes are matrix products.
public struct FullyConnectedFamily: KernelFamily {
    public let name = "fully_connected"
    public let vector = TuningConstant(
        "fully_connected.vector", 8, wide: 16, body: .cpu, .values([8, 16]), candidates: [8, 16])
    public let panels = TuningConstant(
        "fully_connected.panels", 1, wide: 4, body: .cpu, .range(1...8), candidates: [1, 2, 3, 4])
    public let rows = TuningConstant(
        "fully_connected.rows", 6, body: .cpu, .range(1...16), candidates: [4, 6, 8])
    public let narrowRows = TuningConstant(
        "fully_connected.narrow-rows", 6, wide: 8, body: .cpu, .range(1...16), candidates: [4, 6, 8])
    /// Inputs of a tile of at most eight images.
    public let fewRows = TuningConstant(
        "fully_connected.few-rows", 8, wide: 12, body: .cpu, .range(1...28), candidates: [8, 12, 14, 16])
    public let depthBlock = TuningConstant(
        "fully_connected.depth-block", 64, body: .cpu, .range(16...4096, multipleOf: 16),
        candidates: [32, 64, 128])
    /// Inputs of one work-item: long runs of weights, and enough items for many cores.
    public let inputsPerItem = TuningConstant(
        launch: "fully_connected.inputs-per-item", 192, body: .cpu, .range(1...65_536),
        candidates: [64, 128, 256])

    /// Returns the images of a panel: as many as a small batch has, so that no lane is idle.
    public func lanes(batch: Int) -> Int { batch <= 8 ? 8 : 16 }

    /// Returns the launch of backward-data, and the inputs that one work-item takes.
    public func backwardData(inputs: Int, tuning: Tuning) -> (range: LaunchRange, inputsPerItem: Int) {
        let share = tuning[inputsPerItem]
        return (LaunchRange([inputs.ceilDivided(by: share)], local: [1]), share)
    }
}
