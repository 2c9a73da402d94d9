import Basics
import Foundation

/// Reads batches ahead on its own threads and returns them in the plan's order.
///
/// A batch is assembled by index, so it does not depend on which thread reads which file, or when. A file
/// that cannot be used keeps its position with weight 0. The loader holds at most as many batches as its
/// `ReadAhead` says beside the one that `next` returned last. One thread uses it; `stop()` may be called from
/// any.
public final class BatchLoader: Sendable {
    /// Says how many batches are read ahead, so that a disk that stalls for a moment does not stop training.
    public struct ReadAhead: Sendable {
        /// At least this many batches, and at most those that fit into `byteCount`.
        let batches: ClosedRange<Int>
        let byteCount: Int

        /// Reads a fixed number of batches ahead.
        public static func batches(_ count: Int) -> ReadAhead {
            ReadAhead(batches: max(1, count)...max(1, count), byteCount: 0)
        }

        /// Reads 3 batches ahead, and up to 32 if they are small.
        public static func bytes(_ byteCount: Int) -> ReadAhead {
            ReadAhead(batches: 3...32, byteCount: byteCount)
        }

        /// Returns the number of batches ahead if one has this size.
        func count(batchBytes: Int) -> Int {
            min(max(byteCount / max(1, batchBytes), batches.lowerBound), batches.upperBound)
        }
    }

    private let shared: LoaderState

    /// - Parameters:
    ///   - set: the photographs.
    ///   - shortSide: what the shorter side of every photograph becomes.
    ///   - workers: threads that read; at least 1.
    ///   - readAhead: how much is read ahead.
    ///   - isCached: whether a photograph is on the device already. Its file is then not read, and its size
    ///     in the batch is 0. Called when its batch is planned.
    ///   - need: the pixels of a photograph that will be used, by its batch's number, its position in the set
    ///     and its size; nil for all. Called when its file is read; the other pixels may hold anything.
    ///   - memory: allocates this many bytes or more for a batch. Called on the loader's threads.
    ///   - batches: the positions in the set of batch 0, 1, 2 …; nil ends the plan. Called on the loader's
    ///     threads, once for each number, in order.
    public convenience init(
        set: ImageSet, shortSide: Int, workers: Int, readAhead: ReadAhead = .batches(3),
        isCached: @escaping @Sendable (Int) -> Bool = { _ in false },
        need: @escaping @Sendable (_ batch: Int, _ sample: Int) -> PixelNeed? = { _, _ in nil },
        memory: @escaping @Sendable (_ byteCount: Int) -> BatchMemory = { BatchMemory(capacity: $0) },
        batches: @escaping @Sendable (Int) -> [Int]?
    ) {
        self.init(
            set: set, shortSides: { _ in shortSide }, workers: workers, readAhead: readAhead,
            isCached: isCached, need: need, memory: memory, batches: batches)
    }

    /// Makes a loader with a short side for each batch's number; the other parameters are those above.
    public init(
        set: ImageSet, shortSides: @escaping @Sendable (_ batch: Int) -> Int, workers: Int,
        readAhead: ReadAhead = .batches(3),
        isCached: @escaping @Sendable (Int) -> Bool = { _ in false },
        need: @escaping @Sendable (_ batch: Int, _ sample: Int) -> PixelNeed? = { _, _ in nil },
        memory: @escaping @Sendable (_ byteCount: Int) -> BatchMemory = { BatchMemory(capacity: $0) },
        batches: @escaping @Sendable (Int) -> [Int]?
    ) {
        let source = BatchSource(
            set: set, shortSides: { max(1, shortSides($0)) }, isCached: isCached, need: need, plan: batches)
        shared = LoaderState(source, readAhead: readAhead, memory: memory)
        shared.start(max(1, workers))
    }

    deinit { shared.stop() }

    /// Returns the next batch once it is complete; nil at the end of the plan or after `stop`.
    ///
    /// - Throws: `DatasetError.badOption` if the plan names a position that the set does not have;
    ///   `ImageError` if libjpeg or libpng cannot start.
    public func next() throws -> HostBatch? { try shared.next() }

    /// Ends the threads and waits for them; batches that `next` returned stay valid.
    public func stop() { shared.stop() }

    /// The CPU seconds that the loader's threads have used so far.
    public var workerSeconds: Double { shared.times().worker }

    /// The seconds that `next` has waited so far.
    public var waitSeconds: Double { shared.times().wait }
}

/// Describes what the batches of a loader are made of.
private struct BatchSource: Sendable {
    let set: ImageSet
    let shortSides: @Sendable (Int) -> Int
    let isCached: @Sendable (Int) -> Bool
    let need: @Sendable (Int, Int) -> PixelNeed?
    let plan: @Sendable (Int) -> [Int]?
}

/// The state that the threads and the consumer share; `condition` guards everything that changes.
///
/// The threads hold this and not the loader, so that they end when the loader is released.
private final class LoaderState: @unchecked Sendable {
    /// A batch in the making, each position of which is written without the lock, by the worker that took it.
    final class Pending: @unchecked Sendable {
        var index = 0
        var shortSide = 1
        var samples: [Int] = []
        var taken = 0
        var left = 0
        var finished: HostBatch?
        var buffers: [ByteBuffer] = []
        var sizes: [(width: Int, height: Int)] = []
        var errors: [ImageError?] = []
        var isCached: [Bool] = []
    }

    private let source: BatchSource
    private let readAhead: BatchLoader.ReadAhead
    private let pool: BatchMemoryPool

    private let condition = NSCondition()
    private var queue: [Pending] = []
    private var spare: [Pending] = []
    /// Buffers of batches that are assembled, for those that are planned next.
    private var spareBuffers: [[ByteBuffer]] = []
    /// The number of batches ahead, by the size of the last one.
    private var ahead: Int
    private var nextIndex = 0
    private var isPlanning = false
    private var planEnded = false
    private var stopped = false
    private var failure: (any Error)?
    private var alive = 0
    private var workerSeconds = 0.0
    private var waitSeconds = 0.0

    init(
        _ source: BatchSource, readAhead: BatchLoader.ReadAhead,
        memory: @escaping @Sendable (Int) -> BatchMemory
    ) {
        self.source = source
        self.readAhead = readAhead
        ahead = readAhead.batches.lowerBound
        // Those read ahead, the one being filled and the one in use.
        pool = BatchMemoryPool(limit: readAhead.batches.upperBound + 2, allocate: memory)
    }

    func start(_ workers: Int) {
        for worker in 0..<workers {
            // A runtime that compiles while training needs room for its linker.
            if worker > 0, (try? SystemThread.requireRoom(for: 3, "reading of photographs")) == nil { break }
            condition.withLock { alive += 1 }
            do {
                try SystemThread.start("reading of photographs", stackSize: 1 << 20) { self.work() }
            } catch {
                condition.withLock {
                    alive -= 1
                    // Fewer threads do the same work.
                    if worker == 0 { failure = error }
                }
                break
            }
        }
    }

    func stop() {
        condition.withLock {
            stopped = true
            condition.broadcast()
            while alive > 0 { condition.wait() }
            queue = []
            spare = []
            spareBuffers = []
        }
    }

    func times() -> (worker: Double, wait: Double) { condition.withLock { (workerSeconds, waitSeconds) } }

    func next() throws -> HostBatch? {
        let start = ContinuousClock.now
        condition.lock()
        defer {
            waitSeconds += (ContinuousClock.now - start).seconds
            condition.unlock()
        }
        while true {
            if stopped { return nil }
            if let first = queue.first, let batch = first.finished {
                queue.removeFirst()
                first.finished = nil
                spare.append(first)
                condition.broadcast()
                return batch
            }
            if let failure { throw failure }
            if planEnded && queue.isEmpty { return nil }
            condition.wait()
        }
    }

    // MARK: on the workers

    private func work() {
        var seconds = 0.0
        do {
            let reader = try ImageReader()
            while let job = takeJob(secondsSinceLast: &seconds) {
                for position in job.positions { read(position, of: job.pending, with: reader) }
                finish(job.pending, job.positions.count)
            }
        } catch { condition.withLock { failure = failure ?? error } }
        condition.withLock {
            alive -= 1
            condition.broadcast()
        }
    }

    /// Returns the next few positions to fill, of the oldest batch that has any; nil at the end.
    private func takeJob(secondsSinceLast seconds: inout Double) -> (pending: Pending, positions: Range<Int>)?
    {
        condition.lock()
        defer { condition.unlock() }
        let now = threadSeconds()
        workerSeconds += now - seconds
        seconds = now
        while true {
            if stopped || failure != nil { return nil }
            if let pending = queue.first(where: { $0.taken < $0.samples.count }) {
                // A few at a time: decoding a small image takes about as long as taking the lock.
                let start = pending.taken
                pending.taken = min(pending.samples.count, start + 4)
                return (pending, start..<pending.taken)
            }
            if planEnded { return nil }
            if isPlanning || queue.count >= ahead { condition.wait() } else { planNext() }
        }
    }

    /// Asks the plan for one more batch, without the lock: the plan may shuffle a million files.
    private func planNext() {
        isPlanning = true
        let index = nextIndex
        condition.unlock()
        let samples = source.plan(index)
        let count = source.set.count
        let wrong = samples?.first { !(0..<count).contains($0) }
        let cached = wrong == nil ? samples?.map(source.isCached) ?? [] : []
        let shortSide = samples == nil ? 1 : source.shortSides(index)
        condition.lock()
        isPlanning = false
        nextIndex += 1
        condition.broadcast()
        guard let samples else {
            planEnded = true
            return
        }
        if let wrong {
            failure = DatasetError(
                .badOption,
                "batch \(index) names image \(wrong), but the set has \(count) images, numbered from 0")
            return
        }
        let pending = spare.popLast() ?? Pending()
        pending.index = index
        pending.shortSide = shortSide
        pending.samples = samples
        pending.taken = 0
        pending.left = samples.count
        pending.buffers = spareBuffers.popLast() ?? []
        while pending.buffers.count < samples.count {
            pending.buffers.append(ByteBuffer(capacity: 3 * shortSide * shortSide))
        }
        pending.sizes = Array(repeating: (0, 0), count: samples.count)
        pending.errors = Array(repeating: nil, count: samples.count)
        pending.isCached = cached
        if samples.isEmpty { pending.finished = assemble(pending) }
        queue.append(pending)
    }

    private func read(_ position: Int, of pending: Pending, with reader: ImageReader) {
        if pending.isCached[position] { return }
        let buffer = pending.buffers[position]
        let shortSide = pending.shortSide
        var size = (width: shortSide, height: shortSide)
        var failed: ImageError?
        let sample = pending.samples[position]
        do {
            let need = source.need(pending.index, sample)
            size = try reader.read(source.set, sample, shortSide: shortSide, into: buffer, need: need)
        } catch {
            failed = ImageError(error, file: source.set.location(sample))
            buffer.reserve(3 * shortSide * shortSide)
            buffer.bytes.update(repeating: 128, count: 3 * shortSide * shortSide)
        }
        // Two threads must not write to an array at once, even at different indices.
        condition.withLock {
            pending.sizes[position] = size
            pending.errors[position] = failed
        }
    }

    /// Counts positions as filled; the worker that fills the last one assembles the batch.
    private func finish(_ pending: Pending, _ count: Int) {
        let isComplete = condition.withLock {
            pending.left -= count
            return pending.left == 0
        }
        guard isComplete else { return }
        let batch = assemble(pending)
        condition.withLock {
            pending.finished = batch
            spareBuffers.append(pending.buffers)
            pending.buffers = []
            ahead = readAhead.count(batchBytes: batch.byteCount)
            condition.broadcast()
        }
    }

    private func assemble(_ pending: Pending) -> HostBatch {
        var images: [PackedImage] = []
        for (width, height) in pending.sizes {
            images.append(PackedImage(offset: images.last?.end ?? 0, width: width, height: height))
        }
        let memory = pool.take(max(images.last?.end ?? 0, 1))
        for (position, image) in images.enumerated() {
            memory.bytes.advanced(by: image.offset).copyMemory(
                from: pending.buffers[position].bytes, byteCount: 3 * image.width * image.height)
        }
        return HostBatch(
            index: pending.index, samples: pending.samples,
            labels: pending.samples.map { Int32(source.set.label($0)) }, images: images,
            errors: pending.errors, memory: memory, pool: pool)
    }
}
