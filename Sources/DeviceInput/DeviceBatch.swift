import Compute

/// A mini-batch on the device: photographs' bytes, what to cut from each, labels and weights.
///
/// Uploads are queued, so the host's memory of each must stay until it is done: small arrays are staged here,
/// the pixels' owner is kept. Two of these in turn let the host prepare a mini-batch while the device still
/// reads the one before.
public final class DeviceBatch {
    private let device: Device
    public private(set) var bytes: Buffer
    /// Buffers that records of other sources than 0 lie in.
    public var cache: [Buffer] = []
    public let records: Buffer
    public let labels: Buffer
    public let weights: Buffer
    private let staging: UnsafeMutableRawBufferPointer
    private var uploads: [Event] = []
    private var owner: AnyObject?

    /// - Parameter capacity: images of the largest mini-batch.
    public init(device: Device, capacity: Int) throws {
        self.device = device
        bytes = try Buffer(device, byteCount: DeviceBatch.slack)
        let sizes = DeviceBatch.byteCounts(capacity: capacity, pixelBytes: 0)
        records = try Buffer(device, byteCount: sizes[1])
        labels = try Buffer(device, byteCount: sizes[2])
        weights = try Buffer(device, byteCount: sizes[3])
        staging = .allocate(byteCount: capacity * (MemoryLayout<CropRecord>.stride + 8), alignment: 64)
    }

    /// Bytes of the buffers for pixels, records, labels and weights, once `pixelBytes` of pixels have been
    /// uploaded.
    public static func byteCounts(capacity: Int, pixelBytes: Int) -> [Int] {
        [pixelCapacity(pixelBytes), capacity * MemoryLayout<CropRecord>.stride, capacity * 4, capacity * 4]
    }

    /// A little more than asked, so that batches of about the same size do not grow it again and again.
    private static func pixelCapacity(_ bytes: Int) -> Int { bytes + bytes / 4 + slack }

    /// Bytes behind the last pixel, which is read with those of a neighbour: eight at once.
    private static let slack = 8

    deinit {
        // An upload that is under way still reads this memory; an error here has been reported by the call
        // that caused it.
        try? wait()
        staging.deallocate()
    }

    /// Starts to copy a mini-batch to the device, in the order of its queue.
    ///
    /// - Parameter owner: keeps the memory behind `pixels` alive; let go when the upload is waited for.
    public func upload(
        pixels: UnsafeRawBufferPointer, owner: AnyObject,
        records: [CropRecord], labels: [Int32], weights: [Float]
    ) throws {
        try wait()
        if pixels.count + DeviceBatch.slack > bytes.byteCount {
            // Two steps, so that the old memory is given back before the new is taken.
            bytes = try Buffer(device, byteCount: DeviceBatch.slack)
            bytes = try Buffer(device, byteCount: DeviceBatch.pixelCapacity(pixels.count))
        }
        self.owner = owner
        uploads.append(try bytes.write(pixels))
        var offset = 0
        func stage<Element: BitwiseCopyable>(_ values: [Element], to buffer: Buffer) throws {
            let size = values.count * MemoryLayout<Element>.stride
            let part = UnsafeMutableRawBufferPointer(rebasing: staging[offset..<(offset + size)])
            values.withUnsafeBytes { part.copyMemory(from: $0) }
            offset += size
            uploads.append(try buffer.write(UnsafeRawBufferPointer(part)))
        }
        try stage(records, to: self.records)
        try stage(labels, to: self.labels)
        try stage(weights, to: self.weights)
    }

    /// Waits until the last upload is done.
    public func wait() throws {
        for upload in uploads { try upload.wait() }
        uploads = []
        owner = nil
    }
}
