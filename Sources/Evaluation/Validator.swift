import Basics
import Compute
import DeviceInput
import Foundation
import NeuralNet
import Photographs

/// Runs the central crop of photographs through a network: validation during training.
public final class Validator {
    private let network: Network
    private let shortSide: Int
    private let input: ImageInput
    private let loss: SoftmaxCrossEntropy
    private let batches: [DeviceBatch]
    private let unusedGradient: Buffer
    /// Runs the network; nil: `Network.forward`.
    private let jointForward: ((Pass) throws -> Void)?

    /// - Parameters:
    ///   - shortSide: pixels to which the shorter side of each photograph is resized
    ///   - jointForward: runs the network, if that is possible only for all parts of a set at once. It is
    ///     called equally often for each part, for mini-batches without images at the end.
    public init(
        network: Network, normalization: Normalization, shortSide: Int,
        jointForward: ((Pass) throws -> Void)? = nil
    ) throws {
        self.network = network
        self.shortSide = shortSide
        self.jointForward = jointForward
        let batch = network.options.maximumBatch
        input = try ImageInput(
            device: network.device, size: network.inputShape.width, normalization: normalization)
        loss = try SoftmaxCrossEntropy(device: network.device, classes: network.classes, maximumBatch: batch)
        batches = try (0..<2).map { _ in try DeviceBatch(device: network.device, capacity: batch) }
        unusedGradient =
            try network.logitsGradient ?? Buffer(network.device, floatCount: batch * network.logitsStride)
    }

    /// Returns the outcome for each photograph of `set`, or of one of its parts, in the set's order.
    ///
    /// Photographs that cannot be read are left out and returned as failures. Parts are whole mini-batches,
    /// so the outcomes don't depend on the number of parts.
    /// - Parameters:
    ///   - set: its labels are indices into the network's classes.
    ///   - progress: called with the number of photographs done.
    public func images(
        of set: ImageSet, part: (index: Int, count: Int) = (0, 1), workers: Int,
        progress: (Int) throws -> Void = { _ in }
    ) throws -> (images: [Metrics.Outcome], failures: [ImageError]) {
        let batch = network.options.maximumBatch
        let batches = set.count.ceilDivided(by: batch)
        let first = batches * part.index / part.count * batch
        let end = min(set.count, batches * (part.index + 1) / part.count * batch)
        let files = set.subset(first..<end)
        var images: [Metrics.Outcome] = []
        images.reserveCapacity(files.count)
        var failures: [ImageError] = []
        var done = 0
        try forEachBatch(of: files, workers: workers) { batch, host in
            try loss.forwardBackward(
                logits: network.logits, labels: batch.labels, weights: batch.weights,
                gradient: unusedGradient, scale: 1, step: 0, addsToStep: false,
                pass: Pass(batch: host.count, training: false))
            let rows = try loss.readRows(host.count)
            try network.logits.read(host.count * network.logitsStride).withUnsafeBufferPointer { logits in
                for (position, row) in rows.enumerated() where host.weights[position] > 0 {
                    let start = position * network.logitsStride
                    images.append(
                        Metrics.Outcome(
                            scores: UnsafeBufferPointer(rebasing: logits[start..<start + network.classes]),
                            label: Int(host.labels[position]), loss: row.loss))
                }
            }
            failures += host.failures.map(\.error)
            done += host.count
            try progress(done)
        }
        if let jointForward {
            let own = files.count.ceilDivided(by: batch)
            for _ in own..<batches.ceilDivided(by: part.count) {
                try jointForward(Pass(batch: 0, training: false))
            }
        }
        return (images, failures)
    }

    /// Calls `body` for each mini-batch once its scores are queued.
    private func forEachBatch(of set: ImageSet, workers: Int, _ body: (DeviceBatch, HostBatch) throws -> Void)
        throws
    {
        let plan = try EvaluationPlan(count: set.count, batchSize: network.options.maximumBatch)
        let loader = BatchLoader(
            set: set, shortSide: shortSide, workers: workers, memory: network.device.batchMemory
        ) { plan.batch($0) }
        defer { loader.stop() }
        let size = network.inputShape.width
        while let host = try loader.next() {
            let batch = batches[host.index % batches.count]
            try batch.upload(host, size: size) { width, height, _ in
                AugmentationParameters.central(width: width, height: height, size: size)
            }
            let pass = Pass(batch: host.count, training: false)
            try input.load(bytes: batch.bytes, records: batch.records, output: network.input, pass: pass)
            if let jointForward { try jointForward(pass) } else { try network.forward(pass) }
            try body(batch, host)
        }
    }
}
