import Basics

/// Describes the matrix products and 3×3 convolutions of GPUs: `gpu/product.cl`.
///
/// None of its constants but `slotGroups` changes the order in which a sum is added.
public struct ProductFamily: KernelFamily {
    public let name = "product"
    /// Rows and columns of the largest tile of a work-group.
    public let largestTileM = TuningConstant(
        launch: "product.largest-tile-m", 128, vendors: [.intel: 64], body: .gpu, .values([64, 128]),
        candidates: [64, 128], keepsBits: true)
    public let largestTileN = TuningConstant(
        launch: "product.largest-tile-n", 64, body: .gpu, .values([64, 128]),
        candidates: [64, 128], keepsBits: true)
    /// Rows and columns of a work-item's tile; 4 for small register files, such as those of Intel's GPUs.
    public let item = TuningConstant(
        "product.item", 8, vendors: [.intel: 4], body: .gpu, .values([4, 8]),
        candidates: [4, 8], keepsBits: true)
    /// Rows of a work-item's tile of 8 columns in tiles of 128 rows: 16 read less local memory for each
    /// multiplication, and take more registers.
    public let itemRows = TuningConstant(
        "product.item-rows", 8, body: .gpu, .values([8, 16]), candidates: [8, 16], keepsBits: true)
    /// The depth that is in local memory at a time: 8 takes fewer registers, 16 fewer barriers.
    public let tileK = TuningConstant(
        "product.tile-k", 8, vendors: [.intel: 16], body: .gpu, .values([8, 16]),
        candidates: [8, 16], keepsBits: true)
    /// Steps of the depth that are unrolled: more of them than 4 make AMD's compiler spill.
    public let depthUnroll = TuningConstant(
        "product.depth-unroll", 8, vendors: [.amd: 4], body: .gpu, .values([4, 8, 16]),
        candidates: [4, 8, 16], keepsBits: true)
    /// Work-groups that fill a large GPU: products with fewer take smaller tiles.
    public let wantedGroups = TuningConstant(
        launch: "product.wanted-groups", 396, body: .gpu, .range(1...65_536),
        candidates: [132, 396, 792], keepsBits: true)
    /// Smallest work-groups that fill a large GPU: deep products with fewer are cut into slots.
    public let slotGroups = TuningConstant(
        launch: "product.slot-groups", 1024, body: .gpu, .range(1...65_536))

    /// Multiplications and additions in one launch, for each of the device's compute units.
    ///
    /// A system ends or resets a GPU whose launch takes seconds. At 12 GFLOP/s a unit, which slow GPUs reach,
    /// a launch takes a third of a second; Intel's units are smaller, at most 16 to 22 GFLOP/s.
    public let largestOperations = TuningConstant(
        launch: "product.largest-operations", 4_000_000_000, vendors: [.intel: 1_000_000_000],
        body: .gpu, .range(1...1_000_000_000_000))

    /// Work-items of a group that adds slots.
    private static let slotItems = 64
    /// The height of the highest binary tree in which slots are added.
    public static let slotLevels = 8
    public let sizes = ["SLOT_ITEMS": slotItems, "SLOT_LEVELS": slotLevels]

    /// The convolution that a product computes in place.
    public enum Convolution: Int, Sendable { case none = 0, forward, backwardData }

    /// Says how the program for a product is compiled: how operands lie, the convolution, and the tile.
    public struct Variant: Hashable, Sendable {
        let aAlongX, bAlongX: Bool
        let convolution: Convolution
        /// Whether the depth may end within a step of 16.
        let hasDepthEdge: Bool
        let tileM, tileN: Int

        public var macros: [String: Int] {
            [
                "A_ALONG_X": aAlongX ? 1 : 0, "B_ALONG_X": bAlongX ? 1 : 0, "CONVOLVE": convolution.rawValue,
                "DEPTH_EDGE": hasDepthEdge ? 1 : 0, "TILE_M": tileM, "TILE_N": tileN,
            ]
        }
    }

    public var variants: [[String: Int]] { variants(tiles: ProductFamily.tiles) }

    private static let tiles = [(m: 128, n: 128), (m: 128, n: 64), (m: 64, n: 128), (m: 64, n: 64)]

    public func variants(_ tuning: Tuning) -> [[String: Int]] { variants(tiles: tiles(tuning)) }

    private func variants(tiles: [(m: Int, n: Int)]) -> [[String: Int]] {
        let forms: [(Bool, Bool, Convolution, Bool)] = [
            (false, true, .none, false), (false, true, .none, true), (false, false, .none, false),
            (true, true, .none, false), (true, true, .none, true), (false, true, .forward, false),
            (false, false, .backwardData, false),
        ]
        return forms.flatMap { form in
            tiles.map { tile in
                Variant(
                    aAlongX: form.0, bAlongX: form.1, convolution: form.2, hasDepthEdge: form.3,
                    tileM: tile.m, tileN: tile.n
                ).macros
            }
        }
    }

    /// Returns the tiles that products can take.
    private func tiles(_ tuning: Tuning) -> [(m: Int, n: Int)] {
        guard tuning.sharesGroups else { return ProductFamily.tiles }
        return ProductFamily.tiles.filter { $0.m <= tuning[largestTileM] && $0.n <= tuning[largestTileN] }
    }

    /// Small tiles of work-items go with small tiles of work-groups, and with steps that give each work-item
    /// something to load.
    public func changes(_ constant: TuningConstant, to value: Int) -> [String: Int] {
        constant.key == item.key && value == 4
            ? [item.key: 4, tileK.key: 16, largestTileM.key: 64, largestTileN.key: 64] : [constant.key: value]
    }

    /// Each work-item loads whole vectors of both operands, and a group has at most 256 work-items.
    public func check(_ tuning: Tuning) throws {
        guard tuning.sharesGroups else { return }
        for tile in tiles(tuning) {
            let items = items(tileM: tile.m, tileN: tile.n, tuning: tuning)
            let vectors = [tile.m, tile.n].map { $0 * tuning[tileK] / 4 }
            if items <= 256, vectors.allSatisfy({ $0 % items == 0 }) { continue }
            throw ComputeError(
                "tuning constant \(item.key): \(tuning[item]) does not fit a tile of \(tile.m) × \(tile.n) "
                    + "and \(tileK.key), which is \(tuning[tileK]); 4 needs \(largestTileM.key) and "
                    + "\(largestTileN.key) of 64, and \(tileK.key) of 16")
        }
    }

    /// Holds the sizes of `batch` products C[m × n] = A[m × depth] · B[depth × n].
    public struct Shape: Sendable {
        public let m, n, depth, batch: Int

        public init(m: Int, n: Int, depth: Int, batch: Int = 1) {
            self.m = m
            self.n = n
            self.depth = depth
            self.batch = batch
        }
    }

    /// Returns the largest tile that still gives enough work-groups, or the smallest.
    func tile(_ shape: Shape, tuning: Tuning) -> (m: Int, n: Int) {
        let wide = shape.n <= 64 ? 64 : tuning[largestTileN]
        let high = shape.m <= 64 ? 64 : tuning[largestTileM]
        let tiles = [(high, wide), (high, 64), (64, 64)]
        let enough = tiles.first { groups(shape, tile: $0) * shape.batch >= tuning[wantedGroups] }
        return enough ?? (64, 64)
    }

    private func groups(_ shape: Shape, tile: (m: Int, n: Int)) -> Int {
        shape.m.ceilDivided(by: tile.m) * shape.n.ceilDivided(by: tile.n)
    }

    /// Returns the parts into which a deep product's depth is cut, which follow from the shape alone: each
    /// part has at least 256 of the depth.
    public func slots(_ shape: Shape, tuning: Tuning) -> Int {
        let groups = groups(shape, tile: (64, 64)) * shape.batch
        return max(1, min((tuning[slotGroups] + groups / 2) / groups, shape.depth / 256))
    }

    /// Returns the most floats of slots that products of up to `shape.m` rows need; 0 if none is cut.
    public func slotFloats(_ shape: Shape, tuning: Tuning) -> Int {
        // Fewer rows make fewer work-groups, so more slots: of whole tiles, no more rows in all.
        (1...shape.m.ceilDivided(by: 64)).map { tiles in
            let rows = min(shape.m, 64 * tiles)
            let slots = slots(
                Shape(m: rows, n: shape.n, depth: shape.depth, batch: shape.batch), tuning: tuning)
            return slots == 1 ? 0 : slots * rows * shape.n * shape.batch
        }.reduce(0, max)
    }

    /// Returns the work-items of a work-group.
    private func items(tileM: Int, tileN: Int, tuning: Tuning) -> Int {
        let rows = tuning[item] == 8 && tileM == 128 ? tuning[itemRows] : tuning[item]
        return tileM / rows * (tileN / tuning[item])
    }

    /// Returns the launch that adds slots of `count` floats.
    public func addingSlots(count: Int) -> LaunchRange { LaunchRange([count / 4], local: [Self.slotItems]) }

    /// Returns the launch of a product, cut into as many as `largestOperations` asks for.
    public func launch(
        _ shape: Shape, variant: Variant, slots: Int, computeUnits: Int, tuning: Tuning
    ) -> LaunchRange {
        let operations = 2 * shape.m * shape.n * shape.depth * shape.batch
        let items = items(tileM: variant.tileM, tileN: variant.tileN, tuning: tuning)
        return LaunchRange(
            [
                shape.m.ceilDivided(by: variant.tileM) * items,
                shape.n.ceilDivided(by: variant.tileN), shape.batch * slots,
            ], local: [items, 1, 1],
            launches: operations.ceilDivided(by: tuning[largestOperations] * max(1, computeUnits)))
    }

    /// Returns the variant for a product.
    public func variant(
        _ shape: Shape, aAlongX: Bool, bAlongX: Bool, convolution: Convolution, slots: Int, tuning: Tuning
    ) -> Variant {
        let tile = tile(
            Shape(m: shape.m, n: shape.n, depth: shape.depth, batch: shape.batch * slots), tuning: tuning)
        return Variant(
            aAlongX: aAlongX, bAlongX: bAlongX, convolution: convolution,
            hasDepthEdge: shape.depth % 16 != 0, tileM: tile.m, tileN: tile.n)
    }
}
