import Compute

/// Where one photograph lies in a slab of bytes, and which part of it the network sees. C layout: a kernel reads it.
public struct CropRecord: BitwiseCopyable, Sendable, Equatable {
    /// Of the first pixel's red, in the slab.
    public var byteOffset: UInt64
    public var width: Int32
    public var height: Int32
    /// The crop's upper left corner; it may lie outside, there the input is 0 (the mean colour).
    public var x: Int32
    public var y: Int32
    /// 1 to mirror left and right.
    public var mirror: Int32
    private var unused: Int32 = 0

    public init(byteOffset: UInt64, width: Int32, height: Int32, x: Int32, y: Int32, mirror: Bool) {
        self.byteOffset = byteOffset
        self.width = width
        self.height = height
        self.x = x
        self.y = y
        self.mirror = mirror ? 1 : 0
    }
}

/// Mean and standard deviation of each colour, on the scale 0…1.
public struct Normalization: Sendable, Equatable {
    public var mean: [Float]
    public var deviation: [Float]

    public init(mean: [Float], deviation: [Float]) {
        self.mean = mean
        self.deviation = deviation
    }
}

/// Crops, mirrors and normalises photographs on the device, from bytes to the network's input.
public final class ImageInput {
    private let kernel: Kernel
    private let size: Int
    private let normalization: Normalization

    /// - Parameter size: side of the network's input in pixels.
    public init(device: Device, size: Int, normalization: Normalization) throws {
        kernel = try device.kernel("augment", "crop_mirror_normalize")
        self.size = size
        self.normalization = normalization
    }

    /// output `[batch][size][size][4]` ← crops of the photographs in `bytes` that `records` names, from `pass.firstImage` on.
    public func load(bytes: Buffer, records: Buffer, output: Buffer, pass: Pass) throws {
        let mean = normalization.mean
        let scale = normalization.deviation.map { 1 / (255 * $0) }
        try kernel.launch(
            [size, size, pass.batch], local: [min(size, 64), 1, 1], bytes, records, output, size, pass.batch, pass.firstImage, mean[0],
            mean[1],
            mean[2], scale[0], scale[1], scale[2])
    }
}
