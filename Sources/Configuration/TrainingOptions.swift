import Basics
import Compute
import DeviceInput
import NeuralNet
import Photographs

/// Every option of `train` with its default; `TrainingOption.all` has a row for each property.
public struct TrainingOptions: Sendable, Equatable {
    public var data = ""
    public var labels: String?
    public var model = "mini"
    public var imageSize = 64
    public var shortSide: Int?
    /// Images per mini-batch; nil: left to the program.
    public var batchSize: Int?
    public var microBatches = 1
    public var slices = Slices.standard
    public var epochs = 12
    public var device = "auto"
    public var deviceMemory: MemorySize?
    public var kernels = KernelChoice.auto
    public var output = ""
    public var recipe = Recipe.standard
    public var optimizer = UpdateRule.Method.adamw
    public var learningRate: LearningRateChoice?
    public var schedule = LearningRateSchedule.cosine
    public var warmupEpochs = 1.0
    public var momentum = 0.9
    public var weightDecay: Double?
    public var dropout = 0.0
    public var augmentation = Augmentation.standard
    public var augmentStrength = 1.0
    public var cache = CacheSize.auto
    public var seed: UInt64 = 1
    public var workers = 2
    public var validationFraction = Dataset.usualValidationFraction
    public var convolution = ConvolutionChoice.auto
    public var checkpointEvery: Int?
    public var keep = 3
    public var maximumTime: TimeLimit?
    public var patience: Int?
    public var clipNorm: Double?
    public var labelSmoothing = 0.0
    public var mixup: Double?
    public var averageDecay: Double?
    public var classWeights = ClassWeighting.none
    public var balancedSampling = false
    public var initialModel: String?
    public var freeze = Freezing.none
    public var maximumBad = BadFileLimit.onePercent
    public var parallelism = Parallelism.data
    public var exchange = ExchangePolicy.lazy
    public var transport = TransportChoice.auto
    public var nodeSize: Int?
    public var peerTimeout = 30.0

    public init() {}

    /// The most images of a mini-batch.
    public static let largestBatch = 65_536

    /// Images per mini-batch.
    public var batch: Int { batchSize ?? max(32, microBatches) }

    /// Chooses the mini-batch for a number of training photographs, unless it is given.
    ///
    /// An epoch has at least 100 steps if mini-batches of 8 or more allow it: on few photographs, the number
    /// of steps limits what a network learns.
    ///
    /// - Returns: the number of images, if it is not the usual one
    package mutating func chooseBatch(photographs: Int) -> Int? {
        guard batchSize == nil else { return nil }
        var chosen = 32
        while chosen > 8, photographs < 100 * chosen { chosen /= 2 }
        while chosen > 1, photographs < chosen { chosen /= 2 }
        // Mixup needs two images in a micro-batch.
        chosen = max(chosen, mixup == nil ? microBatches : 2 * microBatches)
        let isUnusual = chosen != batch
        batchSize = chosen
        return isUnusual ? chosen : nil
    }

    /// The learning rate after the warm-up, or the optimiser's usual one; nil if a range test must find it.
    package var givenLearningRate: Double? {
        switch learningRate {
        case .rate(let rate): rate
        case .auto: nil
        case nil where optimizer == .sgd && recipe == .paper: 0.01 * Double(batch) / 256
        case nil where optimizer == .sgd: 0.03
        case nil: usualRateOfAdamW
        }
    }

    /// The rate with which most networks learn most, as `tools/compare_defaults` measures.
    ///
    /// Networks of up to six layers with weights gain by a higher rate, and deeper ones end at chance with it
    /// on some seeds. A trained model's weights are spoilt by a rate that suits new ones.
    private var usualRateOfAdamW: Double {
        let isDeep = (try? Architecture(parsing: model))?.depth ?? .max > 6
        return initialModel == nil ? (isDeep ? 0.001 : 0.002) : (isDeep ? 0.0003 : 0.001)
    }

    /// How the weights are updated, with the optimiser's usual weight decay if there is none.
    package var updateRule: UpdateRule {
        UpdateRule(
            optimizer, momentum: Float(momentum),
            weightDecay: Float(weightDecay ?? (optimizer == .sgd ? 5e-4 : 0.02)),
            clipNorm: clipNorm.map { Float($0) }, averageDecay: averageDecay)
    }

    /// Returns what the network is trained towards.
    ///
    /// - Parameter counts: the number of training photographs of each class
    package func lossRule(imagesOfClasses counts: [Int]) -> LossRule {
        LossRule(
            smoothing: Float(labelSmoothing),
            classWeights: classWeights == .balanced ? LossRule.balancedWeights(counts) : nil, mixup: mixup)
    }

    /// Checks every option by itself and against the others.
    ///
    /// - Parameter naming: returns how a message names an option and its value
    /// - Throws: `TrainingError` with the option, the value found and the values allowed.
    package func validate(
        naming: (_ option: String, _ value: String) -> String = { "--\($0) \($1)" }
    ) throws(TrainingError) {
        for option in TrainingOption.all {
            if let problem = option.problem(self) ?? option.conflict(self) {
                throw .usage("\(naming(option.name, option.text(self) ?? "")): \(problem)")
            }
        }
    }
}

/// Saves options under the names, and in the words, of the command line.
extension TrainingOptions: Codable {
    public init(from decoder: any Decoder) throws {
        self.init()
        // Runs of versions without the option added in one sum.
        slices = 1
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
        let texts = TrainingOption.all.compactMap { option in option.text(self).map { (option.name, $0) } }
        var container = encoder.singleValueContainer()
        try container.encode(Dictionary(uniqueKeysWithValues: texts))
    }
}
