import Basics

/// Describes the direct 3×3 convolution, the windows of `im2col`, and sums that go to numbered slots.
public struct ConvolutionFamily: KernelFamily {
    public let name = "convolution"
    public let vector = TuningConstant(
        "convolution.vector", 8, wide: 16, body: .cpu, .values([8, 16]), candidates: [8, 16])
    public let rows = TuningConstant(
        "convolution.rows", 6, body: .cpu, .range(1...16), candidates: [4, 5, 6, 7, 8])
    public let panels = TuningConstant(
        "convolution.panels", 1, wide: 4, body: .cpu, .range(1...8), candidates: [1, 2, 3, 4])
    public let depthLimit = TuningConstant(
        "convolution.depth-limit", 2304, body: .cpu, .range(1...1_000_000), candidates: [1152, 2304, 4608])
    public let weightChannels = TuningConstant(
        "convolution.weight-channels", 4, wide: 8, body: .cpu,
        .values([1, 2, 4, 8, 16]), candidates: [2, 4, 8])
    public let pixelsPerItem = TuningConstant(
        launch: "convolution.pixels-per-item", 192, body: .cpu, .range(1...65_536),
        candidates: [96, 192, 384])
    public let panelsPerItem = TuningConstant(
        launch: "convolution.panels-per-item", 16, body: .cpu, .range(1...4096), candidates: [8, 16, 32])
    /// Bytes of activations and gradients that one slot of the weights' gradient sums.
    public let slotBytes = TuningConstant(launch: "convolution.slot-bytes", 512 << 10, .range(1...(1 << 30)))
    /// Pixels that one slot of the image layer's weights' gradient sums on GPUs.
    public let slotPixels = TuningConstant(
        launch: "convolution.slot-pixels", 2048, body: .gpu, .range(1...(1 << 24)))
    /// Bytes of all slots together.
    public let slotsBytes = TuningConstant(launch: "convolution.slots-bytes", 16 << 20, .range(1...(1 << 30)))
    /// Bytes of windows that `im2col` lays out at a time.
    public let columnsBytes = TuningConstant(
        launch: "convolution.columns-bytes", 4 << 20, gpu: 256 << 20, .range(1...(1 << 30)))

    /// Pixels of the image layer that a work-item of a GPU computes, and work-items that take pixels side by
    /// side: forward, and in the weights' gradient.
    private static let (pixels, pixelItems, weightItems) = (8, 64, 32)
    /// Fours of outputs in a panel: a work-item of a GPU takes one of them.
    private static let quads = 4
    /// Work-items that add slots; lines and columns of work-items that add a bias' gradient.
    private static let (slotItems, biasLines, biasColumns) = (256, 16, 16)
    /// Work-items of a GPU that lay out a window, and the side of a square of weights that is transposed.
    private static let (windowItems, flippedSide) = (64, 16)
    public let sizes = [
        "QUADS": quads, "PIXELS": pixels, "PIXEL_ITEMS": pixelItems, "WEIGHT_ITEMS": weightItems,
        "SLOT_ITEMS": slotItems, "BIAS_LINES": biasLines, "BIAS_COLUMNS": biasColumns,
        "WINDOW_ITEMS": windowItems, "FLIPPED_SIDE": flippedSide,
    ]
    /// Windows that a work-item of a CPU lays out.
    private static let windowsPerItem = 16

    /// Holds the sizes that the kernels take together, without channels for images, which have four.
    public struct Shape: KernelArgumentGroup {
        let map: MapSize
        let isImage: Bool
        let outputs: Int
        let batch: Int?

        public var arguments: [any KernelArgument] {
            let channels = isImage ? [] : [map.channels]
            return (batch.map { [$0] } ?? []) + [map.height, map.width] + channels + [outputs]
        }
    }

    /// Returns the launch that turns weights for backward-data.
    public func flipping(inputs: Int, outputs: Int, tuning: Tuning) -> LaunchRange {
        let items = tuning.groupItems(Self.flippedSide)
        return LaunchRange([inputs / 16 * items, 9 * items, outputs / 16], local: [items, items, 1])
    }

    /// Returns the launch that adds slots of `count` floats, and the panels that one work-item adds.
    public func reduction(slots: Int, count: Int, tuning: Tuning) -> (range: LaunchRange, panelsPerItem: Int)
    {
        if tuning.sharesGroups {
            // With many slots, several work-items share those of a place.
            let lines = slots >= 64 ? 64 : 1
            return (
                LaunchRange([count / 4, lines], local: [lines == 1 ? 64 : Self.slotItems / lines, lines]), 0
            )
        }
        let panels = count / 16
        let panelsPerItem = max(1, min(64, panels / 64))
        return (LaunchRange([panels.ceilDivided(by: panelsPerItem)], local: [1]), panelsPerItem)
    }

    /// Returns the launch that lays out the windows of `pixels`, and the pixels that one work-item takes.
    public func windows(pixels: Int, channels: Int, tuning: Tuning) -> (
        range: LaunchRange, pixelsPerItem: Int
    ) {
        tuning.sharesGroups
            ? (LaunchRange([9 * channels / 4, pixels], local: [Self.windowItems, 1]), 0)
            : (
                LaunchRange([pixels.ceilDivided(by: Self.windowsPerItem)], local: [1]), Self.windowsPerItem
            )
    }
}

extension ConvolutionFamily {
    /// Works out sizes and launches of the direct convolution before any memory is allocated.
    public struct Direct: Sendable {
        /// The input's size; the output's is the same with `outputs` channels.
        public var input: MapSize
        public let outputs: Int
        let tuning: Tuning

        public init(input: MapSize, outputs: Int, tuning: Tuning) {
            self.input = input
            self.outputs = outputs
            self.tuning = tuning
        }

        private var family: ConvolutionFamily { KernelFamilies.convolution }
        public var isImage: Bool { input.channels == 4 }
        public var weightCount: Int { 9 * input.channels * outputs }
        /// Floats of zeros that stand for the pixels outside.
        public var zerosCount: Int { max(input.channels, outputs) }

        /// Image rows that one slot of the weights' gradient sums: both tensors' rows fit a core's cache.
        private var rowsPerSlot: Int {
            if tuning.sharesGroups { return max(1, tuning[family.slotPixels] / input.width) }
            return max(1, tuning[family.slotBytes] / (4 * input.width * (input.channels + outputs)))
        }

        /// Slots of one launch; the launches that follow add the rows that are left to them.
        private func slotCount(rows: Int) -> Int {
            max(1, min(rows.ceilDivided(by: rowsPerSlot), tuning[family.slotsBytes] / (4 * weightCount)))
        }

        public func workspaceByteCount(maximumBatch: Int) -> Int {
            slotCount(rows: maximumBatch * input.height) * weightCount * 4
        }

        /// Returns the launch of forward, or (`backwardData`) of the same kernel over the output's gradient.
        ///
        /// - Returns: with the pixels and panels that one work-item computes as its share
        public func forward(batch: Int, backwardData: Bool = false) -> (
            range: LaunchRange, shape: Shape, share: [Int]
        ) {
            let map = backwardData ? input.with(channels: outputs) : input
            let targets = backwardData ? input.channels : outputs
            let count = batch * input.height * input.width
            let shape = Shape(map: map, isImage: map.channels == 4, outputs: targets, batch: batch)
            if tuning.sharesGroups {
                let range = LaunchRange(
                    [targets / 4, count.ceilDivided(by: ConvolutionFamily.pixels)],
                    local: [ConvolutionFamily.quads, ConvolutionFamily.pixelItems])
                return (range, shape, [0, 0])
            }
            let pixels = tuning[family.pixelsPerItem]
            let panels = min(targets / 16, tuning[family.panelsPerItem])
            let items = [
                count.ceilDivided(by: pixels), (targets / 16).ceilDivided(by: panels),
            ]
            return (LaunchRange(items, local: [1, 1]), shape, [pixels, panels])
        }

        /// Whether the image layer's weights' gradient takes the gradient behind its pooling.
        public var takesGradientBehindPooling: Bool {
            !tuning.sharesGroups && isImage && input.height % 2 == 0 && input.width % 2 == 0
        }

        /// Returns the launch of the image layer's gradients from the one behind its pooling, and the rows of
        /// windows of a slot.
        ///
        /// The slots fit where those of `backwardWeights` do: 28 lines of each panel instead of 36.
        public func gradientsBehindPooling(batch: Int) -> (
            range: LaunchRange, shape: Shape, rowsPerSlot: Int, slots: Int
        ) {
            let rows = batch * input.height / 2
            let perSlot = rows.ceilDivided(by: min(64, slotCount(rows: batch * input.height)))
            let slots = rows.ceilDivided(by: perSlot)
            let shape = Shape(map: input, isImage: true, outputs: outputs, batch: batch)
            return (LaunchRange([slots], local: [1]), shape, perSlot, slots)
        }

        /// Returns the launch that adds the slots of `gradientsBehindPooling`.
        public var addingGradients: LaunchRange { LaunchRange([outputs / 16, 28], local: [1, 1]) }

        /// Returns the launches of the weights' gradient, which fill the same slots one after the other.
        ///
        /// - Returns: with the first row, the end of the rows and the rows of a slot for each launch
        public func backwardWeights(batch: Int) -> (
            launches: [(range: LaunchRange, rows: [Int])], shape: Shape, slots: Int
        ) {
            let rows = batch * input.height
            let perSlot = rowsPerSlot
            let slots = slotCount(rows: rows)
            let onGPU = tuning.sharesGroups
            let tiles =
                onGPU
                ? [outputs / 4, ConvolutionFamily.weightItems]
                : isImage
                    ? [3, outputs.ceilDivided(by: 32)]
                    : [3 * input.channels / tuning[family.weightChannels], outputs / tuning[family.vector]]
            let local = onGPU ? [ConvolutionFamily.quads, ConvolutionFamily.weightItems, 1] : [1, 1, 1]
            let launches = stride(from: 0, to: rows, by: slots * perSlot).map { first in
                let last = min(rows, first + slots * perSlot)
                let count = (last - first).ceilDivided(by: perSlot)
                return (LaunchRange(tiles + [count], local: local), [first, last, perSlot])
            }
            return (
                launches, Shape(map: input, isImage: isImage, outputs: outputs, batch: nil),
                min(slots, rows.ceilDivided(by: perSlot))
            )
        }
    }

    /// Works out sizes of the convolution over windows laid out as rows, before any memory is allocated.
    public struct Im2col: Sendable {
        public var input: MapSize
        public let outputs: Int
        public let tuning: Tuning

        public init(input: MapSize, outputs: Int, tuning: Tuning) {
            self.input = input
            self.outputs = outputs
            self.tuning = tuning
        }

        /// Returns the parts of the depth that each chunk of the weights' gradient sums apart.
        public func slots(pixels: Int) -> Int {
            guard tuning.sharesGroups else { return 1 }
            let depth = chunk(pixels: pixels, channels: input.channels)
            return KernelFamilies.product.slots(
                .init(m: 9 * input.channels, n: outputs, depth: depth), tuning: tuning)
        }

        /// Pixels of one chunk, for rows of 9 · `channels`: a multiple of 64, so that a chunk of the output
        /// starts where a sub-buffer may.
        public func chunk(pixels: Int, channels: Int) -> Int {
            min(pixels, max(64, tuning[KernelFamilies.convolution.columnsBytes] / (36 * channels) / 64 * 64))
        }

        /// Returns the bytes of the scratch memory's parts, in whole pages: turned weights, windows, and the
        /// slots of the weights' gradient.
        public func parts(maximumBatch: Int) -> [Int] {
            let pixels = maximumBatch * input.height * input.width
            let columns = [input.channels, outputs].map { chunk(pixels: pixels, channels: $0) * 36 * $0 }
            let weights = 36 * input.channels * outputs
            let slots = slots(pixels: pixels)
            return [weights, columns.reduce(0, max), slots == 1 ? 0 : slots * weights].map {
                $0.roundedUp(to: Buffer.sliceAlignment)
            }
        }

        public func workspaceByteCount(maximumBatch: Int) -> Int {
            parts(maximumBatch: maximumBatch).reduce(0, +)
        }
    }

    /// Works out the slots of a bias' gradient from the number of pixels, which fixes the order of addition.
    public struct BiasSlots {
        public let pixelsPerSlot: Int
        public let count: Int
        private let onGPU: Bool

        /// Returns the launch for an output of `channels`.
        public func range(channels: Int) -> LaunchRange {
            onGPU
                ? LaunchRange(
                    [channels / 4, ConvolutionFamily.biasLines * count],
                    local: [ConvolutionFamily.biasColumns, ConvolutionFamily.biasLines])
                : LaunchRange([count], local: [1])
        }

        public init(pixels: Int, tuning: Tuning) {
            onGPU = tuning.sharesGroups
            pixelsPerSlot = max(64, pixels.ceilDivided(by: BiasSlots.most(tuning)))
            count = pixels.ceilDivided(by: pixelsPerSlot)
        }

        private static func most(_ tuning: Tuning) -> Int { tuning.sharesGroups ? 2048 : 256 }

        /// Returns the bytes of the slots for up to `pixels`: fewer pixels may have more slots, and one more
        /// than the most wanted.
        public static func byteCount(pixels: Int, channels: Int, tuning: Tuning) -> Int {
            min(most(tuning) + 1, pixels) * channels * 4
        }
    }
}
