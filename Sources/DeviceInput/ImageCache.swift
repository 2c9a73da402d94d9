import Compute
import Synchronization

/// Decoded photographs that stay on the device (section 3.1 of the paper): from the second epoch they are
/// neither decoded nor uploaded.
///
/// Photographs are added as they come, up to `capacity` bytes, into at most `ImageInput.cacheSlabs` buffers
/// below the device's largest; what no longer fits comes from the loader as before. The bytes are the
/// loader's, so results do not depend on what is cached.
public final class ImageCache {
    /// Where a photograph lies.
    public struct Entry: Sendable {
        /// As in `CropRecord.source`: 1 for the first slab.
        public let source: Int32
        public let byteOffset: UInt64
        public let width: Int32
        public let height: Int32
    }

    /// Which photographs are cached, for the loader's threads.
    public final class Index: Sendable {
        private let state: Mutex<(cached: [Bool], isFull: Bool)>

        init(count: Int) { state = Mutex((cached: [Bool](repeating: false, count: count), isFull: false)) }

        public func contains(_ sample: Int) -> Bool { state.withLock { $0.cached[sample] } }

        /// Whether nothing more will be cached; it stays so.
        public var isFull: Bool { state.withLock { $0.isFull } }

        fileprivate func insert(_ sample: Int) { state.withLock { $0.cached[sample] = true } }

        fileprivate func close() { state.withLock { $0.isFull = true } }
    }

    public let index: Index
    /// Bytes that the cache may take.
    public let capacity: Int
    /// Bytes of device memory taken: the memory plan's "cached data".
    public private(set) var allocatedBytes = 0
    /// Bytes of photographs in it.
    public private(set) var usedBytes = 0
    public private(set) var cachedCount = 0
    public private(set) var slabs: [Buffer] = []

    private let device: Device
    private var entries: [Entry?]
    private var usedOfSlab = 0

    /// - Parameters:
    ///   - capacity: most bytes it may take; 0: it caches nothing.
    ///   - count: photographs of the set.
    public init(device: Device, capacity: Int, count: Int) {
        self.device = device
        self.capacity = max(0, capacity)
        entries = Array(repeating: nil, count: count)
        index = Index(count: count)
        if capacity <= 0 { index.close() }
    }

    /// What `auto` allows: half of the memory that is not allocated yet. The other half is left to the
    /// system, to the runtime and, where the device is a CPU, to the decoder.
    public static func automaticCapacity(of device: DeviceDescription, allocated: Int) -> Int {
        max(0, (device.globalMemory - allocated) / 2)
    }

    /// Where a photograph lies; nil where it is not cached.
    public subscript(_ sample: Int) -> Entry? { entries[sample] }

    /// Queues a copy of a photograph from `bytes` into the cache where there is room; keeps one that is there
    /// already.
    public func insert(_ sample: Int, from bytes: Buffer, byteOffset: Int, width: Int32, height: Int32) throws
    {
        let count = 3 * Int(width) * Int(height)
        // Five bytes behind the last pixel are read with it.
        let needed = (count + 5 + 15) / 16 * 16
        guard !index.isFull, entries[sample] == nil, try reserve(needed), let slab = slabs.last else {
            return
        }
        try slab.copy(from: bytes, sourceOffset: byteOffset, byteCount: count, to: usedOfSlab)
        entries[sample] = Entry(
            source: Int32(slabs.count), byteOffset: UInt64(usedOfSlab), width: width, height: height)
        usedOfSlab += needed
        usedBytes += needed
        cachedCount += 1
        index.insert(sample)
    }

    /// Makes sure that the last slab has room, or says that the cache is full.
    private func reserve(_ needed: Int) throws -> Bool {
        if let slab = slabs.last, usedOfSlab + needed <= slab.byteCount { return true }
        let left = min(device.description.largestBuffer, capacity - allocatedBytes)
        // What the rest of the set needs if it is like what has come, and an eighth more.
        let mean = cachedCount > 0 ? usedBytes / cachedCount : needed
        let rest = (entries.count - cachedCount) * (mean + mean / 8)
        let size = slabs.count == ImageInput.cacheSlabs - 1 ? left : min(left, max(rest, needed))
        guard slabs.count < ImageInput.cacheSlabs, size >= needed else {
            index.close()
            return false
        }
        slabs.append(try Buffer(device, byteCount: size))
        allocatedBytes += size
        usedOfSlab = 0
        return true
    }
}
