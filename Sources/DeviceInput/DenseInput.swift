import NeuralNet
import Compute

/// Makes a network's input of whole photographs of one size (`dense.cl`).
///
/// The numbers are those of a plain crop by `ImageInput`.
public final class DenseInput {
    private let kernel: Kernel
    private let normalization: Normalization
    /// A work-item makes a row on CPUs, and a pixel on other devices.
    private let isCPU: Bool

    public init(device: Device, normalization: Normalization) throws {
        kernel = try device.kernel("dense", "dense_input")
        self.normalization = normalization
        isCPU = device.description.kind == .cpu
    }

    /// Makes the input of the photographs `first ..< first + count` among those that begin at `offsets`.
    ///
    /// - Parameters:
    ///   - output: `[count][height][width][4]`.
    ///   - bytes: as `ImageInput.load` needs them.
    ///   - offsets: `[UInt64]`, one for each photograph.
    ///   - isMirrored: whether to swap left and right.
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
