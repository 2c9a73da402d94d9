import Basics
import Compute

/// Multiplies matrices of float32 on the device, by `cpu/gemm.cl` and `cpu/fully_connected.cl`, or by
/// `gpu/product.cl`.
///
/// N is a multiple of 16. On CPUs M and K are any. On GPUs M is a multiple of 4 if A is transposed, else K
/// is.
public final class MatrixProduct {
    /// Holds A: row-major with rows of `columns` floats, m × k, or stored k × m if `isTransposed`.
    public struct Rows: KernelArgumentGroup {
        let buffer: Buffer
        let columns: Int
        let isTransposed: Bool
        /// On CPUs, the floats from one work-item's rows to the next one's, where they are stored in blocks.
        var blockStride: Int?

        public init(_ buffer: Buffer, columns: Int, isTransposed: Bool = false) {
            self.buffer = buffer
            self.columns = columns
            self.isTransposed = isTransposed
        }

        /// Blocks `[⌈m/rows⌉][depth][rows]` of as many rows as a work-item takes.
        fileprivate init(blocks buffer: Buffer, of rows: Int, depth: Int) {
            self.init(buffer, columns: rows, isTransposed: true)
            blockStride = rows * depth
        }

        public var arguments: [any KernelArgument] { [buffer, columns] }
    }

    /// Holds B or C in panels of 16 columns: element (row, n) at (n/16)·panelStride + row·rowStride + n%16.
    public struct Panels: KernelArgumentGroup {
        let buffer: Buffer
        let panelStride: Int
        let rowStride: Int

        /// Returns a matrix whose panels stand one after the other, `[N/16][rows][16]`.
        public static func panels(_ buffer: Buffer, rows: Int) -> Panels {
            Panels(buffer: buffer, panelStride: 16 * rows, rowStride: 16)
        }

        /// Returns a row-major matrix with rows of `columns` floats.
        public static func rowMajor(_ buffer: Buffer, columns: Int) -> Panels {
            Panels(buffer: buffer, panelStride: 16, rowStride: columns)
        }

        public var arguments: [any KernelArgument] { [buffer, panelStride, rowStride] }

        /// Whether each row of a panel starts at a multiple of 16 floats.
        fileprivate var holdsAlignedRows: Bool { panelStride % 16 == 0 && rowStride % 16 == 0 }
    }

    /// Holds the sizes of a product: C has m rows and n columns, A has m rows and k columns.
    public struct Size: KernelArgumentGroup {
        let m, n, k: Int

        public init(m: Int, n: Int, k: Int) {
            self.m = m
            self.n = n
            self.k = k
        }

        public var arguments: [any KernelArgument] { [m, n, k] }
        var shape: ProductFamily.Shape { .init(m: m, n: n, depth: k) }
    }

    /// Says what happens to a sum, with the bits of flags.h.
    public struct Options: OptionSet, Sendable {
        public let rawValue: Int
        public init(rawValue: Int) { self.rawValue = rawValue }
        /// Adds to C instead of replacing it.
        public static let accumulate = Options(rawValue: 1)
        public static let bias = Options(rawValue: 2)
        public static let relu = Options(rawValue: 4)
        /// Writes past the cache, on CPUs.
        fileprivate static let stream = Options(rawValue: 8)
    }

    /// The kernels for CPUs.
    private struct Cores {
        let plain, transposed, pack, packTransposed, byPanels, byTransposed: Kernel
    }

    private enum Bodies {
        case cores(Cores)
        case groups(GroupProduct)
    }

    private let bodies: Bodies
    private let tuning: Tuning

    public init(device: Device) throws {
        tuning = device.tuning
        switch tuning.device.body {
        case .cpu:
            bodies = .cores(
                Cores(
                    plain: try device.kernel("gemm", "gemm"),
                    transposed: try device.kernel("gemm", "gemm_transposed"),
                    pack: try device.kernel("gemm", "gemm_pack_b"),
                    packTransposed: try device.kernel("gemm", "gemm_pack_b_transposed"),
                    byPanels: try device.kernel("fully_connected", "fully_connected_forward"),
                    byTransposed: try device.kernel("fully_connected", "fully_connected_backward_data")))
        case .gpu: bodies = .groups(GroupProduct(device: device))
        }
    }

    /// Queues c[m × n] ← a[m × k] · b[k × n] (+ bias, ReLU).
    ///
    /// - Parameters:
    ///   - bias: `[n]`, read only if `options` asks for it
    ///   - slots: parts of k that are summed apart, one m × n matrix after the other; 1 on CPUs
    public func multiply(
        _ a: Rows, _ b: Panels, into c: Panels, bias: Buffer? = nil,
        size: Size, options: Options = [], slots: Int = 1
    ) throws {
        switch bodies {
        case .cores(let cores):
            let family = KernelFamilies.gemm
            let (range, share) = family.product(m: size.m, n: size.n, k: size.k, tuning: tuning)
            var options = options
            if !options.contains(.accumulate), c.holdsAlignedRows,
                family.streams(m: size.m, n: size.n, k: size.k, tuning: tuning)
            {
                options.insert(.stream)
            }
            let kernel = a.isTransposed ? cores.transposed : cores.plain
            let stride = a.isTransposed ? [a.blockStride ?? share.rows] : []
            try kernel.launch(
                range, a, b, c, bias ?? b.buffer, size, [share.rows, share.panels, options.rawValue] + stride)
        case .groups(let groups):
            try groups.multiply(
                .rowMajor(a.buffer, columns: a.columns, alongX: a.isTransposed),
                .init(buffer: b.buffer, alongX: true, pitch: b.rowStride, step: b.panelStride),
                into: .init(
                    buffer: c.buffer, pitch: c.rowStride, step: c.panelStride, slotStride: size.m * size.n),
                bias: bias, shape: size.shape, slots: slots,
                options: options)
        }
    }

    /// Queues c[m × n] ← a[m × k] · b + bias, all row-major but b, in panels [n/16][k][16].
    ///
    /// - Parameters:
    ///   - isReLUApplied: whether a negative sum becomes zero
    ///   - slots: parts of k that are summed apart on GPUs; nil: those that suit the shape
    ///   - scratch: of the size that `scratch` states
    public func multiply(
        rows a: Buffer, byPanels b: Buffer, into c: Buffer,
        bias: Buffer, size: Size, isReLUApplied: Bool, slots: Int? = nil, scratch: Buffer
    ) throws {
        let options: Options = isReLUApplied ? [.bias, .relu] : .bias
        switch bodies {
        case .cores(let cores):
            let (range, share) = KernelFamilies.fullyConnected.forward(
                batch: size.m, outputs: size.n, tuning: tuning)
            // All products of a device sum over blocks of the same depth.
            try cores.byPanels.launch(
                range, a, b, bias, c,
                [size.m, size.k, size.n, tuning[KernelFamilies.gemm.depthBlock], share, options.rawValue])
        case .groups(let groups):
            try groups.multiply(
                .rowMajor(a, columns: size.k, alongX: false), .panels(b, rows: size.k, alongX: true),
                intoRows: c, bias: bias, shape: size.shape, slots: slots,
                options: options, scratch: scratch)
        }
    }

    /// Queues c[m × n] ← aᵀ · b, both row-major, a [k × m] and b [k × n]; c in panels [n/16][m][16].
    ///
    /// - Parameter scratch: of the sizes that `scratch(transposed:tuning:)` states. CPUs pack both matrices:
    ///   their rows are often a multiple of 4 KiB apart, and a tile's lines would fall together in a cache.
    public func multiply(
        transposed a: Buffer, byRows b: Buffer, intoPanels c: Buffer, size: Size,
        scratch: (a: Buffer, b: Buffer)
    ) throws {
        var rows = Rows(a, columns: size.m, isTransposed: true)
        var columns = Panels.rowMajor(b, columns: size.n)
        if case .cores = bodies {
            try pack(b, into: scratch.b, k: size.k, n: size.n)
            columns = .panels(scratch.b, rows: size.k)
            if let block = KernelFamilies.gemm.packedRows(
                m: size.m, n: size.n, k: size.k, tuning: tuning)
            {
                try pack(a, into: scratch.a, k: size.k, n: size.m, width: block)
                rows = Rows(blocks: scratch.a, of: block, depth: size.k)
            }
        }
        try multiply(rows, columns, into: .panels(c, rows: size.m), size: size)
    }

    /// Returns the floats of the scratch memory of a product of a transposed matrix, for at most n columns.
    ///
    /// GPUs need none.
    public static func scratch(transposed size: Size, tuning: Tuning) -> (a: Int, b: Int) {
        guard !tuning.sharesGroups else { return (0, 0) }
        return (KernelFamilies.gemm.packedFloats(m: size.m, k: size.k, tuning: tuning), size.k * size.n)
    }

    /// Queues c[m × n] ← a[m × k] · bᵀ, both row-major, with b in panels [k/16][n][16]; n and k are multiples
    /// of 16.
    ///
    /// - Parameters:
    ///   - slices: parts of k whose sums are added in a binary tree: their number, and the columns of each
    ///   - slots: parts of k that are summed apart on GPUs if there is one slice; nil: those that suit the
    ///     shape
    ///   - scratch: of the size that `scratch` states
    public func multiply(
        _ a: Buffer, byTransposed b: Buffer, into c: Buffer, size: Size, slices: (count: Int, size: Int),
        slots: Int? = nil, scratch: (a: Buffer, c: Buffer)
    ) throws {
        switch bodies {
        case .cores(let cores):
            // As cᵀ = b · aᵀ, so that b is read where it lies.
            let lanes = KernelFamilies.fullyConnected.lanes(batch: size.m)
            try packTransposed(a, into: scratch.a, k: size.k, n: size.m, width: lanes)
            let (range, share) = KernelFamilies.fullyConnected.backwardData(inputs: size.n, tuning: tuning)
            try cores.byTransposed.launch(
                range, scratch.a, b, scratch.c, c, [size.m, size.n, size.k, slices.size, share, lanes])
        case .groups(let groups):
            try groups.multiply(
                .rowMajor(a, columns: size.k, alongX: false), .panels(b, rows: size.n, alongX: false),
                intoRows: c, shape: size.shape, slices: slices, slots: slots, scratch: scratch.c)
        }
    }

    /// Returns the floats of the scratch memory of a product into rows by panels, which CPUs do not need.
    public static func scratch(_ size: Size, tuning: Tuning) -> Int {
        tuning.sharesGroups ? KernelFamilies.product.slotFloats(size.shape, tuning: tuning) : 0
    }

    /// Returns the floats of the scratch memory of a product by a transposed matrix.
    ///
    /// - Parameter slices: the number of slices
    public static func scratch(_ size: Size, slices: Int, tuning: Tuning) -> (a: Int, c: Int) {
        if tuning.sharesGroups {
            return (0, slices > 1 ? slices * size.m * size.n : scratch(size, tuning: tuning))
        }
        let rows = size.m.roundedUp(to: KernelFamilies.fullyConnected.lanes(batch: size.m))
        return (rows * size.k, rows * size.n * (slices.trailingZeroBitCount + 1))
    }

    /// Returns the parts of k that GPUs sum apart in a product of this size.
    static func slots(_ size: Size, tuning: Tuning) -> Int {
        tuning.sharesGroups ? KernelFamilies.product.slots(size.shape, tuning: tuning) : 1
    }

    /// Queues panels `[⌈n/width⌉][k][width]` ← b, row-major [k][n]; columns past n become zero.
    ///
    /// For CPUs only: the products of GPUs read matrices without copying them.
    public func pack(_ b: Buffer, into panels: Buffer, k: Int, n: Int, width: Int = 16) throws {
        guard case .cores(let cores) = bodies else { throw MatrixProduct.packsForCPUs }
        let (range, depthPerItem) = KernelFamilies.gemm.packing(k: k, n: n, width: width, tuning: tuning)
        try cores.pack.launch(range, b, panels, [k, n, n, depthPerItem, width])
    }

    /// Queues panels `[⌈n/width⌉][k][width]` ← b, row-major [n][k]; columns past n become zero.
    ///
    /// For CPUs only.
    public func packTransposed(_ b: Buffer, into panels: Buffer, k: Int, n: Int, width: Int) throws {
        guard case .cores(let cores) = bodies else { throw MatrixProduct.packsForCPUs }
        let (range, depthPerItem) = KernelFamilies.gemm.packing(k: k, n: n, width: width, tuning: tuning)
        try cores.packTransposed.launch(range, b, panels, [k, n, k, depthPerItem, width])
    }

    private static let packsForCPUs = ComputeError("matrices are packed for CPUs only")
}
