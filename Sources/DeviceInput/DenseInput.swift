import NeuralNet
import Compute

/// Makes a network's input of whole photographs of one size (`dense.cl`).
///
/// The numbers are those of a plain crop by `ImageInput`.
public final class DenseInput {
    private let kernel: Kernel
    private let normalization: Normalization
    private let device: DeviceTraits

    public init(device: Device, normalization: Normalization) throws {
        kernel = try device.kernel("dense", "dense_input")
        self.normalization = normalization
        self.device = device.tuning.device
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
        try kernel.launch(
            .images(height: height, width: width, count: count, on: device), bytes, offsets, output,
            [height, width, count, first], isMirrored ? 1 : 0, mean, scale)
    }
}
