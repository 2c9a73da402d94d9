import Photographs
import Synchronization

/// The mini-batches of all epochs, one after the other: the loader asks for them ahead, so that no epoch
/// begins with an empty queue.
final class PlanSequence: Sendable {
    private let count: Int
    private let batchSize: Int
    private let microBatches: Int
    private let seed: UInt64
    private let stepsPerEpoch: Int
    private let epochs: Int
    private let span: Range<Int>
    private let current = Mutex<(epoch: Int, plan: EpochPlan)?>(nil)

    /// - Parameter span: the micro-batches whose images are wanted
    init(
        count: Int, batchSize: Int, microBatches: Int, seed: UInt64,
        stepsPerEpoch: Int, epochs: Int, span: Range<Int>
    ) {
        self.count = count
        self.batchSize = batchSize
        self.microBatches = microBatches
        self.seed = seed
        self.stepsPerEpoch = stepsPerEpoch
        self.epochs = epochs
        self.span = span
    }

    /// The positions of the wanted micro-batches' images in the mini-batch of step `step`, counted from 0 over all
    /// epochs.
    func batch(_ step: Int) -> [Int]? {
        let epoch = step / stepsPerEpoch + 1
        guard epoch <= epochs else { return nil }
        return current.withLock { current in
            if current?.epoch != epoch {
                current =
                    (try? EpochPlan(
                        count: count, batchSize: batchSize,
                        microBatches: microBatches, seed: seed, epoch: epoch)).map {
                        (epoch, $0)
                    }
            }
            guard let plan = current?.plan else { return nil }
            let parts = span.compactMap { plan.batch(step % stepsPerEpoch, microBatch: $0) }
            return parts.count == span.count ? parts.flatMap { $0 } : nil
        }
    }
}
