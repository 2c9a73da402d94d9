import Basics
import Compute
import DeviceInput
import NeuralNet
import Photographs

/// One option of `train`: its flag, its line in a configuration, its checks and its effect.
public struct TrainingOption: Sendable {
    /// The heading under which `--help` lists the option.
    public enum Group: String, CaseIterable, Sendable {
        case data = "Data"
        case model = "Model"
        case optimisation = "Optimisation"
        case augmentation = "Augmentation"
        case run = "Run"
        case ranks = "Ranks"
        case device = "Device"
    }

    /// What another value of the option would change.
    public enum Effect: Sendable {
        /// The weights: a resumed run must keep the value.
        case result
        /// How all ranks do the work: a resumed run may change the value.
        case conduct
        /// How one rank does its work: the ranks' values may differ too.
        case rank
        /// Only where the run is written or how long this process trains: neither configurations nor logs
        /// contain the value.
        case invocation
    }

    /// What else other parts of the program need to know of an option.
    public struct Traits: OptionSet, Sendable {
        public let rawValue: Int

        public init(rawValue: Int) { self.rawValue = rawValue }

        /// It changes the device memory that training takes, so that `plan` has it too.
        public static let memory = Traits(rawValue: 1)
        /// It acts only in a whole run, so that `find-rate` does not have it.
        public static let wholeRun = Traits(rawValue: 2)
        /// It is a path to photographs, which a resumed run also finds from the folder where it was started.
        public static let photographs = Traits(rawValue: 4)
    }

    /// The name that follows two dashes on the command line, and that a configuration uses.
    public let name: String
    public let group: Group
    public let effect: Effect
    public let traits: Traits
    /// A sentence for `--help`, also of other commands: with values and default it fits two lines.
    public let summary: String
    /// The summary with the values and the default of `train`.
    public let help: String
    /// A word for the value in `--help`, such as `n`.
    public let valueName: String
    /// Whether a configuration puts the value in quotation marks.
    let isText: Bool
    /// Whether the option is true or false, so that its flag has no value.
    public let isFlag: Bool
    /// Whether the option may have no value (null in a configuration).
    let isOptional: Bool
    /// Returns the value as the command line would write it; nil if there is none.
    package let text: @Sendable (TrainingOptions) -> String?
    /// Returns what is wrong with the value by itself; nil if nothing is.
    let problem: @Sendable (TrainingOptions) -> String?
    /// Returns what is wrong with the value because of other options; nil if nothing is.
    let conflict: @Sendable (TrainingOptions) -> String?
    private let parse: @Sendable (inout TrainingOptions, String) -> String?
    private let clear: @Sendable (inout TrainingOptions) -> Void

    /// Every option, in the order of `config.yaml`.
    ///
    /// A new option is a property of `TrainingOptions` and a row here: flags, help, configurations, checks,
    /// logs and resuming follow from the row.
    public static let all: [TrainingOption] = [
        option(
            "data", \.data, .data, affects: .rank, traits: .photographs,
            "Folder of labelled photographs. Default: the demo set, which is drawn if it does not exist."),
        option(
            "labels", \.labels, .data, affects: .rank, traits: .photographs,
            "List of the photographs' files and classes (CSV), for photographs that are not in class folders."
        ),
        option(
            "model", \.model, .model, affects: .result, traits: .memory,
            "Name (\(Architecture.named.map(\.name).joined(separator: ", "))) or list of layers.",
            readableModel,
            conflict: { options in
                guard let architecture = try? Architecture(parsing: options.model),
                    architecture.smallestImage > options.imageSize
                else { return nil }
                return
                    "its poolings need images of \(architecture.smallestImage) pixels or more, and the image "
                    + "size is \(options.imageSize)"
            }),
        option(
            "image-size", \.imageSize, .model, affects: .result, traits: .memory,
            "Side of the network's input in pixels.", between(2, 4096, "pixels")),
        option(
            "short-side", \.shortSide, .data, affects: .result, traits: .memory,
            "Pixels of each photograph's shorter side after resizing. "
                + "Default: 8/7 of the image size.", given(between(2, ShortSide.largest, "pixels")),
            conflict: { options in
                options.shortSide.map { $0 < options.imageSize } == true
                    ? "expected the image size (\(options.imageSize)) or more" : nil
            }),
        option(
            "batch", \.batchSize, .optimisation, affects: .result, traits: .memory,
            "Images per mini-batch, over all ranks. Default: 32, or fewer for sets of less than 3,200.",
            given(between(1, TrainingOptions.largestBatch, "images"))),
        option(
            "micro-batches", \.microBatches, .optimisation, affects: .result, traits: .memory,
            "Micro-batches per mini-batch (gradient accumulation): "
                + "a power of two that divides the batch.",
            expect("a power of two that divides the batch") { $0 >= 1 && $0 & ($0 - 1) == 0 },
            conflict: {
                $0.batch % $0.microBatches == 0
                    ? nil : "expected a power of two that divides the batch of \($0.batch)"
            }),
        option(
            "slices", \.slices, .optimisation, affects: .result, traits: .memory,
            "Slices of a fully connected layer's outputs, added in "
                + "a tree by backward: a power of two.",
            expect("a power of two up to \(Slices.most)") {
                $0 >= 1 && $0 & ($0 - 1) == 0 && $0 <= Slices.most
            }),
        option(
            "epochs", \.epochs, .optimisation, affects: .result, "Passes over the training set.",
            between(1, 1_000_000, "epochs")),
        option(
            "device", \.device, .device, affects: .rank, traits: .memory,
            "OpenCL device: auto, cpu, gpu, opencl:N (see `trainer "
                + "devices`) or a list for ranks.",
            expect(DeviceSelector.expected + "; `trainer devices` lists the numbers") {
                (try? DeviceSelector(parsing: $0)) != nil
            }),
        option(
            "device-memory", \.deviceMemory, .device, affects: .rank, traits: .memory,
            "Limit device memory to this amount, such as 512M or 1.5G (1G = 2³⁰ bytes)."),
        option(
            "kernels", \.kernels, .device, affects: .result, traits: .memory,
            "Kernels for this kind of device (auto), CPUs or GPUs."),
        option(
            "out", \.output, .run, affects: .invocation, traits: .wholeRun,
            "Folder of the run, which must not exist. Default: runs/MODEL-N."),
        option(
            "recipe", \.recipe, .optimisation, affects: .result, traits: .memory,
            "Defaults of the other options: this program's or the paper's."),
        option(
            "optimizer", \.optimizer, .optimisation, affects: .result, traits: .memory,
            "Update rule: AdamW, or SGD with momentum."),
        option(
            "learning-rate", \.learningRate, .optimisation, affects: .result, traits: .wholeRun,
            "Rate after the warm-up, or auto to try some first. "
                + "Default: by --optimizer, depth and --init."),
        option(
            "schedule", \.schedule, .optimisation, affects: .result, traits: .wholeRun,
            "Learning-rate schedule."),
        option(
            "warmup-epochs", \.warmupEpochs, .optimisation, affects: .result, traits: .wholeRun,
            "Epochs over which the learning rate rises to its peak.", between(0, 1_000_000, "epochs")),
        option(
            "momentum", \.momentum, .optimisation, affects: .result,
            "Momentum of stochastic gradient descent; of AdamW's first moment.", share),
        option(
            "weight-decay", \.weightDecay, .optimisation, affects: .result,
            "Weight decay; biases do not decay. Default: 0.02, or 0.0005 with SGD.",
            given(expect("0 or more") { $0 >= 0 })),
        option(
            "dropout", \.dropout, .model, affects: .result,
            "Probability of dropping a hidden fully connected unit.", share),
        option(
            "augment", \.augmentation, .augmentation, affects: .result,
            "Augmentation, with changes as in paper,rotation=15."),
        option(
            "augment-strength", \.augmentStrength, .augmentation, affects: .result,
            "Factor for all ranges of the augmentation.", between(0, 10, "times the ranges")),
        option(
            "cache", \.cache, .device, affects: .rank, traits: .memory,
            "Device memory for decoded photographs: auto, off or "
                + "an amount such as 4G."),
        option("seed", \.seed, .run, affects: .result, "Seed of all random numbers."),
        option(
            "workers", \.workers, .data, affects: .rank, "Threads that read and decode photographs.",
            between(1, 256, "threads")),
        option(
            "val-fraction", \.validationFraction, .data, affects: .result,
            "Share of the photographs to hold out for validation if the folder has no val/.",
            expect("a share between 0 and 1") { $0 > 0 && $0 < 1 }),
        option(
            "convolution", \.convolution, .device, affects: .result, traits: .memory,
            "Algorithm, or three by pass (A/B/C)."),
        option(
            "checkpoint-every", \.checkpointEvery, .run, affects: .conduct, traits: .wholeRun,
            "Steps between checkpoints. Default: a checkpoint only at the end of each epoch.",
            given(between(1, 1_000_000_000, "steps"))),
        option(
            "max-time", \.maximumTime, .run, affects: .invocation, traits: .wholeRun,
            "Stop with a checkpoint after this time since the start, "
                + "such as 3h50m (exit status 75)."),
        option(
            "keep", \.keep, .run, affects: .conduct, traits: .wholeRun,
            "Number of newest checkpoints to keep. The best one is always kept.",
            between(1, 1_000_000, "checkpoints")),
        option(
            "patience", \.patience, .optimisation, affects: .result, traits: .wholeRun,
            "Stop after this many epochs without a better validation. Default: train all epochs.",
            given(between(1, 1_000_000, "epochs"))),
        option(
            "clip-norm", \.clipNorm, .optimisation, affects: .result,
            "Largest norm of a step's gradient; a longer gradient is scaled down. Default: no clipping.",
            given(expect("a number above 0") { $0 > 0 })),
        option(
            "label-smoothing", \.labelSmoothing, .optimisation, affects: .result,
            "Share of each training target that goes to all classes equally.", share),
        option(
            "mixup", \.mixup, .optimisation, affects: .result,
            "Mix the images of a micro-batch in pairs, by shares drawn from Beta(A, A). Usual: 0.2. Default: "
                + "no mixing.", given(between(0.001, 1000, "for A")),
            conflict: {
                $0.mixup != nil && $0.batch / $0.microBatches < 2
                    ? "expected micro-batches of 2 images or more; the batch is \($0.batch), and there are "
                        + "\($0.microBatches) micro-batches" : nil
            }),
        option(
            "ema", \.averageDecay, .optimisation, affects: .result, traits: .memory,
            "Validate and save a moving average of the weights, "
                + "with a decay such as 0.999. Default: none.",
            given(expect("a share above 0 and below 1") { $0 > 0 && $0 < 1 })),
        option(
            "class-weights", \.classWeights, .optimisation, affects: .result,
            "Weigh all classes equally in the loss (balanced)."),
        option(
            "balanced-sampling", \.balancedSampling, .optimisation, affects: .result,
            "Draw all classes equally often.",
            conflict: {
                $0.balancedSampling && $0.classWeights != .none
                    ? "omit --class-weights \($0.classWeights.rawValue), which does the same by weights" : nil
            }),
        option(
            "init", \.initialModel, .model, affects: .result,
            "Start from this .safetensors file or run: its normalisation, "
                + "and the weights of layers that fit."),
        option(
            "freeze", \.freeze, .model, affects: .result,
            "Layers not to train, with --init; features are the convolutions.",
            conflict: {
                $0.freeze == .none || $0.initialModel != nil
                    ? nil
                    : "give --init too: frozen layers need a trained model's weights"
            }),
        option(
            "max-bad", \.maximumBad, .data, affects: .conduct,
            "Maximum number or share of unreadable photographs before training stops."),
        option(
            "parallelism", \.parallelism, .ranks, affects: .conduct, traits: .memory,
            "How ranks divide the work; hybrid splits large layers.",
            conflict: { options in
                guard options.parallelism == .hybrid, let model = try? Architecture(parsing: options.model),
                    !model.hasHiddenFullyConnected
                else { return nil }
                return "'\(model)' has no hidden fully connected layer (F) to split; expected data or auto"
            }),
        option(
            "exchange", \.exchange, .ranks, affects: .conduct,
            "When a step waits for the gradients of other ranks."),
        option(
            "transport", \.transport, .ranks, affects: .conduct,
            "How gradients get from rank to rank."),
        option(
            "node-size", \.nodeSize, .ranks, affects: .conduct,
            "Treat each group of this many neighbouring ranks as a node. Default: ranks that share memory.",
            given(between(1, 1_000_000, "ranks"))),
        option(
            "peer-timeout", \.peerTimeout, .ranks, affects: .conduct,
            "Seconds without a sign of life after which a rank ends the job.",
            between(2, 86_400, "seconds")),
    ]

    /// Returns the value for a log, under the option's name with underscores; nil if there is none.
    package func member(_ options: TrainingOptions) -> JSON.Member? {
        guard let value = text(options) else { return nil }
        if isFlag { return JSON.Member(name.replacing("-", with: "_"), .bool(value == "true")) }
        let number = isText ? nil : Int(value).map { .integer($0) } ?? Double(value).map { JSON.number($0) }
        return JSON.Member(name.replacing("-", with: "_"), number ?? .string(value))
    }

    /// Returns the option of this name; nil if there is none.
    public static func named(_ name: String) -> TrainingOption? { all.first { $0.name == name } }

    /// Reads a value; the options keep theirs if it does not fit.
    ///
    /// - Returns: what is wrong with it and what was expected; nil if nothing is.
    package func set(_ text: String, in options: inout TrainingOptions) -> String? {
        var changed = options
        if let problem = parse(&changed, text) ?? problem(changed) { return problem }
        options = changed
        return nil
    }

    /// Returns what is wrong with a value, by itself or because of the other `options`; nil if nothing is.
    package func problem(of text: String, among options: TrainingOptions) -> String? {
        var changed = options
        return set(text, in: &changed) ?? conflict(changed)
    }

    /// Gives the option its default, which is no value if it is optional.
    package func leaveOpen(in options: inout TrainingOptions) { clear(&options) }

    // MARK: - Rows

    private typealias Check<Value> = @Sendable (Value) -> String?
    private typealias Path<Value> = WritableKeyPath<TrainingOptions, Value> & Sendable

    private static func option<Value: OptionValue>(
        _ name: String, _ path: Path<Value>, _ group: Group,
        affects effect: Effect, traits: Traits = [], _ summary: String,
        _ check: @escaping Check<Value> = { _ in nil },
        conflict: @escaping Check<TrainingOptions> = { _ in nil }
    ) -> TrainingOption {
        let standard = TrainingOptions()[keyPath: path]
        let note = standard.optionText.flatMap { $0.isEmpty ? nil : " (default: \($0))" } ?? ""
        return TrainingOption(
            name: name, group: group, effect: effect, traits: traits,
            summary: summary, help: summary + Value.choices + note, valueName: Value.valueName,
            isText: Value.isText,
            isFlag: Value.isFlag, isOptional: Value.isOptional,
            text: { $0[keyPath: path].optionText }, problem: { check($0[keyPath: path]) },
            conflict: conflict,
            parse: { options, text in
                guard let value = Value(optionText: text) else { return "expected \(Value.expected)" }
                options[keyPath: path] = value
                return nil
            }, clear: { $0[keyPath: path] = standard })
    }

    /// Checks the value of an optional option, if it has one.
    private static func given<Value>(_ check: @escaping Check<Value>) -> Check<Value?> {
        { $0.flatMap(check) }
    }

    private static func between<Value: Comparable & Sendable>(_ low: Value, _ high: Value, _ unit: String)
        -> Check<Value>
    { { $0 >= low && $0 <= high ? nil : "expected \(low) to \(high) \(unit)" } }

    private static func expect<Value>(_ expected: String, _ isTrue: @escaping @Sendable (Value) -> Bool)
        -> Check<Value>
    { { isTrue($0) ? nil : "expected \(expected)" } }

    private static let share: Check<Double> = expect("0 or more and below 1") { (0..<1).contains($0) }

    /// The architecture's own error names the token that it does not understand.
    private static let readableModel: Check<String> = { text in
        do {
            _ = try Architecture(parsing: text)
            return nil
        } catch { return "\(error)" }
    }
}

/// A type that an option's value may have.
protocol OptionValue: Sendable {
    /// Describes the texts that can be read.
    static var expected: String { get }
    /// A short word for the value in `--help`.
    static var valueName: String { get }
    static var isText: Bool { get }
    static var isFlag: Bool { get }
    static var isOptional: Bool { get }
    /// A sentence that lists the values, for an enumeration; empty otherwise.
    static var choices: String { get }
    init?(optionText: String)
    /// The text that reads back to the same value; nil for the absent value of an optional.
    var optionText: String? { get }
}

extension OptionValue {
    static var valueName: String { "value" }
    static var isText: Bool { false }
    static var isFlag: Bool { false }
    static var isOptional: Bool { false }
    static var choices: String { "" }
}

extension Optional: OptionValue where Wrapped: OptionValue {
    static var expected: String { Wrapped.expected }
    static var valueName: String { Wrapped.valueName }
    static var isText: Bool { Wrapped.isText }
    static var isOptional: Bool { true }
    static var choices: String { Wrapped.choices }

    init?(optionText: String) {
        guard let value = Wrapped(optionText: optionText) else { return nil }
        self = value
    }

    var optionText: String? { flatMap(\.optionText) }
}

extension String: OptionValue {
    static var expected: String { "text" }
    static var isText: Bool { true }
    init?(optionText: String) { self = optionText }
    var optionText: String? { self }
}

extension FixedWidthInteger where Self: OptionValue {
    static var valueName: String { "n" }
    init?(optionText: String) { self.init(optionText, radix: 10) }
    var optionText: String? { description }
}

extension Bool: OptionValue {
    static var expected: String { "true or false" }
    static var isFlag: Bool { true }
    init?(optionText: String) { self.init(optionText) }
    var optionText: String? { description }
}

extension Int: OptionValue { static var expected: String { "a whole number" } }

extension UInt64: OptionValue {
    static var expected: String { "a whole number from 0 to \(UInt64.max)" }
}

extension Double: OptionValue {
    static var expected: String { "a number" }
    static var valueName: String { "x" }

    init?(optionText: String) {
        // Swift also reads "inf", "nan" and hexadecimal digits, which are mistakes on a command line.
        guard optionText.utf8.allSatisfy({ "0123456789+-.eE".utf8.contains($0) }),
            let value = Double(optionText), value.isFinite
        else { return nil }
        self = value
    }

    var optionText: String? { description }
}

extension MemorySize: OptionValue {
    static var valueName: String { "size" }
    init?(optionText: String) { self.init(parsing: optionText) }
    var optionText: String? { text }
}

extension OptionValue where Self: RawRepresentable, RawValue == String {
    init?(optionText: String) { self.init(rawValue: optionText) }
    var optionText: String? { rawValue }
}

extension OptionValue where Self: RawRepresentable & CaseIterable, RawValue == String {
    static var expected: String { "one of " + allCases.map(\.rawValue).joined(separator: ", ") }
    static var valueName: String { "name" }
    static var choices: String { " One of " + allCases.map(\.rawValue).joined(separator: ", ") + "." }
}

extension KernelChoice: OptionValue {}
extension UpdateRule.Method: OptionValue {}
extension LearningRateSchedule: OptionValue {}
extension Freezing: OptionValue {}
extension Recipe: OptionValue {}
extension ClassWeighting: OptionValue {}
extension ExchangePolicy: OptionValue {}
extension Parallelism: OptionValue {}
extension TransportChoice: OptionValue {}

extension BadFileLimit: OptionValue {
    static var expected: String { "a share such as 1% (0% to 100%), or a whole number of files" }
}

extension LearningRateChoice: OptionValue {
    static var valueName: String { "rate" }
    static var expected: String { "a number above 0, or auto" }
}

extension TimeLimit: OptionValue {
    static var expected: String { "a time such as 3h50m, 45m or 90s, above 0" }
    static var isText: Bool { true }
}

extension CacheSize: OptionValue {
    static var expected: String { "auto, off or " + MemorySize.expected }
    static var isText: Bool { true }
}

extension Augmentation: OptionValue {
    static var expected: String {
        "none, standard or paper, and changes behind commas: KIND=RANGE@PROBABILITY with a kind of "
            + Kind.allCases.map(\.rawValue).joined(separator: ", ")
            + "; vignette-start=LOW:HIGH, crop=random, crop=central, literal"
    }
    static var isText: Bool { true }
}

extension ConvolutionChoice: OptionValue {
    static var valueName: String { "name" }
    private static let bySlashes =
        "three separated by slashes for forward, backward-data and backward-weights"
    private static let words =
        (["auto"] + ConvolutionAlgorithm.allCases.map(\.rawValue)).joined(separator: ", ")
    static var choices: String { " One of \(words)." }
    static var expected: String {
        "\(words), or \(bySlashes)"
    }
    static var isText: Bool { true }
}
