import Compute
import ImageData
import NeuralNet

/// Every option of `train`, with its default.
public struct TrainingOptions: Sendable, Equatable {
    /// Folder of labelled photographs.
    public var data = ""
    /// A name or a specification, as `Architecture` reads it.
    public var model = "mini"
    /// Side of the network's input in pixels.
    public var imageSize = 64
    /// Pixels to which a photograph's shorter side is brought; nil: 8/7 of `imageSize`, or `imageSize` where the photographs have that size.
    public var shortSide: Int?
    /// Images of a mini-batch.
    public var batch = 32
    public var shards = 1
    public var epochs = 12
    /// auto, cpu, gpu or opencl:N
    public var device = "auto"
    /// The run's folder; it must not exist.
    public var output = ""
    /// The rate after the warm-up.
    public var learningRate = 0.03
    public var schedule = LearningRateSchedule.cosine
    public var warmupEpochs = 1.0
    public var momentum = 0.9
    public var weightDecay = 5e-4
    public var dropout = 0.5
    public var augmentation = Augmentation.standard
    public var seed: UInt64 = 1
    /// Threads that read and decode photographs.
    public var workers = 2
    /// Share of the files held out where the folder has no `val`.
    public var validationFraction = 0.1
    public var convolution: ConvolutionAlgorithm?

    public init() {}

    /// - Throws: `TrainingError` naming the option, what it is and what it may be.
    public func validate() throws {
        func require(_ condition: Bool, _ option: String, _ value: Any, _ expected: String) throws {
            if !condition { throw TrainingError.usage("--\(option) \(value): expected \(expected)") }
        }
        try require(imageSize >= 2 && imageSize <= 4096, "image-size", imageSize, "2 to 4096 pixels")
        if let shortSide {
            try require(
                shortSide >= imageSize && shortSide <= 8192, "short-side", shortSide, "the image size (\(imageSize)) to 8192 pixels")
        }
        try require(batch >= 1 && batch <= 65_536, "batch", batch, "1 to 65536 images")
        try require(
            shards >= 1 && shards & (shards - 1) == 0 && batch % shards == 0, "shards", shards,
            "a power of two that divides the batch of \(batch)")
        try require(epochs >= 1, "epochs", epochs, "1 or more")
        try require(learningRate > 0 && learningRate.isFinite, "learning-rate", learningRate, "a number above 0")
        try require(warmupEpochs >= 0 && warmupEpochs.isFinite, "warmup-epochs", warmupEpochs, "0 or more")
        try require((0..<1).contains(momentum), "momentum", momentum, "0 up to but not 1")
        try require(weightDecay >= 0 && weightDecay.isFinite, "weight-decay", weightDecay, "0 or more")
        try require((0..<1).contains(dropout), "dropout", dropout, "0 up to but not 1")
        try require(workers >= 1 && workers <= 256, "workers", workers, "1 to 256 threads")
        try require(validationFraction > 0 && validationFraction < 1, "val-fraction", validationFraction, "a share between 0 and 1")
        _ = try Architecture(parsing: model)
        _ = try DeviceSelector(parsing: device)
    }
}

/// Why a run cannot start or go on.
public struct TrainingError: Error, CustomStringConvertible, Equatable {
    public let description: String
    /// Whether the command line is at fault, rather than the work.
    public let isUsage: Bool

    public init(_ description: String) {
        self.description = description
        isUsage = false
    }

    private init(usage description: String) {
        self.description = description
        isUsage = true
    }

    public static func usage(_ description: String) -> TrainingError { TrainingError(usage: description) }
}
