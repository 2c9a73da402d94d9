import Collectives
import Compute
import Configuration
import NeuralNet
import Training

extension Benchmark {
    /// When the ranks of a benchmark exchange gradients.
    public enum RankExchange: String, CaseIterable, Sendable {
        case lazy, synchronous
        /// Never: each rank trains for itself, while the others do the same.
        case none
    }

    /// Times training steps of several ranks on random images, as `train` runs them.
    ///
    /// The host reads a step's loss one step late, so that lazy updates overlap with the next step.
    ///
    /// - Parameters:
    ///   - step: over all ranks; it has at least one micro-batch per rank
    ///   - isHybrid: whether hidden fully connected layers are split over the ranks
    /// - Returns: the seconds of the slowest rank in each step
    public static func step(
        _ step: BenchmarkedStep, steps: Int, exchange: RankExchange, isHybrid: Bool = false,
        communicator: any Communicator, device: Device
    ) throws -> Step {
        var step = step
        step.microBatches = max(
            step.microBatches, MicroBatchTree.defaultMicroBatches(ranks: communicator.size))
        guard step.batch % step.microBatches == 0 else {
            throw TrainingError.usage(
                "a batch of \(step.batch) on \(communicator.size) ranks: expected a multiple of "
                    + "\(step.microBatches), the number of micro-batches")
        }
        let (training, local) = try rankStep(step, exchange, isHybrid: isHybrid, communicator, device)
        let data = try local.randomBatch(on: device)
        var seconds: [Double] = []
        try communicator.barrier()
        var start = ContinuousClock.now
        let last = steps + 2
        for number in 0...last {
            try training.run(data, step: number, learningRate: learningRate)
            if number > 0 { _ = try finiteLoss(of: number - 1, training) }
            let end = ContinuousClock.now
            // The first three compile and fill the queue.
            if number > 2 { seconds.append((end - start).seconds) }
            start = end
        }
        let loss = try finiteLoss(of: last, training)
        // The last update still reads what is about to be freed.
        try device.finish()
        let all = try communicator.gather(seconds)
        let slowest = seconds.indices.map { index in all.map { $0[index] }.max() ?? 0 }
        return Step(step, slowest, training.network, loss: loss)
    }

    /// Returns this rank's step function, and what it is over.
    private static func rankStep(
        _ step: BenchmarkedStep, _ exchange: RankExchange, isHybrid: Bool,
        _ communicator: any Communicator, _ device: Device
    ) throws -> (TrainingStep, BenchmarkedStep) {
        func topology(hasWindows: Bool = true) throws -> Topology {
            try Topology(
                microBatches: step.microBatches, nodes: communicator.nodes, hasWindows: hasWindows)
        }
        var local = step
        let first = try topology()
        local.microBatches = first.spans[communicator.rank].count
        local.batch = step.batch / step.microBatches * local.microBatches
        if exchange == .none { return (try local.trainingStep(on: device), local) }
        let schedule =
            isHybrid
            ? HybridSchedule(
                spans: first.spans, nodes: first.groups, microBatch: step.batch / step.microBatches) : nil
        let training = try step.trainingStep(
            on: device, policy: exchange == .lazy ? .lazy : .synchronous,
            split: schedule?.split(of: communicator.rank)
        ) { network in
            func connection(hasWindows: Bool) throws -> (GradientExchange, HybridLayers?) {
                let topology = try topology(hasWindows: hasWindows)
                let exchange = try GradientExchange(
                    network.trainedParameters.filter { !$0.isSplit }, device: device,
                    communicator: communicator, topology: topology)
                return (
                    exchange,
                    try schedule.map {
                        try HybridLayers(
                            network, schedule: $0, communicator: communicator, topology: topology)
                    }
                )
            }
            do { return try connection(hasWindows: true) } catch is WindowsUnavailable {
                return try connection(hasWindows: false)
            }
        }
        return (training, local)
    }
}
