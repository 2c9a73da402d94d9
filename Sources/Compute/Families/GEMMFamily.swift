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
    /// Rows and panels of a tile for products with few rows, which are bound by the reading of B.
    public let fewRows = TuningConstant(
        launch: "gemm.few-rows", 6, wide: 8, body: .cpu, .range(1...16), candidates: [4, 6, 8])
    public let fewPanels = TuningConstant(
        launch: "gemm.few-panels", 1, wide: 3, body: .cpu, .range(1...8), candidates: [1, 2, 3])
    /// Most rows of such a product.
    public let fewRowsLimit = TuningConstant(
        launch: "gemm.few-rows-limit", 64, body: .cpu, .range(0...65_536), candidates: [0, 16, 64, 128])
    /// Most panels that one work-item of such a product takes.
    public let fewPanelsPerItem = TuningConstant(
        launch: "gemm.few-panels-per-item", 6, body: .cpu, .range(1...4096), candidates: [3, 6, 12])
    /// Work-items of such a product: only if the parts that its panels are cut into are fewer, its rows are
    /// cut, too, and B is read again for each part.
    public let fewItems = TuningConstant(
        launch: "gemm.few-items", 16, body: .cpu, .range(1...65_536), candidates: [8, 16, 32, 64])
    /// Bytes above which a result is written with non-temporal stores, because no cache would hold it.
    public let streamedBytes = TuningConstant(cacheSize: "gemm.streamed-bytes", otherwise: 16 << 20)
    /// Fewest panels of a product for which a transposed A is packed first.
    public let packedPanels = TuningConstant(
        launch: "gemm.packed-panels", 5, body: .cpu, .range(1...65_536), candidates: [2, 5, 9])
    public let packDepth = TuningConstant(
        launch: "gemm.pack-depth", 64, body: .cpu, .range(1...4096), candidates: [32, 64, 128])

    public func variants(_ tuning: Tuning) -> [[String: Int]] {
        tuning.sharesGroups ? [[:]] : [[:], variant(m: 1, tuning: tuning)]
    }

    /// Returns the variant for a product with m rows: another shape of the tile where they are few.
    ///
    /// Every shape gives the same bits.
    public func variant(m: Int, tuning: Tuning) -> [String: Int] {
        hasFewRows(m, tuning: tuning) ? ["ROWS": tuning[fewRows], "PANELS": tuning[fewPanels]] : [:]
    }

    private func hasFewRows(_ m: Int, tuning: Tuning) -> Bool { m <= tuning[fewRowsLimit] }

    /// Returns the launch of a product, and the rows and panels that one work-item computes.
    ///
    /// There are enough work-items for many cores, of several microseconds each. What an item takes does not
    /// change any sum. Few rows stay together, so that B is read once. The smaller the depth, the more panels
    /// an item takes, as long as their block of B is small.
    public func product(m: Int, n: Int, k: Int, tuning: Tuning) -> (
        range: LaunchRange, share: (rows: Int, panels: Int)
    ) {
        let few = hasFewRows(m, tuning: tuning)
        let most: Int
        if few {
            // Whole tiles, and as many work-items as other products have.
            let share = n / 16 / tuning[items] / tuning[fewPanels] * tuning[fewPanels]
            most = min(tuning[fewPanelsPerItem], max(tuning[fewPanels], share))
        } else {
            most = tuning[panelsPerItem] * max(1, tuning[depthBlock] / 2 / k)
        }
        let panelsPerItem = min(n / 16, most)
        let columns = (n / 16).ceilDivided(by: panelsPerItem)
        let tile = tuning[few ? fewRows : rows]
        let wanted = (m * columns).ceilDivided(by: tuning[few ? fewItems : items]).roundedUp(to: tile)
        let rowsPerItem = max(tile, min(tuning[rowsPerItem], wanted))
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
        k * (m + max(tuning[rowsPerItem], tuning[rows], tuning[fewRows]))
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
