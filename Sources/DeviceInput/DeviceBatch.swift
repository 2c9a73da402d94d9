import Compute
import Photographs

/// Holds a mini-batch on the device: pixels, a record for each photograph, labels, weights and shares.
///
/// Uploads are queued, so their host memory must stay until they are done: small arrays are staged here, and
/// the owner of the pixels is kept. Two of these in turn let the host prepare a mini-batch while the device
/// reads the one before.
public final class DeviceBatch {
    private let device: Device
    public private(set) var bytes: Buffer
    /// The cache's buffers, which records may name.
    public var cache: [Buffer] = []
    public let records: Buffer
    public let labels: Buffer
    public let weights: Buffer
    /// Each photograph's share of the mixture that mixup makes of it and another one.
    public let shares: Buffer
    private let staging: HostMemory
    private var uploads: [Event] = []
    private var owner: AnyObject?

    /// - Parameter capacity: the number of photographs in the largest mini-batch.
    public init(device: Device, capacity: Int) throws {
        self.device = device
        bytes = try Buffer(device, byteCount: ImageInput.bytesReadBehind)
        let sizes = DeviceBatch.byteCounts(capacity: capacity, pixelBytes: 0)
        records = try Buffer(device, byteCount: sizes[1])
        labels = try Buffer(device, byteCount: sizes[2])
        weights = try Buffer(device, byteCount: sizes[3])
        shares = try Buffer(device, byteCount: sizes[4])
        staging = device.hostMemory.allocate(
            byteCount: capacity * (MemoryLayout<CropRecord>.stride + 12))
    }

    /// Returns the sizes of the buffers for pixels, records, labels, weights and shares.
    ///
    /// - Parameter pixelBytes: of the largest upload.
    public static func byteCounts(capacity: Int, pixelBytes: Int) -> [Int] {
        [pixelCapacity(pixelBytes), capacity * MemoryLayout<CropRecord>.stride]
            + [Int](repeating: capacity * 4, count: 3)
    }

    /// Returns more than `bytes`, so that batches of similar sizes do not grow the buffer again and again.
    private static func pixelCapacity(_ bytes: Int) -> Int { bytes + bytes / 4 + ImageInput.bytesReadBehind }

    deinit {
        // An upload in progress still reads this memory. The call that caused an error has reported it.
        try? wait()
    }

    /// Queues the copies of a mini-batch to the device.
    ///
    /// - Parameters:
    ///   - owner: keeps the memory of `pixels` alive; released when the upload is waited for.
    ///   - shares: nil if no photographs are mixed.
    public func upload(
        pixels: UnsafeRawBufferPointer, owner: AnyObject,
        records: [CropRecord], labels: [Int32], weights: [Float], shares: [Float]? = nil
    ) throws {
        try wait()
        if pixels.count + ImageInput.bytesReadBehind > bytes.byteCount {
            // Two steps, so that the old memory is released before the new is allocated.
            bytes = try Buffer(device, byteCount: ImageInput.bytesReadBehind)
            bytes = try Buffer(device, byteCount: DeviceBatch.pixelCapacity(pixels.count))
        }
        self.owner = owner
        uploads.append(try bytes.write(pixels))
        var offset = 0
        func stage<Element: BitwiseCopyable>(_ values: [Element], to buffer: Buffer) throws {
            let size = values.count * MemoryLayout<Element>.stride
            let part = UnsafeMutableRawBufferPointer(rebasing: staging.bytes[offset..<(offset + size)])
            values.withUnsafeBytes { part.copyMemory(from: $0) }
            offset += size
            uploads.append(try buffer.write(UnsafeRawBufferPointer(part)))
        }
        try stage(records, to: self.records)
        try stage(labels, to: self.labels)
        try stage(weights, to: self.weights)
        if let shares { try stage(shares, to: self.shares) }
    }

    /// Waits until the last upload is done.
    public func wait() throws {
        for upload in uploads { try upload.wait() }
        uploads = []
        owner = nil
    }

    /// Uploads a batch of the loader.
    ///
    /// - Parameters:
    ///   - parameters: returns what to do with a photograph, by its size and its position in the set.
    ///   - size: the side of the crops in pixels.
    ///   - cache: has the photographs that the loader left out, and takes others if it has room.
    ///   - shares: nil if no photographs are mixed.
    public func upload(
        _ host: HostBatch, size: Int, cache: ImageCache? = nil, shares: [Float]? = nil,
        parameters: (_ width: Int, _ height: Int, _ sample: Int) -> AugmentationParameters
    ) throws {
        let records = zip(host.images, host.samples).map { image, sample in
            // The cache does not replace a photograph that was read again: the bytes are the same.
            let entry = image.width == 0 ? cache?[sample] : nil
            let (width, height) = (entry?.width ?? Int32(image.width), entry?.height ?? Int32(image.height))
            return CropRecord(
                parameters(Int(width), Int(height), sample),
                byteOffset: entry?.byteOffset ?? UInt64(image.offset), width: width, height: height,
                source: entry?.source ?? 0, size: size)
        }
        try upload(
            pixels: UnsafeRawBufferPointer(start: host.pixels, count: host.byteCount), owner: host,
            records: records, labels: host.labels, weights: host.weights, shares: shares)
        guard let cache else { return }
        for (position, image) in host.images.enumerated() where image.width > 0 && host.weights[position] > 0
        {
            try cache.insert(
                host.samples[position], from: bytes, byteOffset: image.offset, width: Int32(image.width),
                height: Int32(image.height))
        }
        self.cache = cache.buffers
    }
}

extension Device {
    /// Allocates memory for a loader's batches from which this device copies fast.
    public var batchMemory: @Sendable (_ byteCount: Int) -> BatchMemory {
        { [hostMemory] byteCount in
            let memory = hostMemory.allocate(byteCount: byteCount)
            guard let start = memory.bytes.baseAddress else { return BatchMemory(capacity: byteCount) }
            return BatchMemory(start, capacity: memory.bytes.count, owner: memory)
        }
    }
}
