import Compute
import NeuralNet

/// Crops, warps, colours and normalises photographs on the device, from bytes to the network's input.
public final class ImageInput {
    private let kernel: Kernel
    private let size: Int
    private let normalization: Normalization
    private let device: DeviceTraits

    /// The number of cache buffers that a record may name: the kernel has an argument for each.
    public static let cacheBuffers = 4

    /// How many bytes behind the last pixel of photographs on the device must be readable.
    ///
    /// The kernels load eight bytes at once, of which the pixel has three.
    public static let bytesReadBehind = 5

    /// - Parameter size: the side of the network's input in pixels.
    public init(device: Device, size: Int, normalization: Normalization) throws {
        kernel = try device.kernel(
            "augment", "crop_warp_normalize")
        self.size = size
        self.normalization = normalization
        self.device = device.tuning.device
    }

    /// Makes the network's input of the photographs in `records`, from `pass.firstRecord` on.
    ///
    /// - Parameters:
    ///   - output: `[batch][size][size][4]`.
    ///   - bytes: the photographs' pixels, with `bytesReadBehind` readable bytes behind the last one.
    ///   - cache: at most `cacheBuffers` buffers of the same form.
    public func load(bytes: Buffer, cache: [Buffer] = [], records: Buffer, output: Buffer, pass: Pass) throws
    {
        guard cache.count <= ImageInput.cacheBuffers else {
            throw NetworkError(
                "a cache of \(cache.count) buffers: expected at most \(ImageInput.cacheBuffers)")
        }
        let mean = normalization.mean
        let scale = normalization.deviation.map { 1 / (255 * $0) }
        let caches = cache + Array(repeating: bytes, count: ImageInput.cacheBuffers - cache.count)
        try kernel.launch(
            .images(height: size, width: size, count: pass.batch, on: device), bytes, caches, records, output,
            [size, pass.batch, pass.firstRecord], mean, scale)
    }
}
