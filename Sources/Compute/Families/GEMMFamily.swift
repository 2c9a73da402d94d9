import Basics

/// Describes matrix products C[m × n] = A[m × k] · B[k × n].
public struct GEMMFamily: KernelFamily {
    public let name = "gemm"
    public let vector = TuningConstant(
        "gemm.vector", 8, wide: 16, body: .cpu, .values([8, 16]), candidates: [8, 16])
    public let rows = TuningConstant("gemm.rows", 6, body: .cpu, .range(1...16), candidates: [4, 5, 6, 7, 8])
    public let panels = TuningConstant(
        "gemm.panels", 1, wide: 4, body: .cpu, .range(1...8), candidates: [1, 2, 3, 4])
    public let depthBlock = TuningConstant(
        "gemm.depth-block", 512, body: .cpu, .range(1...65_536), candidates: [128, 256, 512, 1024])
    /// Most rows and panels that one work-item takes.
    public let rowsPerItem = TuningConstant(
        launch: "gemm.rows-per-item", 192, body: .cpu, .range(1...65_536), candidates: [96, 192, 384])
    public let panelsPerItem = TuningConstant(
        launch: "gemm.panels-per-item", 16, body: .cpu, .range(1...4096), candidates: [8, 16, 32])
    /// Work-items that a product is cut into where it is large enough.
    public let items = TuningConstant(
        launch: "gemm.items", 64, body: .cpu, .range(1...65_536), candidates: [32, 64, 128, 256])
    public let packDepth = TuningConstant(
        launch: "gemm.pack-depth", 64, body: .cpu, .range(1...4096), candidates: [32, 64, 128])

    /// Returns the launch of a product, and the rows and panels that one work-item computes.
    ///
    /// There are enough work-items for many cores, of several microseconds each. What an item takes does not
    /// change any sum.
    public func product(m: Int, n: Int, tuning: Tuning) -> (range: LaunchRange, share: [Int]) {
        let panelsPerItem = min(n / 16, tuning[panelsPerItem])
        let columns = (n / 16).ceilDivided(by: panelsPerItem)
        let tile = tuning[rows]
        let wanted = (m * columns).ceilDivided(by: tuning[items]).roundedUp(to: tile)
        let rowsPerItem = max(tile, min(tuning[rowsPerItem], wanted))
        let range = LaunchRange([m.ceilDivided(by: rowsPerItem), columns], local: [1, 1])
        return (range, [rowsPerItem, panelsPerItem])
    }

    /// Returns the launch that packs B, and the rows that one work-item copies.
    public func packing(k: Int, n: Int, tuning: Tuning) -> (range: LaunchRange, depthPerItem: Int) {
        let depth = tuning[packDepth]
        return (LaunchRange([k.ceilDivided(by: depth), n.ceilDivided(by: 16)], local: [1, 1]), depth)
    }
}
