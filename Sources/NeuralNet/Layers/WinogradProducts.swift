import Compute

/// Multiplies transformed maps and filters, one product for each position of a tile.
protocol WinogradProducts {
    /// Queues M ← V · U.
    func multiply(
        _ maps: Buffer, by weights: Buffer, into products: Buffer, channels: Int, filters: Int, rows: Int
    ) throws

    /// Queues dU ← Vᵀ · D and the bias' gradient over one chunk, adding to those before it unless it
    /// `isFirst`.
    func multiplyWeights(
        _ maps: Buffer, by gradients: Buffer, into sums: Buffer, biasGradient: Buffer,
        rows: Int, isFirst: Bool
    ) throws

    /// Returns the sums over all chunks, which may have been in slots of `sums`.
    func finish(_ sums: Buffer, scratch: Buffer) throws -> Buffer
}

/// The products by the kernels for CPUs.
struct CoreWinogradProducts: WinogradProducts {
    private let sizes: WinogradFamily.Geometry
    private let multiply: Kernel
    private let multiplyWeights: Kernel

    init(_ sizes: WinogradFamily.Geometry, kernel: (String) throws -> Kernel) throws {
        self.sizes = sizes
        multiply = try kernel("multiply")
        multiplyWeights = try kernel("multiply_weights")
    }

    func multiply(
        _ maps: Buffer, by weights: Buffer, into products: Buffer, channels: Int, filters: Int, rows: Int
    ) throws {
        try multiply.launch(
            sizes.multiply(rows: rows, filters: filters), maps, weights, products, channels, filters, rows)
    }

    func multiplyWeights(
        _ maps: Buffer, by gradients: Buffer, into sums: Buffer, biasGradient: Buffer,
        rows: Int, isFirst: Bool
    ) throws {
        try multiplyWeights.launch(
            sizes.multiplyWeights, maps, gradients, sums, biasGradient,
            sizes.channels, sizes.filters, rows, isFirst ? 0 : 1)
    }

    func finish(_ sums: Buffer, scratch: Buffer) -> Buffer { sums }
}

/// The products by work-groups that share local memory.
struct GroupWinogradProducts: WinogradProducts {
    private let sizes: WinogradFamily.Geometry
    private let product: GroupProduct
    private let reduction: SlotReduction
    private let reduceBias: Kernel

    init(_ sizes: WinogradFamily.Geometry, device: Device, kernel: (String) throws -> Kernel) throws {
        self.sizes = sizes
        reduceBias = try kernel("reduce_bias")
        product = GroupProduct(device: device)
        reduction = try SlotReduction(device: device)
    }

    private func maps(_ buffer: Buffer, channels: Int, rows: Int, alongX: Bool) -> GroupProduct.Operand {
        .panels(buffer, rows: rows, alongX: alongX, batchStride: sizes.planeSize(channels, rows: rows))
    }

    func multiply(
        _ maps: Buffer, by weights: Buffer, into products: Buffer, channels: Int, filters: Int, rows: Int
    ) throws {
        try product.multiply(
            self.maps(maps, channels: channels, rows: rows, alongX: false),
            .panels(weights, rows: channels, alongX: true, batchStride: channels * filters),
            into: .init(
                buffer: products, pitch: 16, step: 16 * rows,
                batchStride: sizes.planeSize(filters, rows: rows)),
            shape: .init(m: rows, n: filters, depth: channels, batch: sizes.positions))
    }

    func multiplyWeights(
        _ maps: Buffer, by gradients: Buffer, into sums: Buffer, biasGradient: Buffer,
        rows: Int, isFirst: Bool
    ) throws {
        let (channels, filters) = (sizes.channels, sizes.filters)
        try product.multiply(
            self.maps(maps, channels: channels, rows: rows, alongX: true),
            self.maps(gradients, channels: filters, rows: rows, alongX: true),
            into: .init(
                buffer: sums, pitch: 16, step: 16 * channels, batchStride: channels * filters,
                slotStride: sizes.transformedWeightCount),
            shape: .init(m: channels, n: filters, depth: rows, batch: sizes.positions),
            slots: sizes.weightSlots, options: isFirst ? [] : .accumulate)
        try reduceBias.launch(sizes.bias, gradients, biasGradient, filters, rows, isFirst ? 0 : 1)
    }

    func finish(_ sums: Buffer, scratch: Buffer) throws -> Buffer {
        guard sizes.weightSlots > 1 else { return sums }
        try reduction.add(
            sums, count: sizes.weightSlots, into: scratch, floatCount: sizes.transformedWeightCount)
        return scratch
    }
}
