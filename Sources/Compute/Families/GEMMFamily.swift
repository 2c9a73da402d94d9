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
    /// Bytes above which a result is written with non-temporal stores, because no cache would hold it.
    public let streamedBytes = TuningConstant(cacheSize: "gemm.streamed-bytes", otherwise: 16 << 20)
    /// Fewest panels of a product for which a transposed A is packed first.
    public let packedPanels = TuningConstant(
        launch: "gemm.packed-panels", 5, body: .cpu, .range(1...65_536), candidates: [2, 5, 9])
    public let packDepth = TuningConstant(
        launch: "gemm.pack-depth", 64, body: .cpu, .range(1...4096), candidates: [32, 64, 128])

    /// Returns the launch of a product, and the rows and panels that one work-item computes.
    ///
    /// There are enough work-items for many cores, of several microseconds each. What an item takes does not
    /// change any sum. The smaller the depth, the more panels an item takes, as long as their block of B is
    /// small.
    public func product(m: Int, n: Int, k: Int, tuning: Tuning) -> (
        range: LaunchRange, share: (rows: Int, panels: Int)
    ) {
        let panelsPerItem = min(n / 16, tuning[panelsPerItem] * max(1, tuning[depthBlock] / 2 / k))
        let columns = (n / 16).ceilDivided(by: panelsPerItem)
        let wanted = (m * columns).ceilDivided(by: tuning[items]).roundedUp(to: tuning[rows])
        let rowsPerItem = max(tuning[rows], min(tuning[rowsPerItem], wanted))
        let range = LaunchRange([m.ceilDivided(by: rowsPerItem), columns], local: [1, 1])
        return (range, (rowsPerItem, panelsPerItem))
    }

    /// Returns the rows of the blocks in which a transposed A is packed for a product.
    ///
    /// - Returns: nil if the panels are so few that copying takes longer than it saves
    public func packedRows(m: Int, n: Int, k: Int, tuning: Tuning) -> Int? {
        n / 16 < tuning[packedPanels] ? nil : product(m: m, n: n, k: k, tuning: tuning).share.rows
    }

    /// Returns the floats of the packed blocks of m rows, whatever their size and with the last one whole.
    public func packedFloats(m: Int, k: Int, tuning: Tuning) -> Int {
        k * (m + max(tuning[rowsPerItem], tuning[rows]))
    }

    /// Whether a product's result goes past the cache: no cache holds it, and nothing is added to it.
    public func streams(m: Int, n: Int, k: Int, tuning: Tuning) -> Bool {
        k <= tuning[depthBlock] && 4 * m * n > tuning[streamedBytes]
    }

    /// Returns the launch that packs B in panels of `width` columns, and the rows that one work-item copies.
    public func packing(
        k: Int, n: Int, width: Int = 16, tuning: Tuning
    ) -> (range: LaunchRange, depthPerItem: Int) {
        let depth = tuning[packDepth]
        return (LaunchRange([k.ceilDivided(by: depth), n.ceilDivided(by: width)], local: [1, 1]), depth)
    }
}
