import DeviceInput
import Basics
import NeuralNet

/// Every option of `train`, with its default. `TrainingOption.all` names each of them and says what it may
/// be.
public struct TrainingOptions: Sendable, Equatable {
    /// Folder of labelled photographs.
    public var data = ""
    /// A name or a specification, as `Architecture` reads it.
    public var model = "mini"
    /// Side of the network's input in pixels.
    public var imageSize = 64
    /// Pixels to which a photograph's shorter side is brought; nil: 8/7 of `imageSize`, or `imageSize` where
    /// the photographs have that size.
    public var shortSide: Int?
    /// Images of a mini-batch.
    public var batch = 32
    public var microBatches = 1
    public var epochs = 12
    /// auto, cpu, gpu or opencl:N
    public var device = "auto"
    /// The memory that the device is taken to have, where it has more; nil: what it has.
    public var deviceMemory: MemorySize?
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
    /// How much of the device's memory decoded photographs may take.
    public var cache = CacheSize.auto
    /// Scales the augmentation's ranges.
    public var augmentStrength = 1.0
    public var seed: UInt64 = 1
    /// Threads that read and decode photographs.
    public var workers = 2
    /// Share of the files held out where the folder has no `val`.
    public var validationFraction = 0.1
    public var convolution = ConvolutionChoice.auto
    /// Steps from checkpoint to checkpoint, beside those at each epoch's end; nil: only these.
    public var checkpointEvery: Int?
    /// Newest checkpoints that are kept, beside the best.
    public var keep = 3
    /// The largest norm of a step's gradient; nil: any.
    public var clipNorm: Double?
    /// A .safetensors file or a run whose weights are the beginning, where they fit.
    public var initialModel: String?
    /// Layers that are left as they are.
    public var freeze = Freezing.none
    /// Photographs that may be unusable.
    public var maximumBad = BadFileLimit.onePercent
    /// When a step waits for the other ranks' gradients.
    public var exchange = ExchangePolicy.lazy
    /// How gradients get from rank to rank.
    public var transport = TransportChoice.auto
    /// Neighbouring ranks that are taken for a node; nil: those that share memory.
    public var nodeSize: Int?
    /// Seconds of silence after which a rank ends the job.
    public var peerTimeout = 30.0

    public init() {}

    /// - Throws: `TrainingError` naming the option, what it is and what it may be.
    public func validate() throws(TrainingError) { try validate { "--\($0) \($1)" } }

    /// - Parameter naming: how a message names an option and its value.
    package func validate(naming: (_ option: String, _ value: String) -> String) throws(TrainingError) {
        for option in TrainingOption.all {
            if let problem = option.problem(self) ?? conflict(option.name) {
                throw .usage("\(naming(option.name, option.text(self) ?? "")): \(problem)")
            }
        }
    }

    /// What an option must be because of another one; nil where they go together.
    private func conflict(_ option: String) -> String? {
        switch option {
        case "short-side":
            guard let shortSide, shortSide < imageSize else { return nil }
            return "expected the image size (\(imageSize)) or more"
        case "micro-batches":
            return batch % microBatches == 0
                ? nil : "expected a power of two that divides the batch of \(batch)"
        case "model":
            guard let architecture = try? Architecture(parsing: model), architecture.smallestImage > imageSize
            else { return nil }
            return
                "its poolings need images of \(architecture.smallestImage) pixels or more, and the image size is \(imageSize)"
        case "freeze":
            return freeze == .none || initialModel != nil
                ? nil : "expected --init too: these layers would never learn anything"
        default: return nil
        }
    }
}

/// By the names and in the words of the command line.
extension TrainingOptions: Codable {
    public init(from decoder: any Decoder) throws {
        self.init()
        for (name, text) in try decoder.singleValueContainer().decode([String: String].self) {
            guard let option = TrainingOption.named(name) else {
                throw TrainingError("there is no option '\(name)'")
            }
            if let problem = option.set(text, in: &self) {
                throw TrainingError("option \(name) is '\(text)'; \(problem)")
            }
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(
            Dictionary(
                uniqueKeysWithValues: TrainingOption.all.compactMap { o in o.text(self).map { (o.name, $0) } }
            ))
    }
}
