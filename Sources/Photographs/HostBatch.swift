import Basics
import Synchronization

/// Describes where the pixels of one photograph are in a batch's bytes.
public struct PackedImage: Sendable, Equatable {
    /// The distance in bytes from the start of `HostBatch.pixels`, a multiple of 16.
    public let offset: Int
    public let width: Int
    public let height: Int

    /// Where the next photograph may begin.
    var end: Int { (offset + 3 * width * height).roundedUp(to: 16) }
}

/// Describes a photograph of a batch that could not be used.
public struct BatchFailure: Sendable {
    /// Position in the batch.
    public let position: Int
    /// Position in the set.
    public let sample: Int
    public let error: ImageError
}

/// Holds the decoded photographs of one mini-batch with their labels, in the plan's order.
///
/// The memory is used again for a later batch after `release()` or when the last reference goes.
public final class HostBatch: @unchecked Sendable {
    /// The batch's number in the plan.
    public let index: Int
    /// The RGB bytes of all photographs, rows without gaps; not to be read after `release()`.
    public let pixels: UnsafeRawPointer
    /// How many bytes of `pixels` are in use.
    public let byteCount: Int
    public let images: [PackedImage]
    public let labels: [Int32]
    /// 1 for each photograph; 0 for one that could not be used, whose position holds a grey square.
    public let weights: [Float]
    public let failures: [BatchFailure]
    /// Each photograph's position in the set.
    public let samples: [Int]
    private let memory: Mutex<BatchMemory?>
    private let pool: BatchMemoryPool

    public var count: Int { images.count }

    /// - Parameters:
    ///   - images: where `memory` holds the photographs, one behind the other.
    ///   - errors: why a photograph could not be used, nil for all others.
    init(
        index: Int, samples: [Int], labels: [Int32], images: [PackedImage], errors: [ImageError?],
        memory: BatchMemory, pool: BatchMemoryPool
    ) {
        self.index = index
        self.samples = samples
        self.labels = labels
        self.images = images
        weights = errors.map { $0 == nil ? 1 : 0 }
        failures = errors.enumerated().compactMap { position, error in
            error.map { BatchFailure(position: position, sample: samples[position], error: $0) }
        }
        pixels = UnsafeRawPointer(memory.bytes)
        byteCount = images.last?.end ?? 0
        self.memory = Mutex(memory)
        self.pool = pool
    }

    deinit { release() }

    /// Gives the memory back; further calls do nothing.
    public func release() { if let taken = memory.withLock({ $0.take() }) { pool.give(taken) } }
}

/// Holds memory for one batch.
public final class BatchMemory: @unchecked Sendable {
    let bytes: UnsafeMutableRawPointer
    let capacity: Int
    /// Owns the memory; nil if this object does.
    private let owner: AnyObject?

    /// Allocates page-aligned memory.
    public init(capacity: Int) {
        self.capacity = capacity
        bytes = .allocate(byteCount: capacity, alignment: 4096)
        owner = nil
    }

    /// Takes `capacity` bytes that `owner` keeps allocated.
    public init(_ bytes: UnsafeMutableRawPointer, capacity: Int, owner: AnyObject) {
        self.bytes = bytes
        self.capacity = capacity
        self.owner = owner
    }

    deinit { if owner == nil { bytes.deallocate() } }
}

/// Keeps memory that waits to be filled again: fresh memory costs a page fault for every 4 KiB.
final class BatchMemoryPool: Sendable {
    private let free = Mutex<[BatchMemory]>([])
    private let limit: Int
    private let allocate: @Sendable (Int) -> BatchMemory

    init(limit: Int, allocate: @escaping @Sendable (Int) -> BatchMemory) {
        self.limit = limit
        self.allocate = allocate
    }

    func take(_ count: Int) -> BatchMemory {
        let found: BatchMemory? = free.withLock { free in
            // Memory that is too small is dropped, so that the pool grows to the size in use.
            while let memory = free.popLast() { if memory.capacity >= count { return memory } }
            return nil
        }
        return found ?? allocate((count + count / 8).roundedUp(to: 4096))
    }

    func give(_ memory: BatchMemory) { free.withLock { if $0.count < limit { $0.append(memory) } } }
}
