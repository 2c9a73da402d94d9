import DeviceInput
import Compute
import Foundation
import Photographs
import NeuralNet

/// How a network does on a set of photographs.
public struct EvaluationResult: Sendable {
    /// Fractions of 1, and the mean cross-entropy in nats.
    public let top1: Double
    public let top5: Double
    public let loss: Double
    /// Photographs that were read and counted.
    public let images: Int
    public let confusion: Confusion
    /// Files that could not be used.
    public let failures: [ImageError]
}

/// How a network does on one photograph.
public struct EvaluatedImage: BitwiseCopyable, Sendable {
    /// Cross-entropy in nats.
    public let loss: Float
    public let isTop1: Bool
    public let isTop5: Bool
    public let label: Int32
    /// The class with the highest score.
    public let predicted: Int32
}

extension EvaluationResult {
    /// Added up in the order of the images.
    public init(_ images: [EvaluatedImage], classes: Int, failures: [ImageError]) {
        var confusion = Confusion(classes: classes)
        for image in images { confusion.count(label: Int(image.label), answer: Int(image.predicted)) }
        let count = Double(max(1, images.count))
        self.init(
            top1: Double(images.count(where: \.isTop1)) / count,
            top5: Double(images.count(where: \.isTop5)) / count,
            loss: images.reduce(0) { $0 + Double($1.loss) } / count, images: images.count,
            confusion: confusion, failures: failures)
    }
}

/// Runs photographs through a network: the central crop of each.
public final class Evaluator {
    private let network: Network
    private let shortSide: Int
    private let input: ImageInput
    private let loss: SoftmaxCrossEntropy
    private let batches: [DeviceBatch]
    private let unusedGradient: Buffer

    /// - Parameter shortSide: pixels to which the shorter side of each photograph is brought.
    public init(network: Network, normalization: Normalization, shortSide: Int) throws {
        self.network = network
        self.shortSide = shortSide
        let batch = network.options.maximumBatch
        input = try ImageInput(
            device: network.device, size: network.inputShape.width, normalization: normalization)
        loss = try SoftmaxCrossEntropy(device: network.device, classes: network.classes, maximumBatch: batch)
        batches = try (0..<2).map { _ in try DeviceBatch(device: network.device, capacity: batch) }
        unusedGradient =
            try network.logitsGradient ?? Buffer(network.device, floatCount: batch * network.logitsStride)
    }

    /// Counts how often the network is right on `set`, whose labels are indices into the network's classes.
    ///
    /// - Parameter progress: called with the number of photographs done.
    public func evaluate(_ set: ImageSet, workers: Int, progress: (Int) throws -> Void = { _ in }) throws
        -> EvaluationResult
    {
        let (images, failures) = try images(of: set, workers: workers, progress: progress)
        return EvaluationResult(images, classes: network.classes, failures: failures)
    }

    /// How the network does on each photograph of `set`, or of one of `count` parts of it, in the set's
    /// order; those that could not be used are left out.
    ///
    /// Parts are cut between mini-batches, so that every photograph is computed as it would be without.
    public func images(
        of set: ImageSet, part: (index: Int, count: Int) = (0, 1), workers: Int,
        progress: (Int) throws -> Void = { _ in }
    ) throws -> (images: [EvaluatedImage], failures: [ImageError]) {
        let batch = network.options.maximumBatch
        let batches = (set.count + batch - 1) / batch
        let first = batches * part.index / part.count * batch
        let end = min(set.count, batches * (part.index + 1) / part.count * batch)
        let files = set.subset(first..<end)
        var images: [EvaluatedImage] = []
        images.reserveCapacity(files.count)
        var failures: [ImageError] = []
        var done = 0
        try forEachBatch(of: files, workers: workers) { batch, host in
            try loss.forwardBackward(
                logits: network.logits, labels: batch.labels, weights: batch.weights,
                gradient: unusedGradient, scale: 1, step: 0, addsToStep: false,
                pass: Pass(batch: host.count, training: false))
            for (row, statistics) in try loss.readRows(host.count).enumerated() where host.weights[row] > 0 {
                images.append(
                    EvaluatedImage(
                        loss: statistics.loss, isTop1: statistics.top1 > 0, isTop5: statistics.top5 > 0,
                        label: host.labels[row], predicted: Int32(statistics.predicted)))
            }
            failures += host.failures.map(\.error)
            done += host.count
            try progress(done)
        }
        return (images, failures)
    }

    /// Calls `body` for each mini-batch once its scores are queued.
    private func forEachBatch(of set: ImageSet, workers: Int, _ body: (DeviceBatch, HostBatch) throws -> Void)
        throws
    {
        let plan = try EvaluationPlan(count: set.count, batchSize: network.options.maximumBatch)
        let loader = BatchLoader(set: set, shortSide: shortSide, workers: workers) { plan.batch($0) }
        defer { loader.stop() }
        let size = network.inputShape.width
        while let host = try loader.next() {
            let batch = batches[host.index % batches.count]
            try batch.upload(host, size: size) { width, height, _ in
                AugmentationParameters.central(width: width, height: height, size: size)
            }
            let pass = Pass(batch: host.count, training: false)
            try input.load(bytes: batch.bytes, records: batch.records, output: network.input, pass: pass)
            try network.forward(pass)
            try body(batch, host)
        }
    }
}
