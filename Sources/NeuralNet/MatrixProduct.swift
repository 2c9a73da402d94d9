import Compute

/// Multiplies matrices of float32 on the device (`gemm.cl`): N is a multiple of 16, M and K are any.
public final class MatrixProduct {
    /// Holds A: row-major with rows of `columns` floats, m × k, or stored k × m if `isTransposed`.
    public struct Rows: KernelArgumentGroup {
        let buffer: Buffer
        let columns: Int
        let isTransposed: Bool

        public init(_ buffer: Buffer, columns: Int, isTransposed: Bool = false) {
            self.buffer = buffer
            self.columns = columns
            self.isTransposed = isTransposed
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
    }

    /// Says what happens to a sum, with the bits of flags.h.
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
    private let tuning: Tuning

    public init(device: Device) throws {
        tuning = device.tuning
        product = try device.kernel("gemm", "gemm")
        productTransposed = try device.kernel("gemm", "gemm_transposed")
        packKernel = try device.kernel("gemm", "gemm_pack_b")
        packTransposedKernel = try device.kernel("gemm", "gemm_pack_b_transposed")
    }

    /// Queues c[m × n] ← a[m × k] · b[k × n] (+ bias, ReLU).
    ///
    /// - Parameter bias: `[n]`, read only if `options` asks for it
    public func multiply(
        _ a: Rows, _ b: Panels, into c: Panels, bias: Buffer? = nil, size: Size, options: Options = []
    ) throws {
        let kernel = a.isTransposed ? productTransposed : product
        let (range, share) = KernelFamilies.gemm.product(m: size.m, n: size.n, tuning: tuning)
        try kernel.launch(range, a, b, c, bias ?? b.buffer, size, share, options.rawValue)
    }

    /// Queues panels `[⌈n/16⌉][k][16]` ← b, row-major [k][n] or, `transposed`, [n][k]; columns past n become
    /// zero.
    public func pack(_ b: Buffer, transposed: Bool = false, into panels: Buffer, k: Int, n: Int) throws {
        let kernel = transposed ? packTransposedKernel : packKernel
        let (range, depthPerItem) = KernelFamilies.gemm.packing(k: k, n: n, tuning: tuning)
        try kernel.launch(range, b, panels, k, n, transposed ? k : n, depthPerItem)
    }
}
