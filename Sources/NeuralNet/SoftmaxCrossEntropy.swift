import Compute
import Foundation

/// Says what the network's posteriors are trained towards.
public struct LossRule: Sendable {
    /// The share of each target that goes to all classes equally (label smoothing; Szegedy et al., 2016).
    public var smoothing: Float
    /// What each class's images count in the loss; nil if all count 1.
    public var classWeights: [Float]?
    /// Both parameters of mixup's beta distribution; nil if images are not mixed.
    public var mixup: Double?

    public init(smoothing: Float = 0, classWeights: [Float]? = nil, mixup: Double? = nil) {
        self.smoothing = smoothing
        self.classWeights = classWeights
        self.mixup = mixup
    }

    /// Returns a weight for each class, of which one has the more the fewer images it has: n / (k · nᶜ).
    ///
    /// The mean over all n images is 1.
    ///
    /// - Parameter counts: the number of images of each of the k classes
    public static func balancedWeights(_ counts: [Int]) -> [Float] {
        let total = Double(counts.reduce(0, +))
        return counts.map { Float(total / (Double(counts.count) * Double(max(1, $0)))) }
    }
}

/// Computes softmax and cross-entropy at the end of a network, with the counts of hits.
public final class SoftmaxCrossEntropy {
    /// Holds what the host reads of a mini-batch: sums over its images, each times its weight.
    ///
    /// Loss and hits are those of the labels, without smoothing and class weights, so that they compare with
    /// a validation's. An image mixed of two counts for both labels, each by its share.
    public struct Totals: Sendable, Equatable {
        public var loss: Float
        public var top1: Float
        public var top5: Float
        public var weight: Float
    }

    /// Holds the results of one image.
    public struct Row: Sendable, Equatable {
        public let loss: Float
        public let top1: Float
        public let top5: Float
        /// The class with the highest score.
        public let predicted: Int
    }

    private let classes: Int
    private let stride: Int
    private let smoothing: Float
    private let classWeights: Buffer
    private let statistics: Buffer
    let totals: Buffer
    /// Mini-batches whose totals are kept.
    public let keptSteps: Int
    /// What sums over images are multiples of; 0: any number.
    private let grain: Float
    private let tuning: Tuning
    private let lossKernel: Kernel
    private let softmaxKernel: Kernel
    private let sumKernel: Kernel

    /// - Parameters:
    ///   - keptSteps: mini-batches whose totals are kept, so that the host can read them late
    ///   - stepImages: images of a whole step, on all ranks. The sums of its passes are then rounded so
    ///     that adding them up is exact, in any order, while the mean loss is below 32. A mean changes by
    ///     less than 2⁻¹⁹ per pass. Nil: not rounded.
    public init(
        device: Device, classes: Int, maximumBatch: Int, keptSteps: Int = 4,
        rule: LossRule = LossRule(), stepImages: Int? = nil
    ) throws {
        // A float32 has 24 digits: 32 · images is at most 2²⁴ grains.
        grain = stepImages.map { pow(2, log2(Float($0)).rounded(.up) - 19) } ?? 0
        self.classes = classes
        self.keptSteps = keptSteps
        tuning = device.tuning
        stride = Parameter(name: "", layout: .bias(count: classes), index: 0).storedCount
        smoothing = rule.smoothing
        let sizes = SoftmaxCrossEntropy.byteCounts(
            maximumBatch: maximumBatch, classes: classes, keptSteps: keptSteps)
        classWeights = try Buffer(device, rule.classWeights ?? Array(repeating: 1, count: classes))
        statistics = try Buffer(device, byteCount: sizes[0])
        totals = try Buffer(device, byteCount: sizes[1])
        lossKernel = try device.kernel("softmax", "softmax_cross_entropy")
        softmaxKernel = try device.kernel("softmax", "softmax_forward")
        sumKernel = try device.kernel("softmax", "sum_statistics")
    }

    /// Returns the bytes of the rows' statistics, of the totals and of the classes' weights.
    public static func byteCounts(maximumBatch: Int, classes: Int, keptSteps: Int = 4) -> [Int] {
        [maximumBatch * 16, keptSteps * 16, classes * 4]
    }

    /// Queues the loss of each row, and the gradient of `scale` · Σ weight · (cross-entropy with the
    /// targets).
    ///
    /// - Parameters:
    ///   - logits: `[batch][classes rounded up to 16]`
    ///   - labels, weights: `pass.firstRecord` is the place of row 0 in them
    ///   - shares: those of images that `Mixup` has mixed, placed as the weights are; nil for others
    ///   - step: its totals are kept until `keptSteps` steps later; several passes of one step add up
    public func forwardBackward(
        logits: Buffer, labels: Buffer, weights: Buffer, shares: Buffer? = nil, gradient: Buffer,
        scale: Float, step: Int, addsToStep: Bool, pass: Pass
    ) throws {
        try lossKernel.launch(
            KernelFamilies.softmax.rows(pass.batch, tuning: tuning),
            logits, labels, [weights, shares ?? weights, classWeights], gradient, statistics,
            [pass.batch, classes, stride, pass.firstRecord, shares == nil ? 0 : 1], [scale, smoothing])
        try sumKernel.launch(
            KernelFamilies.softmax.rows(1, tuning: tuning),
            statistics, weights, totals,
            RowSum(
                rows: pass.batch, first: pass.firstRecord,
                place: step % keptSteps, accumulates: addsToStep, grain: grain))
    }

    /// Which rows a launch adds, and to what.
    private struct RowSum: KernelArgumentGroup {
        /// The number of rows, and the first one's place in the weights.
        let rows, first: Int
        /// The place of the totals, which the sum replaces unless it `accumulates`.
        let place: Int
        let accumulates: Bool
        let grain: Float

        var arguments: [any KernelArgument] { [rows, first, place, accumulates ? 1 : 0, grain] }
    }

    /// Queues the posteriors of each row, `[batch][classes rounded up to 16]`.
    public func softmax(logits: Buffer, probabilities: Buffer, batch: Int) throws {
        try softmaxKernel.launch(
            KernelFamilies.softmax.rows(batch, tuning: tuning), logits, probabilities,
            [batch, classes, stride])
    }

    /// Copies a step's totals to the start of `target`.
    public func copyTotals(step: Int, to target: Buffer) throws {
        try target.copy(from: totals, sourceOffset: step % keptSteps * 16, byteCount: 16, to: 0)
    }

    /// Takes a step's totals from the start of `source`.
    public func setTotals(step: Int, from source: Buffer) throws {
        try totals.copy(from: source, sourceOffset: 0, byteCount: 16, to: step % keptSteps * 16)
    }

    /// Starts reading the totals of a step into `target` (four floats).
    public func readTotals(step: Int, into target: UnsafeMutableRawBufferPointer) throws -> Event {
        try totals.read(into: target, byteOffset: step % keptSteps * 16)
    }

    /// Reads the rows of the last pass.
    public func readRows(_ count: Int) throws -> [Row] {
        let values: [Float] = try statistics.read(count * 4)
        return (0..<count).map { row in
            Row(
                loss: values[4 * row], top1: values[4 * row + 1], top5: values[4 * row + 2],
                predicted: Int(values[4 * row + 3]))
        }
    }
}
