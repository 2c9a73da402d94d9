import Basics

/// Describes forward and backward-data of fully connected layers; backward-weights is a matrix product.
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
    /// Outputs that backward-data takes at a time.
    public let depthBlock = TuningConstant(
        "fully_connected.depth-block", 64, body: .cpu, .range(16...4096, multipleOf: 16),
        candidates: [32, 64, 128])
    /// Images of a tile of forward.
    public let forwardRows = TuningConstant(
        "fully_connected.forward-rows", 4, wide: 8, body: .cpu,
        .range(1...16), candidates: [4, 8], keepsBits: true)
    /// The most images of one work-item of forward.
    public let forwardImages = TuningConstant(
        "fully_connected.forward-images", 64, body: .cpu,
        .range(1...64), candidates: [16, 32, 64], keepsBits: true)
    /// Work-items of forward in which a batch of more than `fewestImages` is cut, where it is large enough.
    public let forwardItems = TuningConstant(
        launch: "fully_connected.forward-items", 64, body: .cpu,
        .range(1...65_536), candidates: [32, 64, 128], keepsBits: true)
    /// Panels of 16 outputs of one work-item of forward.
    private let forwardPanels = 3
    /// The fewest images of a work-item of forward, but for the last: for fewer it would not pay to read the
    /// weights once more.
    private let fewestImages = 16
    /// Inputs of one work-item: long runs of weights, and enough items for many cores.
    public let inputsPerItem = TuningConstant(
        launch: "fully_connected.inputs-per-item", 192, body: .cpu, .range(1...65_536),
        candidates: [64, 128, 256])

    public var sizes: [String: Int] { ["FORWARD_PANELS": forwardPanels] }

    /// Returns the launch of forward, and the images that one work-item takes.
    public func forward(
        batch: Int, outputs: Int, tuning: Tuning
    ) -> (range: LaunchRange, imagesPerItem: Int) {
        let columns = (outputs / 16).ceilDivided(by: forwardPanels)
        let share = max(fewestImages, (batch * columns).ceilDivided(by: tuning[forwardItems]))
        let images = min(tuning[forwardImages], share.roundedUp(to: tuning[forwardRows]))
        return (LaunchRange([columns, batch.ceilDivided(by: images)], local: [1, 1]), images)
    }

    /// Returns the images of a panel: as many as a small batch has, so that no lane is idle.
    public func lanes(batch: Int) -> Int { batch <= 8 ? 8 : 16 }

    /// Returns the launch of backward-data, and the inputs that one work-item takes.
    public func backwardData(inputs: Int, tuning: Tuning) -> (range: LaunchRange, inputsPerItem: Int) {
        let share = tuning[inputsPerItem]
        return (LaunchRange([inputs.ceilDivided(by: share)], local: [1]), share)
    }
}
