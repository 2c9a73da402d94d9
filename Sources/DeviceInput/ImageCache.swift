import Basics
import Compute
import Synchronization

/// Keeps decoded photographs on the device (section 3.1 of the paper).
///
/// From the second epoch on these are neither decoded nor uploaded. Photographs are added in the order in
/// which they come, up to `capacity` bytes, to at most `ImageInput.cacheBuffers`. The loader reads the
/// others in every epoch. The cached bytes are the loader's, so results do not depend on what is cached.
public final class ImageCache {
    /// Says where a photograph is in the cache.
    public struct Entry: Sendable {
        /// The buffer, numbered from 1, as `CropRecord.source` has it.
        public let source: Int32
        public let byteOffset: UInt64
        public let width: Int32
        public let height: Int32
    }

    /// Says which photographs are cached, for the loader's threads.
    public final class Index: Sendable {
        private let state: Mutex<(cached: [Bool], isFull: Bool)>

        init(count: Int) { state = Mutex((cached: [Bool](repeating: false, count: count), isFull: false)) }

        public func contains(_ sample: Int) -> Bool { state.withLock { $0.cached[sample] } }

        /// Whether the cache takes no more photographs, now and later.
        public var isFull: Bool { state.withLock { $0.isFull } }

        fileprivate func insert(_ sample: Int) { state.withLock { $0.cached[sample] = true } }

        fileprivate func close() { state.withLock { $0.isFull = true } }
    }

    public let index: Index
    /// How many bytes the cache may take.
    public let capacity: Int
    /// How many bytes of device memory are allocated: the memory plan's "cached data".
    public private(set) var allocatedBytes = 0
    /// How many of these bytes hold photographs.
    public private(set) var usedBytes = 0
    public private(set) var cachedCount = 0
    public private(set) var buffers: [Buffer] = []

    private let device: Device
    private var entries: [Entry?]
    private var usedOfLast = 0

    /// - Parameters:
    ///   - capacity: how many bytes it may take; 0 to cache nothing.
    ///   - count: the number of photographs in the set.
    public init(device: Device, capacity: Int, count: Int) {
        self.device = device
        self.capacity = max(0, capacity)
        entries = Array(repeating: nil, count: count)
        index = Index(count: count)
        if capacity <= 0 { index.close() }
    }

    /// Returns what `auto` allows: half of the memory that is not allocated yet.
    ///
    /// The other half is for the system, the runtime and, if the device is a CPU, the decoder.
    public static func automaticCapacity(of device: DeviceDescription, allocated: Int) -> Int {
        max(0, (device.globalMemory - allocated) / 2)
    }

    /// Returns where a photograph is; nil if it is not cached.
    public subscript(_ sample: Int) -> Entry? { entries[sample] }

    /// Queues a copy of a photograph from `bytes` into the cache if there is room and it is not cached yet.
    public func insert(_ sample: Int, from bytes: Buffer, byteOffset: Int, width: Int32, height: Int32) throws
    {
        let count = 3 * Int(width) * Int(height)
        let needed = (count + ImageInput.bytesReadBehind).roundedUp(to: 16)
        guard !index.isFull, entries[sample] == nil, try reserve(needed), let buffer = buffers.last else {
            return
        }
        try buffer.copy(from: bytes, sourceOffset: byteOffset, byteCount: count, to: usedOfLast)
        entries[sample] = Entry(
            source: Int32(buffers.count), byteOffset: UInt64(usedOfLast), width: width, height: height)
        usedOfLast += needed
        usedBytes += needed
        cachedCount += 1
        index.insert(sample)
    }

    /// Makes room in the last buffer, or in a new one; returns false if the cache is full.
    private func reserve(_ needed: Int) throws -> Bool {
        if let buffer = buffers.last, usedOfLast + needed <= buffer.byteCount { return true }
        let left = min(device.description.largestBuffer, capacity - allocatedBytes)
        // An estimate for the rest of the set from the photographs so far, and an eighth more.
        let mean = cachedCount > 0 ? usedBytes / cachedCount : needed
        let rest = (entries.count - cachedCount) * (mean + mean / 8)
        let size = buffers.count == ImageInput.cacheBuffers - 1 ? left : min(left, max(rest, needed))
        guard buffers.count < ImageInput.cacheBuffers, size >= needed else {
            index.close()
            return false
        }
        buffers.append(try Buffer(device, byteCount: size))
        allocatedBytes += size
        usedOfLast = 0
        return true
    }
}
