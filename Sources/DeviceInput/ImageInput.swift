import NeuralNet
import Compute

/// Where one photograph lies in a slab of bytes, which part of it the network sees and how it is changed. C
/// layout: a kernel reads it.
public struct CropRecord: BitwiseCopyable, Sendable, Equatable {
    /// Of the first pixel's red, in the buffer that `source` names.
    public var byteOffset: UInt64
    public var width: Int32
    public var height: Int32
    /// The crop's upper left corner; it may lie outside.
    public var x: Int32
    public var y: Int32
    /// 1 to mirror left and right; where there are effects the matrix does it instead.
    public var mirror: Int32
    /// 0: the mini-batch's own bytes; n: slab n − 1 of the cache.
    public var source: Int32 = 0
    /// 0: a plain crop, zero outside the photograph. 1: the fields below count, and what lies outside the
    /// window is reflected.
    public var effects: Int32 = 0
    /// The window of the photograph that effects may read: columns `left ..< right`, rows `top ..< bottom`.
    /// Not empty.
    public var left: Int32 = 0
    public var top: Int32 = 0
    public var right: Int32 = 0
    public var bottom: Int32 = 0
    /// The matrix from a place in the output to one in the crop, both from the centre: (xx·u + xy·v, yx·u +
    /// yy·v).
    public var xx: Float = 1
    public var xy: Float = 0
    public var yx: Float = 0
    public var yy: Float = 1
    /// Then each place moves away from the centre by 1 + lens · (squared distance in pixels).
    public var lens: Float = 0
    /// The vignette begins at this part of the way from centre to corner …
    public var vignetteStart: Float = 0
    /// … this is 1 / (1 − start) …
    public var vignetteSlope: Float = 0
    /// … and this share of the light is lost in the corners.
    public var vignetteStrength: Float = 0
    /// Added to each colour, on the scale 0…255.
    public var castRed: Float = 0
    public var castGreen: Float = 0
    public var castBlue: Float = 0

    public init(byteOffset: UInt64, width: Int32, height: Int32, x: Int32, y: Int32, mirror: Bool) {
        self.byteOffset = byteOffset
        self.width = width
        self.height = height
        self.x = x
        self.y = y
        self.mirror = mirror ? 1 : 0
    }
}

/// Crops, warps, colours and normalises photographs on the device, from bytes to the network's input.
public final class ImageInput {
    private let kernel: Kernel
    private let size: Int
    private let normalization: Normalization
    private let device: DeviceTraits

    /// Slabs of cached photographs that a record may name: the kernel has an argument for each.
    public static let cacheSlabs = 4

    /// - Parameter size: side of the network's input in pixels.
    public init(device: Device, size: Int, normalization: Normalization) throws {
        kernel = try device.kernel("augment", "crop_warp_normalize")
        self.size = size
        self.normalization = normalization
        self.device = device.description.traits
    }

    /// output `[batch][size][size][4]` ← the photographs that `records` names, from `pass.firstRecord` on.
    ///
    /// - Parameters:
    ///   - bytes: has five readable bytes behind the last pixel, as `DeviceBatch` sees to.
    ///   - cache: at most `cacheSlabs` buffers, with five bytes behind the last pixel too.
    public func load(bytes: Buffer, cache: [Buffer] = [], records: Buffer, output: Buffer, pass: Pass) throws
    {
        guard cache.count <= ImageInput.cacheSlabs else {
            throw NetworkError("a cache of \(cache.count) slabs: expected at most \(ImageInput.cacheSlabs)")
        }
        let mean = normalization.mean
        let scale = normalization.deviation.map { 1 / (255 * $0) }
        let slabs = cache + Array(repeating: bytes, count: ImageInput.cacheSlabs - cache.count)
        try kernel.launch(
            .images(height: size, width: size, count: pass.batch, on: device), bytes, slabs, records, output,
            [size, pass.batch, pass.firstRecord], mean, scale)
    }
}
