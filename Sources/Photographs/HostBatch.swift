import Foundation
import Synchronization

/// Where one image lies in a batch's bytes. Laid out as the C struct { int64_t offset; int32_t width, height;
/// }, for the device.
public struct ImageRecord: Sendable, Equatable, BitwiseCopyable {
    /// Bytes from the start of `HostBatch.pixels`, a multiple of 16.
    public let offset: Int64
    public let width: Int32
    public let height: Int32
}

/// A file of a batch that could not be used.
public struct BatchFailure: Sendable {
    /// Position in the batch.
    public let slot: Int
    /// Position in the set.
    public let sample: Int
    public let error: ImageError
}

/// Decoded images with their labels, in the order that the plan gives.
///
/// Its memory is used again for a later batch once `release()` is called or the last reference goes.
public final class HostBatch: @unchecked Sendable {
    /// Number of the batch in the plan.
    public let index: Int
    /// RGB interleaved bytes of all images, page-aligned; a row of an image is 3 · width bytes. Not to be
    /// read after `release()`.
    public let pixels: UnsafeRawPointer
    /// Bytes of `pixels` in use.
    public let byteCount: Int
    public let records: [ImageRecord]
    public let labels: [Int32]
    /// 1, or 0 for a file that could not be used: its slot holds a grey square of the short side.
    public let weights: [Float]
    public let failures: [BatchFailure]
    /// Each image's position in the set.
    public let samples: [Int]
    private let slab: Mutex<Slab?>
    private let pool: SlabPool

    public var count: Int { records.count }

    init(
        index: Int, slab: Slab, pool: SlabPool, byteCount: Int, records: [ImageRecord], labels: [Int32],
        weights: [Float], failures: [BatchFailure], samples: [Int]
    ) {
        self.index = index
        pixels = UnsafeRawPointer(slab.bytes)
        self.byteCount = byteCount
        self.records = records
        self.labels = labels
        self.weights = weights
        self.failures = failures
        self.samples = samples
        self.slab = Mutex(slab)
        self.pool = pool
    }

    deinit { release() }

    /// Gives the memory back; may be called more than once.
    public func release() {
        let taken = slab.withLock { slab in
            defer { slab = nil }
            return slab
        }
        if let taken { pool.give(taken) }
    }
}

/// Page-aligned memory for one batch.
final class Slab: @unchecked Sendable {
    let bytes: UnsafeMutableRawPointer
    let capacity: Int

    init(capacity: Int) {
        self.capacity = capacity
        bytes = .allocate(byteCount: capacity, alignment: 4096)
    }

    deinit { bytes.deallocate() }
}

/// Slabs that wait to be filled again: fresh memory of this size costs a page fault every 4 KiB.
final class SlabPool: Sendable {
    private let free = Mutex<[Slab]>([])
    private let limit: Int

    init(limit: Int) { self.limit = limit }

    func take(_ count: Int) -> Slab {
        let found: Slab? = free.withLock { free in
            // too small ones are dropped, so that the pool grows to the size in use
            while let slab = free.popLast() { if slab.capacity >= count { return slab } }
            return nil
        }
        return found ?? Slab(capacity: (count + count / 8 + 4095) / 4096 * 4096)
    }

    func give(_ slab: Slab) { free.withLock { if $0.count < limit { $0.append(slab) } } }
}
