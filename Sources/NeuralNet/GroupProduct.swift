import Compute

/// Multiplies matrices and convolves with work-groups that share local memory (`gpu/product.cl`).
final class GroupProduct {
    /// Holds A or B: where element (x, k) lies, x being a row of A or a column of B, k the depth.
    struct Operand {
        let buffer: Buffer
        /// Whether neighbours in memory follow x: (x/16)·step + k·pitch + x%16, else x·pitch + (k/16)·step +
        /// k%16.
        let alongX: Bool
        let pitch, step: Int
        /// Floats between the operands of a batch.
        var batchStride = 0

        /// Returns a row-major matrix [rows][columns] whose rows are x, or with `alongX` whose columns are.
        static func rowMajor(_ buffer: Buffer, columns: Int, alongX: Bool) -> Operand {
            Operand(buffer: buffer, alongX: alongX, pitch: columns, step: 16)
        }

        /// Returns panels [⌈columns/16⌉][rows][16] whose rows are x, or with `alongX` whose columns are.
        static func panels(_ buffer: Buffer, rows: Int, alongX: Bool, batchStride: Int = 0) -> Operand {
            Operand(buffer: buffer, alongX: alongX, pitch: 16, step: 16 * rows, batchStride: batchStride)
        }
    }

    /// Holds C: element (m, n) at (n/16)·step + m·pitch + n%16.
    struct Target {
        let buffer: Buffer
        let pitch, step: Int
        var batchStride = 0
        /// Floats between the slots of the depth.
        var slotStride = 0
    }

    /// What is added in slots, and what happens to the sum.
    private struct SlotSum: KernelArgumentGroup {
        /// Floats of the result, and of a row of it.
        let count, columns: Int
        let slots: Int
        let options: MatrixProduct.Options

        var arguments: [any KernelArgument] { [count, columns, slots, UInt64(count), options.rawValue] }
    }

    private let device: Device
    private let tuning: Tuning
    private var kernels: [ProductFamily.Variant: Kernel] = [:]
    private var addSlots: Kernel?
    private var addSlotsInTree: Kernel?

    init(device: Device) {
        self.device = device
        tuning = device.tuning
    }

    /// Queues c ← a · b (+ bias, ReLU) for each product of the batch, or its partial sums in `slots`.
    func multiply(
        _ a: Operand, _ b: Operand, into c: Target, bias: Buffer? = nil, shape: ProductFamily.Shape,
        slots: Int = 1, options: MatrixProduct.Options = []
    ) throws {
        try launch(a, b, into: c, bias: bias, shape: shape, slots: slots, options: options)
    }

    /// Queues c[m × n] ← a · b (+ bias, ReLU), row-major, in slots of the depth where there are too few
    /// groups.
    ///
    /// - Parameters:
    ///   - slots: nil: as many as suit the shape
    ///   - scratch: room for `ProductFamily.slotFloats`, or for c once per slot
    func multiply(
        _ a: Operand, _ b: Operand, intoRows c: Buffer, bias: Buffer? = nil, shape: ProductFamily.Shape,
        slots: Int? = nil, options: MatrixProduct.Options = [], scratch: Buffer
    ) throws {
        let family = KernelFamilies.product
        let slots = slots ?? family.slots(shape, tuning: tuning)
        guard slots > 1 else {
            return try multiply(
                a, b, into: Target(buffer: c, pitch: shape.n, step: 16),
                bias: bias, shape: shape, options: options)
        }
        let count = shape.m * shape.n
        try multiply(
            a, b, into: Target(buffer: scratch, pitch: shape.n, step: 16, slotStride: count),
            shape: shape, slots: slots)
        let kernel =
            try addSlots
            ?? device.kernel("product", "add_slots", variant: KernelFamilies.product.variants(tuning)[0])
        addSlots = kernel
        try kernel.launch(
            family.addingSlots(count: count), scratch, bias ?? scratch, c,
            SlotSum(count: count, columns: shape.n, slots: slots, options: options))
    }

    /// Queues c[m × n] ← a · b, row-major, as sums over the slices of the depth, added in a binary tree.
    ///
    /// - Parameters:
    ///   - slots: of a single slice's depth; nil: as many as suit the shape
    ///   - scratch: room for c once per slice, if there are several
    func multiply(
        _ a: Operand, _ b: Operand, intoRows c: Buffer, shape: ProductFamily.Shape,
        slices: (count: Int, size: Int),
        slots: Int? = nil, scratch: Buffer
    ) throws {
        guard slices.count > 1 else {
            return try multiply(a, b, intoRows: c, shape: shape, slots: slots, scratch: scratch)
        }
        let count = shape.m * shape.n
        try launch(
            a, b, into: Target(buffer: scratch, pitch: shape.n, step: 16, slotStride: count), bias: nil,
            shape: shape, slots: slices.count, slotDepth: slices.size, options: [])
        let family = KernelFamilies.product
        let kernel =
            try addSlotsInTree
            ?? device.kernel("product", "add_slots_in_tree", variant: family.variants(tuning)[0])
        addSlotsInTree = kernel
        try kernel.launch(
            family.addingSlots(count: count), scratch, c, count, slices.count, UInt64(count))
    }

    /// Queues a 3×3 convolution of `map`, an image of channels in sixteens, with `outputs` channels in the
    /// end.
    ///
    /// - Parameters:
    ///   - weights: panels [outputs/16][3][3][inputs][16] of the layer
    ///   - backwardData: whether `map` is the output's gradient, and the result the input's
    func convolve(
        _ source: Buffer, map: MapSize, weights: Buffer, bias: Buffer?, into target: Buffer, outputs: Int,
        batch: Int, backwardData: Bool = false
    ) throws {
        let shape = ProductFamily.Shape(
            m: batch * map.height * map.width, n: outputs, depth: 9 * map.channels)
        // The kernel's places in the image are 32-bit.
        guard shape.m * map.channels < 1 << 31 else {
            throw ComputeError(
                "a convolution of \(batch) maps of \(map.height)×\(map.width)×\(map.channels) reads "
                    + "\(shape.m * map.channels) numbers; direct convolution on GPUs takes fewer than 2³¹")
        }
        let panels = Operand.panels(
            weights, rows: backwardData ? outputs : 9 * map.channels, alongX: !backwardData)
        try launch(
            .rowMajor(source, columns: map.channels, alongX: false), panels,
            into: Target(buffer: target, pitch: outputs, step: 16), bias: bias, shape: shape,
            options: bias == nil ? [] : [.bias, .relu], map: map,
            convolution: backwardData ? .backwardData : .forward)
    }

    private func launch(
        _ a: Operand, _ b: Operand, into c: Target, bias: Buffer?, shape: ProductFamily.Shape,
        slots: Int = 1, slotDepth: Int? = nil, options: MatrixProduct.Options, map: MapSize? = nil,
        convolution: ProductFamily.Convolution = .none
    ) throws {
        let family = KernelFamilies.product
        let variant = family.variant(
            shape, aAlongX: a.alongX, bAlongX: b.alongX,
            convolution: convolution, slots: slots, tuning: tuning)
        let kernel =
            try kernels[variant] ?? device.kernel("product", "product", variant: variant.macros)
        kernels[variant] = kernel
        let slotDepth = slotDepth ?? shape.depth.ceilDivided(by: slots).roundedUp(to: 16)
        let sizes: [any KernelArgument] = [
            shape.m, shape.n, shape.depth, a.pitch, a.step, b.pitch, b.step, c.pitch, c.step,
            UInt64(a.batchStride), UInt64(b.batchStride), UInt64(c.batchStride), slots, slotDepth,
            UInt64(c.slotStride), options.rawValue,
        ]
        try kernel.launch(
            family.launch(
                shape, variant: variant, slots: slots, computeUnits: device.description.computeUnits,
                tuning: tuning), a.buffer, b.buffer, bias ?? b.buffer, c.buffer,
            Arguments(sizes + (map.map(\.arguments) ?? [])))
    }

    private struct Arguments: KernelArgumentGroup {
        let arguments: [any KernelArgument]
        init(_ arguments: [any KernelArgument]) { self.arguments = arguments }
    }
}
