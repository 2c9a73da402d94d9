import Basics

/// Describes Winograd's convolution F(m×m, 3×3); the caller chooses OUTPUT_TILE, m, as 4 or 2.
public struct WinogradFamily: KernelFamily {
    public let name = "winograd"
    // That of four has every kernel.
    public let variants = [4, 2].map(WinogradFamily.variant)

    /// Returns the variant of a tile's size.
    public static func variant(outputTile: Int) -> [String: Int] { ["OUTPUT_TILE": outputTile] }

    /// Channels that are transformed together: on CPUs the floats of a register.
    public let lanes = TuningConstant(
        "winograd.lanes", 8, wide: 16, gpu: 1, .values([1, 2, 4, 8, 16]),
        candidates: [1, 2, 4], keepsBits: true)
    /// Tiles that a work-group of a CPU transforms.
    public let tileGroup = TuningConstant(
        "winograd.tile-group", 6, wide: 8, body: .cpu, .range(1...64), candidates: [4, 6, 8, 12, 16])
    /// Tiles that a work-group of a GPU transforms, a work-item for each of their lanes.
    public let transformTiles = TuningConstant(
        "winograd.transform-tiles", 16, body: .gpu, .values([4, 8, 16]),
        candidates: [4, 8, 16], keepsBits: true)
    public let multiplyRows = TuningConstant(
        "winograd.multiply-rows", 6, wide: 8, body: .cpu, .range(1...16), candidates: [4, 6, 8, 12])
    public let multiplyBlocks = TuningConstant(
        "winograd.multiply-blocks", 22, wide: 8, body: .cpu, .range(1...256),
        candidates: [4, 8, 16, 22], keepsBits: true)
    /// Input channels that a product takes at a time, so that their filters stay in a core's first cache.
    ///
    /// Devices with wide registers take all channels at once.
    public let multiplyDepth = TuningConstant(
        "winograd.multiply-depth", 128, wide: 1 << 20, body: .cpu, .range(16...(1 << 20), multipleOf: 16),
        candidates: [64, 128, 256], keepsBits: true)
    public let blockRows = TuningConstant(
        "winograd.block-rows", 12, wide: 16, body: .cpu, .range(1...256), candidates: [6, 12, 16, 18, 24])
    public let weightsRows = TuningConstant(
        "winograd.weights-rows", 6, wide: 16, body: .cpu, .range(1...16),
        candidates: [4, 5, 6, 8, 16], keepsBits: true)
    /// Channels times filters up to which forward and backward-data run in one launch: what a block of tiles
    /// needs fits a core's own cache.
    public let largestProductAtOnce = TuningConstant(
        launch: "winograd.largest-product-at-once", 128 * 128, gpu: 0, .range(0...(1 << 24)),
        candidates: [0, 64 * 64, 128 * 128, 256 * 256])
    /// Most tiles of a chunk: all that is transformed stays in the last-level cache.
    public let chunkTiles4 = TuningConstant(
        launch: "winograd.chunk-tiles-4", 256, gpu: 32_768, .range(1...(1 << 20)),
        candidates: [128, 256, 512])
    public let chunkTiles2 = TuningConstant(
        launch: "winograd.chunk-tiles-2", 576, gpu: 73_728, .range(1...(1 << 20)),
        candidates: [288, 576, 1152])

    /// Bytes above which a map is written with non-temporal stores, as for `gemm.streamed-bytes`.
    public let streamedBytes = TuningConstant(cacheSize: "winograd.streamed-bytes", otherwise: 16 << 20)

    private static let biasItems = 256
    /// Channels or filters whose weights a work-group transforms.
    private static let weightLines = 16
    /// Unused floats behind each plane of a transformed map, so that planes do not collide in a cache.
    private static let planeGap = 16

    public func sizes(_ tuning: Tuning) -> [String: Int] {
        [
            "BIAS_ITEMS": Self.biasItems, "WEIGHT_LINES": Self.weightLines, "PLANE_GAP": Self.planeGap,
            "ITEMS_PER_PANEL": itemsPerPanel(tuning),
        ]
    }

    /// Returns the work-items that transform a panel of 16 channels together.
    private func itemsPerPanel(_ tuning: Tuning) -> Int { tuning.sharesGroups ? 16 / tuning[lanes] : 1 }

    /// Returns the tiles that a work-group transforms.
    private func groupTiles(_ tuning: Tuning) -> Int {
        tuning[tuning.sharesGroups ? transformTiles : tileGroup]
    }

    /// Returns what the tiles of a chunk are a multiple of: on GPUs the largest work-group, so that the bits
    /// do not depend on its size.
    private func chunkUnit(_ tuning: Tuning) -> Int {
        tuning.sharesGroups ? 16 : tuning[tileGroup]
    }

    public func check(_ tuning: Tuning) throws {
        let legalLanes = tuning.sharesGroups ? [1, 2, 4] : [8, 16]
        guard legalLanes.contains(tuning[lanes]) else {
            throw ComputeError(
                "tuning constant \(lanes.key): \(tuning[lanes]) is not legal on this device; legal: "
                    + legalLanes.map(String.init).joined(separator: ", "))
        }
        if tuning.sharesGroups { return }
        for constant in [tileGroup, blockRows] where tuning[constant] % tuning[multiplyRows] != 0 {
            throw ComputeError(
                "tuning constant \(constant.key): \(tuning[constant]) is not legal; legal: multiples of "
                    + "\(multiplyRows.key), which is \(tuning[multiplyRows])")
        }
    }

    /// Holds the tiles of one chunk, from `first` on.
    public struct Tiles: KernelArgumentGroup {
        let first, count: Int
        /// The count rounded up to whole work-groups.
        public let rows: Int
        public var arguments: [any KernelArgument] { [first, count] }
    }

    /// Works out sizes and launches of one convolution before any memory is allocated.
    public struct Geometry: Sendable {
        /// The input's size; the output's is the same with `filters` channels.
        public var input: MapSize
        public let filters: Int
        public let outputTile: Int
        public let tuning: Tuning
        /// Most tiles of a chunk: the tuning's, halved until the workspace fits the device's largest buffer.
        ///
        /// It does not depend on the batch, because the order of the weight gradients' sums follows from it.
        private var mostTiles: Int

        public init(input: MapSize, filters: Int, outputTile: Int, tuning: Tuning) {
            self.input = input
            self.filters = filters
            self.outputTile = outputTile
            self.tuning = tuning
            let family = KernelFamilies.winograd
            mostTiles = tuning[outputTile == 4 ? family.chunkTiles4 : family.chunkTiles2]
            while mostTiles > family.chunkUnit(tuning),
                workspaceByteCount(tiles: mostTiles) > tuning.device.largestBuffer
            {
                mostTiles /= 2
            }
        }

        private var family: WinogradFamily { KernelFamilies.winograd }
        public var channels: Int { input.channels }
        public var positions: Int { (outputTile + 2) * (outputTile + 2) }
        public var transformedWeightCount: Int { positions * channels * filters }

        /// Whether forward and backward-data take one launch.
        public var runsAtOnce: Bool { channels * filters <= tuning[family.largestProductAtOnce] }

        /// Whether the passes take a pooling of the output with them: windows must not cross tiles.
        public var takesPooling: Bool {
            !tuning.sharesGroups && outputTile == 4 && input.height % 2 == 0 && input.width % 2 == 0
        }

        /// Whether a map of the input's size with `channels` goes past the cache when it is written.
        public func streams(batch: Int, channels: Int) -> Bool {
            !tuning.sharesGroups
                && 4 * batch * input.height * input.width * channels > tuning[family.streamedBytes]
        }

        public func tileCount(batch: Int) -> Int {
            batch * input.height.ceilDivided(by: outputTile) * input.width.ceilDivided(by: outputTile)
        }

        /// Returns the tiles of a chunk: spread evenly over the chunks, in whole work-groups.
        private func chunk(tiles: Int) -> Int {
            let chunks = tiles.ceilDivided(by: mostTiles)
            return tiles.ceilDivided(by: chunks).roundedUp(to: family.chunkUnit(tuning))
        }

        /// Returns the chunks of a batch, in order.
        public func chunks(batch: Int) -> [Tiles] {
            let tiles = tileCount(batch: batch)
            let chunk = chunk(tiles: tiles)
            return stride(from: 0, to: tiles, by: chunk).map { first in
                let count = min(chunk, tiles - first)
                return Tiles(first: first, count: count, rows: count.roundedUp(to: family.chunkUnit(tuning)))
            }
        }

        // MARK: - Scratch memory

        /// Returns the blocks in flight of the one launch: a constant, so that the workspace does not depend
        /// on the number of cores.
        private func slots(tiles: Int) -> Int { min(32, tiles.ceilDivided(by: tuning[family.blockRows])) }

        /// Floats from one position's plane of a transformed map to the next.
        public func planeSize(_ channels: Int, rows: Int) -> Int {
            channels * rows + WinogradFamily.planeGap
        }

        private func planes(_ channels: Int, rows: Int) -> Int {
            positions * planeSize(channels, rows: rows)
        }

        /// The parts in which GPUs sum each chunk's gradient of the weights: of a full chunk, whatever the
        /// batch, and 1 on CPUs.
        public var weightSlots: Int {
            guard tuning.sharesGroups else { return 1 }
            let shape = ProductFamily.Shape(m: channels, n: filters, depth: mostTiles, batch: positions)
            return KernelFamilies.product.slots(shape, tuning: tuning)
        }

        /// Returns the floats of the scratch memory's three parts, the same for every pass: transformed
        /// weights, and two transformed tensors.
        public func parts(maximumBatch: Int) -> [Int] { parts(tiles: tileCount(batch: maximumBatch)) }

        private func parts(tiles: Int) -> [Int] {
            // A smaller batch may have larger chunks than a larger one, never larger than this.
            let rows = chunk(tiles: min(tiles, mostTiles))
            let wide = max(channels, filters)
            var source = planes(wide, rows: rows)
            if runsAtOnce {
                let blockRows = tuning[family.blockRows]
                let block = planes(wide, rows: blockRows) + planes(16, rows: blockRows)
                source = max(source, slots(tiles: tiles) * block)
            }
            // Slots are added where the transformed input was.
            if weightSlots > 1 { source = max(source, transformedWeightCount) }
            return [
                weightSlots * transformedWeightCount, source,
                planes(wide, rows: rows) + planeSize(filters, rows: rows),
            ]
        }

        /// Returns the bytes of a part in whole pages, so that the next one starts where a sub-buffer may.
        public func byteCount(ofPart floats: Int) -> Int { (floats * 4).roundedUp(to: Buffer.sliceAlignment) }

        public func workspaceByteCount(maximumBatch: Int) -> Int {
            workspaceByteCount(tiles: tileCount(batch: maximumBatch))
        }

        private func workspaceByteCount(tiles: Int) -> Int {
            parts(tiles: tiles).reduce(0) { $0 + byteCount(ofPart: $1) }
        }

        // MARK: - Launches

        private var itemsPerPanel: Int { family.itemsPerPanel(tuning) }

        /// Returns the launch that transforms weights: a work-item takes one of `lines` channels or filters,
        /// and some of a panel of 16 of the others.
        public func weights(lines: Int, others: Int) -> LaunchRange {
            LaunchRange(
                [lines * itemsPerPanel, others / 16], local: [WinogradFamily.weightLines * itemsPerPanel, 1])
        }

        /// Returns the launch that transforms maps: a work-item takes one tile of some channels.
        public func transform(channels: Int, rows: Int) -> LaunchRange {
            LaunchRange(
                [channels / 16 * itemsPerPanel, rows], local: [itemsPerPanel, family.groupTiles(tuning)])
        }

        public func multiply(rows: Int, filters: Int) -> LaunchRange {
            let rowsPerItem = tuning[family.multiplyRows] * tuning[family.multiplyBlocks]
            return LaunchRange(
                [rows.ceilDivided(by: rowsPerItem), filters / 16, positions], local: [1, 1, 1])
        }

        public var multiplyWeights: LaunchRange {
            LaunchRange([channels / 16, filters / 16, positions], local: [1, 1, 1])
        }

        /// The launch that adds the bias' gradient, on GPUs.
        public var bias: LaunchRange {
            LaunchRange([filters / 16 * WinogradFamily.biasItems], local: [WinogradFamily.biasItems])
        }

        public func atOnce(tiles: Int) -> LaunchRange { LaunchRange([slots(tiles: tiles)], local: [1]) }
    }
}
