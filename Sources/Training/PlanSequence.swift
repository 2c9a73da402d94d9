import Collectives
import Configuration
import Photographs
import Synchronization

/// Lists the mini-batches of all epochs, so that the loader reads ahead over the end of an epoch.
final class PlanSequence: Sendable {
    private let options: TrainingOptions
    private let count: Int
    private let stepsPerEpoch: Int
    private let microBatches: Range<Int>
    private let current = Mutex<(epoch: Int, plan: EpochPlan)?>(nil)

    init(_ options: TrainingOptions, _ workload: Workload) {
        self.options = options
        count = workload.dataset.training.count
        stepsPerEpoch = workload.stepsPerEpoch
        microBatches = workload.span.range
    }

    /// Returns the positions of this rank's images of a step, counted from 0; nil after the last step.
    func batch(_ step: Int) -> [Int]? {
        let epoch = step / stepsPerEpoch + 1
        guard epoch <= options.epochs else { return nil }
        return current.withLock { current in
            if current?.epoch != epoch {
                let plan = try? EpochPlan(
                    count: count, batchSize: options.batch, microBatches: options.microBatches,
                    seed: options.seed, epoch: epoch)
                current = plan.map { (epoch, $0) }
            }
            guard let plan = current?.plan else { return nil }
            let parts = microBatches.compactMap { plan.batch(step % stepsPerEpoch, microBatch: $0) }
            return parts.count == microBatches.count ? parts.flatMap { $0 } : nil
        }
    }
}
