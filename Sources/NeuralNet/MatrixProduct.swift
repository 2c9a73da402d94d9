import Compute

/// Matrix products of float32 on the device (`gemm.cl`). N is a multiple of 16; M and K are any.
public final class MatrixProduct {
    /// How a matrix of 16-column panels lies: element (row, n) at (n/16)·panelStride + row·rowStride + n%16.
    public struct Layout: Sendable {
        let panelStride: Int
        let rowStride: Int

        /// Panels one after the other, `[N/16][rows][16]`.
        public static func panels(rows: Int) -> Layout { Layout(panelStride: 16 * rows, rowStride: 16) }
        /// Row-major with rows of `columns` floats.
        public static func rowMajor(columns: Int) -> Layout { Layout(panelStride: 16, rowStride: columns) }
    }

    public struct Options: OptionSet, Sendable {
        public let rawValue: Int
        public init(rawValue: Int) { self.rawValue = rawValue }
        /// Adds to C instead of replacing it.
        public static let accumulate = Options(rawValue: 1)
        public static let bias = Options(rawValue: 2)
        public static let relu = Options(rawValue: 4)
    }

    private let product: Kernel
    private let productTransposed: Kernel
    private let packKernel: Kernel
    private let packTransposedKernel: Kernel
    private let tuning: Tuning.GEMM

    public init(device: Device) throws {
        tuning = Tuning(for: device.description).gemm
        let constants = tuning.constants
        product = try device.kernel("gemm", "gemm", constants: constants)
        productTransposed = try device.kernel("gemm", "gemm_transposed", constants: constants)
        packKernel = try device.kernel("gemm", "gemm_pack_b", constants: constants)
        packTransposedKernel = try device.kernel("gemm", "gemm_pack_b_transposed", constants: constants)
    }

    /// c[m × n] ← a[m × k] · b[k × n] (+ bias, ReLU).
    ///
    /// - Parameters:
    ///   - a: row-major with rows of `aColumns` floats; with `transposed` it is stored as [k][m]
    ///   - bias: `[n]`, read only where `options` asks for it
    public func multiply(
        _ a: Buffer, aColumns: Int, transposed: Bool = false, _ b: Buffer, _ bLayout: Layout,
        bias: Buffer? = nil, into c: Buffer, _ cLayout: Layout, m: Int, n: Int, k: Int, options: Options = []
    ) throws {
        let panels = n / 16
        let panelsPerItem = min(panels, tuning.panelsPerItem)
        let columns = (panels + panelsPerItem - 1) / panelsPerItem
        // Enough items for many cores, of several microseconds each; what an item takes changes no sum.
        let rows = (m * columns + tuning.items - 1) / tuning.items
        let rowsPerItem = max(
            tuning.rows, min(tuning.rowsPerItem, (rows + tuning.rows - 1) / tuning.rows * tuning.rows))
        let kernel = transposed ? productTransposed : product
        try kernel.launch(
            [(m + rowsPerItem - 1) / rowsPerItem, columns], local: [1, 1], a, b, bias ?? b, c, m, n, k,
            aColumns, bLayout.panelStride, bLayout.rowStride, cLayout.panelStride, cLayout.rowStride,
            rowsPerItem, panelsPerItem, options.rawValue)
    }

    /// panels `[⌈n/16⌉][k][16]` ← b, row-major [k][n] or, `transposed`, [n][k]; columns past n become zero.
    public func pack(_ b: Buffer, transposed: Bool = false, into panels: Buffer, k: Int, n: Int) throws {
        let depthPerItem = 64
        let kernel = transposed ? packTransposedKernel : packKernel
        try kernel.launch(
            [(k + depthPerItem - 1) / depthPerItem, (n + 15) / 16], local: [1, 1], b, panels, k, n,
            transposed ? k : n, depthPerItem)
    }
}
