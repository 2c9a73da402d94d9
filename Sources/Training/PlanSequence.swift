import Collectives
import Configuration
import Photographs
import Synchronization

/// Lists the mini-batches of all epochs, so that the loader reads ahead over the end of an epoch.
final class PlanSequence: Sendable {
    private let options: TrainingOptions
    private let count: Int
    /// The class of each photograph, for balanced sampling.
    private let labels: [Int]?
    private let stepsPerEpoch: Int
    private let microBatches: Range<Int>
    private let current = Mutex<(epoch: Int, plan: EpochPlan)?>(nil)

    init(_ options: TrainingOptions, _ workload: Workload) {
        self.options = options
        let set = workload.dataset.training
        count = set.count
        labels = options.balancedSampling ? (0..<set.count).map { set.label($0) } : nil
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
                    balancing: labels, seed: options.seed, epoch: epoch)
                current = plan.map { (epoch, $0) }
            }
            guard let plan = current?.plan else { return nil }
            let parts = microBatches.compactMap { plan.batch(step % stepsPerEpoch, microBatch: $0) }
            return parts.count == microBatches.count ? parts.flatMap { $0 } : nil
        }
    }
}

extension TrainingOptions {
    /// Returns the number that keys the augmentation of a step's photographs, beside seed and photograph.
    ///
    /// It is the epoch, or the step if an epoch may draw a photograph several times.
    func augmentationKey(step: Int, stepsPerEpoch: Int) -> Int {
        balancedSampling ? step + 1 : step / stepsPerEpoch + 1
    }
}
