import NeuralNet
import Compute

/// Whole photographs of one size as a network's input (`dense.cl`), with the numbers that a plain crop of
/// `ImageInput` has.
public final class DenseInput {
    private let kernel: Kernel
    private let normalization: Normalization
    /// A work-item makes a row on CPUs, and a pixel elsewhere.
    private let isCPU: Bool

    public init(device: Device, normalization: Normalization) throws {
        kernel = try device.kernel("dense", "dense_input")
        self.normalization = normalization
        isCPU = device.description.kind == .cpu
    }

    /// output `[count][height][width][4]` ← photographs `first ..< first + count` of those whose first bytes
    /// `offsets` names.
    ///
    /// - Parameters:
    ///   - bytes: has one readable byte behind the last pixel.
    ///   - offsets: `[UInt64]`, one for each photograph.
    ///   - isMirrored: left and right change places.
    public func load(
        bytes: Buffer, offsets: Buffer, first: Int, count: Int,
        height: Int, width: Int, isMirrored: Bool, output: Buffer
    ) throws {
        let mean = normalization.mean
        let scale = normalization.deviation.map { 1 / (255 * $0) }
        let columns = isCPU ? 1 : width
        try kernel.launch(
            [columns, height, count], local: [min(columns, 64), 1, 1], bytes, offsets, output, height, width,
            count, first, isMirrored ? 1 : 0, mean[0], mean[1], mean[2], scale[0], scale[1], scale[2])
    }
}
