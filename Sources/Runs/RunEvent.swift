import Basics
import Collectives
import Compute
import Configuration
import Evaluation
import NeuralNet
import Photographs

/// Something that happened in a run, with its numbers, which a sink formats.
public enum RunEvent: Sendable {
    case started(RunStart)
    case resumed(step: Int, seconds: Double)
    /// The names of parameters that the initial model gave, and of those that were drawn instead.
    case initialised(from: String, taken: [String], drawn: [String])
    /// The learning rate that a range test has found.
    case learningRateFound(FoundRate)
    case step(StepReport)
    case validating(done: Int, total: Int)
    case epoch(EpochReport)
    /// Training does not work as it should; each kind is reported once in a run.
    case warning(epoch: Int, LearningProblem)
    /// Training ended after the given number of epochs without a better validation.
    case stoppedEarly(epoch: Int, patience: Int)
    /// Seconds of an epoch in which an exchange of gradients was under way on the rank that hid least of it.
    ///
    /// In `exposed` of these seconds the training thread waited or worked for it.
    case exchange(seconds: Double, exposed: Double, hiddenShare: Double)
    /// The training images that the first epoch has put on the devices of all ranks.
    ///
    /// Each rank reads its own images in every epoch, so more ranks cache more; with balanced sampling each
    /// draws from all images, and several may have the same one.
    case cache(cached: Int, images: Int, ranks: Int, byteCount: Int)
    /// Training waits for photographs; reported once.
    case inputBound(InputBound)
    /// A photograph that cannot be used: the file, what was found and what to do.
    case leftOut(String)
    /// A checkpoint is complete.
    case checkpoint(step: Int)
    /// Writing a checkpoint failed; that of `lastStep` is the last complete one.
    case checkpointFailed(lastStep: Int, run: String)
    case traced(path: String)
    /// The launcher allows the first rank fewer cores than its share of the node's.
    case fewCores(usable: Int, share: Int)
    /// One group of all ranks exchanges, although nodes have several.
    case flatExchange(Topology.FlatReason)
    /// The size of a mini-batch that was chosen for a small training set.
    case batchChosen(batch: Int, photographs: Int)
    /// What lies beside the photographs and is not used.
    case unused(UnusedFiles, data: String, labels: String?)
    /// A remark for the console.
    case note(String)
}

/// Receives the events of a run, to log or to show them.
public protocol EventSink: AnyObject {
    /// Takes an event; called on the training thread of the first rank.
    func receive(_ event: RunEvent) throws
}

/// What a run trains, on what, from what; `isNew` unless it was resumed.
public struct RunStart: Sendable {
    public let options: TrainingOptions
    public let version: String
    public let isNew: Bool
    /// The device's name, and the OpenCL platform with its driver's version.
    public let device, driver: String
    public let model: String
    public let ranks, parameterCount, classes, trainingImages, validationImages, shortSide: Int
    /// How the training images are distributed over the classes.
    public let balance: ClassBalance

    package init(
        _ options: TrainingOptions, version: String, isNew: Bool, ranks: Int, device: DeviceDescription,
        dataset: Dataset, network: Network, shortSide: Int
    ) {
        self.options = options
        self.version = version
        self.isNew = isNew
        self.ranks = ranks
        self.device = device.name
        driver = "\(device.platform) \(device.driver)"
        model = network.architecture.description
        parameterCount = network.parameters.reduce(0) { $0 + $1.count }
        classes = dataset.classes.count
        trainingImages = dataset.training.count
        validationImages = dataset.validation.count
        self.shortSide = shortSide
        balance = ClassBalance(dataset.training)
    }
}

/// The classes with the most and with the fewest training photographs; of several, the first in order.
public struct ClassBalance: Sendable {
    public let largest, smallest: (name: String, images: Int)
    /// How many times as many photographs the largest class has.
    public var ratio: Double { Double(largest.images) / Double(max(1, smallest.images)) }

    package init(_ set: ImageSet) {
        let counts = zip(set.classes, set.countsByClass).map { (name: $0, images: $1) }
        largest = counts.max { $0.images < $1.images } ?? ("", 0)
        smallest = counts.min { $0.images < $1.images } ?? ("", 0)
    }

    /// The numbers for the log.
    var json: JSON {
        [
            "largest_class": largest.name, "largest_class_images": largest.images,
            "smallest_class": smallest.name, "smallest_class_images": smallest.images,
            "class_ratio": JSON.rounded(ratio),
        ]
    }
}

/// What a range test has found: the rate to train with, and the mean loss at each rate that it tried.
public struct FoundRate: Sendable {
    public let rate: Double
    public let curve: [(rate: Double, loss: Double)]

    package init(rate: Double, curve: [(rate: Double, loss: Double)]) {
        self.rate = rate
        self.curve = curve
    }
}

/// Where the time of one or more steps went.
public struct StepTimes: Sendable {
    public private(set) var steps: Int
    public private(set) var seconds: Double
    private var waitSeconds, loaderSeconds: Double

    package init(steps: Int = 0, seconds: Double = 0, waitSeconds: Double = 0, loaderSeconds: Double = 0) {
        self.steps = steps
        self.seconds = seconds
        self.waitSeconds = waitSeconds
        self.loaderSeconds = loaderSeconds
    }

    package static func += (sum: inout StepTimes, other: StepTimes) {
        sum.steps += other.steps
        sum.seconds += other.seconds
        sum.waitSeconds += other.waitSeconds
        sum.loaderSeconds += other.loaderSeconds
    }

    /// The throughput with mini-batches of `batch` images.
    func imagesPerSecond(batch: Int) -> Double { Double(steps * batch) / max(seconds, 1e-9) }

    /// The share of the time spent waiting for photographs.
    public var dataWait: Double { waitSeconds / max(seconds, 1e-9) }
    /// CPU seconds of the loader's threads, per step.
    public var loaderSecondsPerStep: Double { loaderSeconds / Double(max(1, steps)) }
}

/// Says that an epoch's steps waited for photographs, and why.
public struct InputBound: Sendable, Equatable {
    /// The share of the time that steps waited.
    public let wait: Double
    public let workers: Int
    /// The share of the time that the loader's threads computed; the rest they waited for the disk.
    public let busy: Double

    /// The wait that is worth a line, and the seconds that an epoch must take.
    private static let leastWait = 0.15
    private static let leastSeconds = 5.0

    /// Returns nil if training was not held up, or for so short a time that it does not matter.
    package init?(_ times: StepTimes, workers: Int) {
        guard times.dataWait >= Self.leastWait, times.seconds >= Self.leastSeconds else { return nil }
        wait = times.dataWait
        self.workers = workers
        busy = min(
            1, times.loaderSecondsPerStep * Double(times.steps) / (times.seconds * Double(max(1, workers))))
    }

    /// Whether the threads compute most of the time, so that a faster disk would not help.
    public var isComputing: Bool { busy >= 0.5 }
}

/// One finished step.
public struct StepReport: Sendable {
    public let epoch, epochs: Int
    /// The step and the number of steps, counted from 1 over all epochs.
    public let step, totalSteps: Int
    /// The mean cross-entropy in nats, and the accuracies, over the mini-batch.
    public let loss, top1, top5: Double
    public let learningRate: Double
    public let times: StepTimes
    public let imagesPerSecond: Double
    /// Seconds since the run's start.
    public let seconds: Double

    package init(
        _ options: TrainingOptions, epoch: Int, step: Int, totalSteps: Int,
        totals: SoftmaxCrossEntropy.Totals, learningRate: Double, times: StepTimes, seconds: Double
    ) {
        let weight = Double(max(totals.weight, 1))
        self.epoch = epoch
        epochs = options.epochs
        self.step = step
        self.totalSteps = totalSteps
        loss = Double(totals.loss) / weight
        top1 = Double(totals.top1) / weight
        top5 = Double(totals.top5) / weight
        self.learningRate = learningRate
        self.times = times
        imagesPerSecond = times.imagesPerSecond(batch: options.batch)
        self.seconds = seconds
    }
}

/// One finished epoch.
public struct EpochReport: Sendable {
    public let epoch, step: Int
    /// The mean loss in nats and the top-1 accuracy over the epoch's steps, with the weights of each step.
    public let trainingLoss, trainingTop1: Double
    public let validation: Metrics
    public let validationSeconds: Double
    public let isBest: Bool
    /// The epoch's steps, without validation.
    public let times: StepTimes
    public let imagesPerSecond: Double
    /// Seconds since the run's start.
    public let seconds: Double

    package init(
        _ options: TrainingOptions, epoch: Int, step: Int, training: (loss: Double, top1: Double),
        validation: Metrics, validationSeconds: Double, isBest: Bool, times: StepTimes, seconds: Double
    ) {
        self.epoch = epoch
        self.step = step
        (trainingLoss, trainingTop1) = training
        self.validation = validation
        self.validationSeconds = validationSeconds
        self.isBest = isBest
        self.times = times
        imagesPerSecond = times.imagesPerSecond(batch: options.batch)
        self.seconds = seconds
    }
}
