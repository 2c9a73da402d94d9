import NeuralNet
import Compute

/// Whole photographs of one size as a network's input (`dense.cl`), with the numbers that a plain crop of
/// `ImageInput` has.
public final class DenseInput {
    private let kernel: Kernel
    private let normalization: Normalization
    private let device: DeviceTraits

    public init(device: Device, normalization: Normalization) throws {
        kernel = try device.kernel("dense", "dense_input")
        self.normalization = normalization
        self.device = device.description.traits
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
        try kernel.launch(
            .images(height: height, width: width, count: count, on: device), bytes, offsets, output,
            [height, width, count, first], isMirrored ? 1 : 0, mean, scale)
    }
}
