import Basics
import Foundation

/// Reads batches ahead on threads of its own and hands them over in the plan's order.
///
/// A batch is put together by index: which thread reads which file, and when, leaves no trace in it. A file
/// that cannot be used keeps its place with weight 0. At most `prefetch` batches are held beside the one that
/// `next` has handed out. Used from one thread; `stop()` may come from any.
public final class BatchLoader: Sendable {
    private let shared: LoaderState

    /// - Parameters:
    ///   - set: the files.
    ///   - shortSide: what the shorter side of every image becomes.
    ///   - workers: threads that read; at least 1.
    ///   - prefetch: batches read ahead; at least 1.
    ///   - isCached: whether an image is at hand already: then its record is of size 0, and its file is not
    ///     read. Asked when its batch is planned.
    ///   - need: the pixels of an image that will be read, by its batch's number, its position in the set and
    ///     its size; nil: all of them. Asked when its file is read; the other pixels may hold anything.
    ///   - batches: the positions in the set of batch 0, 1, 2 …; nil ends the plan. Called on the loader's
    ///     threads, once for each number, in order.
    public convenience init(
        set: ImageSet, shortSide: Int, workers: Int, prefetch: Int = 3,
        isCached: @escaping @Sendable (Int) -> Bool = { _ in false },
        need: @escaping @Sendable (_ batch: Int, _ sample: Int) -> PixelNeed? = { _, _ in nil },
        batches: @escaping @Sendable (Int) -> [Int]?
    ) {
        self.init(
            set: set, shortSides: { _ in shortSide }, workers: workers, prefetch: prefetch,
            isCached: isCached, need: need, batches: batches)
    }

    /// As above, with a short side for each batch's number.
    public init(
        set: ImageSet, shortSides: @escaping @Sendable (_ batch: Int) -> Int, workers: Int, prefetch: Int = 3,
        isCached: @escaping @Sendable (Int) -> Bool = { _ in false },
        need: @escaping @Sendable (_ batch: Int, _ sample: Int) -> PixelNeed? = { _, _ in nil },
        batches: @escaping @Sendable (Int) -> [Int]?
    ) {
        shared = LoaderState(
            set: set, shortSides: { max(1, shortSides($0)) }, prefetch: max(1, prefetch), isCached: isCached,
            need: need, plan: batches)
        shared.start(max(1, workers))
    }

    deinit { shared.stop() }

    /// The next batch; waits until it is whole. Nil when the plan is at its end or the loader was stopped.
    /// - Throws: `DatasetError.badOption` where the plan names a position that the set does not have;
    ///   `ImageError` where libjpeg cannot start.
    public func next() throws -> HostBatch? { try shared.next() }

    /// Ends the threads and waits for them; batches handed out stay valid.
    public func stop() { shared.stop() }

    /// CPU seconds of the loader's threads so far.
    public var workerSeconds: Double { shared.times().worker }

    /// Seconds that `next` has waited so far.
    public var waitSeconds: Double { shared.times().wait }
}

/// What the threads and the consumer share; everything that changes is guarded by `condition`.
/// The threads hold this and not the loader, so that a loader nobody holds ends them.
private final class LoaderState: @unchecked Sendable {
    /// A batch on its way. Its slots are written without the lock, each by the one worker that took it.
    final class Pending: @unchecked Sendable {
        var index = 0
        var shortSide = 1
        var samples: [Int] = []
        var taken = 0
        var left = 0
        var finished: HostBatch?
        var slots: [PixelBuffer] = []
        var sizes: [(width: Int, height: Int)] = []
        var errors: [ImageError?] = []
        var isCached: [Bool] = []
    }

    private let set: ImageSet
    private let shortSides: @Sendable (Int) -> Int
    private let prefetch: Int
    private let isCached: @Sendable (Int) -> Bool
    private let need: @Sendable (Int, Int) -> PixelNeed?
    private let plan: @Sendable (Int) -> [Int]?
    private let pool: SlabPool

    private let condition = NSCondition()
    private var queue: [Pending] = []
    private var spare: [Pending] = []
    private var nextIndex = 0
    private var isPlanning = false
    private var planEnded = false
    private var stopped = false
    private var failure: (any Error)?
    private var alive = 0
    private var workerSeconds = 0.0
    private var waitSeconds = 0.0

    init(
        set: ImageSet, shortSides: @escaping @Sendable (Int) -> Int, prefetch: Int,
        isCached: @escaping @Sendable (Int) -> Bool, need: @escaping @Sendable (Int, Int) -> PixelNeed?,
        plan: @escaping @Sendable (Int) -> [Int]?
    ) {
        self.set = set
        self.shortSides = shortSides
        self.prefetch = prefetch
        self.isCached = isCached
        self.need = need
        self.plan = plan
        // those read ahead, the one being filled and the one in use
        pool = SlabPool(limit: prefetch + 2)
    }

    func start(_ workers: Int) {
        alive = workers
        for _ in 0..<workers {
            let thread = Thread { self.work() }
            thread.name = "batch loader"
            thread.stackSize = 1 << 20
            thread.start()
        }
    }

    func stop() {
        condition.lock()
        stopped = true
        condition.broadcast()
        while alive > 0 { condition.wait() }
        queue = []
        spare = []
        condition.unlock()
    }

    func times() -> (worker: Double, wait: Double) {
        condition.lock()
        defer { condition.unlock() }
        return (workerSeconds, waitSeconds)
    }

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
                for slot in job.slots { read(slot, of: job.pending, with: reader) }
                finish(job.pending, job.slots.count)
            }
        } catch {
            condition.lock()
            failure = failure ?? error
            condition.unlock()
        }
        condition.lock()
        alive -= 1
        condition.broadcast()
        condition.unlock()
    }

    /// The next few slots to fill: of the oldest batch that has any. Waits where all are taken; nil when
    /// there is nothing more to do.
    private func takeJob(secondsSinceLast seconds: inout Double) -> (pending: Pending, slots: Range<Int>)? {
        condition.lock()
        defer { condition.unlock() }
        let now = threadSeconds()
        workerSeconds += now - seconds
        seconds = now
        while true {
            if stopped || failure != nil { return nil }
            if let pending = queue.first(where: { $0.taken < $0.samples.count }) {
                // a few at a time: small images take about as long as taking the lock for each would
                let start = pending.taken
                pending.taken = min(pending.samples.count, start + 4)
                return (pending, start..<pending.taken)
            }
            if planEnded { return nil }
            if isPlanning || queue.count >= prefetch { condition.wait() } else { planNext() }
        }
    }

    /// Asks the plan for one more batch, without the lock: the plan may shuffle a million files.
    private func planNext() {
        isPlanning = true
        let index = nextIndex
        condition.unlock()
        let samples = plan(index)
        let wrong = samples?.first { !set.files.indices.contains($0) }
        let cached = wrong == nil ? samples?.map(isCached) ?? [] : []
        let shortSide = samples == nil ? 1 : shortSides(index)
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
                "batch \(index) names image \(wrong), but the set has \(set.count) images, numbered from 0")
            return
        }
        let pending = spare.popLast() ?? Pending()
        pending.index = index
        pending.shortSide = shortSide
        pending.samples = samples
        pending.taken = 0
        pending.left = samples.count
        while pending.slots.count < samples.count {
            pending.slots.append(PixelBuffer(capacity: 3 * shortSide * shortSide))
        }
        pending.sizes = Array(repeating: (0, 0), count: samples.count)
        pending.errors = Array(repeating: nil, count: samples.count)
        pending.isCached = cached
        if samples.isEmpty { pending.finished = assemble(pending) }
        queue.append(pending)
    }

    private func read(_ slot: Int, of pending: Pending, with reader: ImageReader) {
        if pending.isCached[slot] { return }
        let buffer = pending.slots[slot]
        let shortSide = pending.shortSide
        var size = (width: shortSide, height: shortSide)
        var failed: ImageError?
        do throws(ImageError) {
            let sample = pending.samples[slot]
            size = try reader.read(
                path: set.absolutePath(sample), shortSide: shortSide, into: buffer,
                need: need(pending.index, sample))
        } catch {
            failed = error
            buffer.reserve(3 * shortSide * shortSide)
            buffer.bytes.update(repeating: 128, count: 3 * shortSide * shortSide)
        }
        // Arrays may not be written by two threads at once, even at different places.
        condition.lock()
        pending.sizes[slot] = size
        pending.errors[slot] = failed
        condition.unlock()
    }

    /// Counts slots as filled; whoever fills the last one puts the batch together.
    private func finish(_ pending: Pending, _ count: Int) {
        condition.lock()
        pending.left -= count
        let whole = pending.left == 0
        condition.unlock()
        guard whole else { return }
        let batch = assemble(pending)
        condition.lock()
        pending.finished = batch
        condition.broadcast()
        condition.unlock()
    }

    private func assemble(_ pending: Pending) -> HostBatch {
        var records: [ImageRecord] = []
        var offset = 0
        for size in pending.sizes {
            records.append(
                ImageRecord(offset: Int64(offset), width: Int32(size.width), height: Int32(size.height)))
            offset += (3 * size.width * size.height + 15) / 16 * 16
        }
        let slab = pool.take(max(offset, 1))
        for (slot, record) in records.enumerated() {
            let count = 3 * Int(record.width) * Int(record.height)
            slab.bytes.advanced(by: Int(record.offset)).copyMemory(
                from: pending.slots[slot].bytes, byteCount: count)
        }
        return HostBatch(
            index: pending.index, slab: slab, pool: pool, byteCount: offset, records: records,
            labels: pending.samples.map { Int32(set.files[$0].label) },
            weights: pending.errors.map { $0 == nil ? 1 : 0 },
            failures: pending.errors.enumerated().compactMap { slot, error in
                error.map { BatchFailure(slot: slot, sample: pending.samples[slot], error: $0) }
            }, samples: pending.samples)
    }
}
