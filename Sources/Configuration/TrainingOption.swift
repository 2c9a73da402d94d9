import DeviceInput
import Basics
import Compute
import NeuralNet

/// One option of `train`: what its flag, its line in a configuration and its check have in common.
public struct TrainingOption: Sendable {
    /// As the command line (behind two dashes) and a configuration write it.
    public let name: String
    /// One sentence for `--help`.
    public let help: String
    /// Whether its text is any text, which a configuration puts in quotation marks.
    package let isText: Bool
    /// Whether it may be left open (null in a configuration).
    package let isOptional: Bool
    /// The value as the command line would write it; nil where it is left open.
    package let text: @Sendable (TrainingOptions) -> String?
    /// What is wrong with the value by itself; nil where nothing is.
    package let problem: @Sendable (TrainingOptions) -> String?
    private let parse: @Sendable (inout TrainingOptions, String) -> String?
    private let clear: @Sendable (inout TrainingOptions) -> Void

    /// Every option, in the order of `--help` and of `config.yaml`. To add one: a property of
    /// `TrainingOptions`, a line here, a flag of `train`.
    public static let all: [TrainingOption] = [
        option(
            "data", \.data,
            "Folder of labelled photographs. Default: the demo set, drawn where it is missing."),
        option(
            "model", \.model,
            "A name (\(Architecture.named.map(\.name).joined(separator: ", "))) or a list: n = 3×3 convolution, M = max-pooling, "
                + "Fn = fully connected.", readableModel),
        option(
            "image-size", \.imageSize, "Side of the network's input in pixels.", between(2, 4096, "pixels")),
        option(
            "short-side", \.shortSide,
            "Pixels to which the shorter side is brought. Default: 8/7 of the image size, or the image size where the photographs have it.",
            between(2, 8192, "pixels")),
        option("batch", \.batch, "Images of a mini-batch.", between(1, 65_536, "images")),
        option(
            "micro-batches", \.microBatches,
            "Parts that a mini-batch is run in: a power of two that divides it. With several ranks at least one each, and by default so many.",
            expect("a power of two that divides the batch") { $0 >= 1 && $0 & ($0 - 1) == 0 }),
        option("epochs", \.epochs, "Passes over the training set.", between(1, 1_000_000, "epochs")),
        option(
            "device", \.device,
            "Where to compute: auto (a GPU if there is one), cpu, gpu or opencl:N (see `trainer devices`); for several ranks also a list.",
            expect(DeviceSelector.expected) { (try? DeviceSelector(parsing: $0)) != nil }),
        option(
            "device-memory", \.deviceMemory,
            "Take the device for one with no more memory than this, such as 512M or 1.5G (1G = 2³⁰ bytes)."),
        option("out", \.output, "The run's folder, which must not exist. Default: runs/MODEL-N."),
        option(
            "learning-rate", \.learningRate, "Learning rate after the warm-up.",
            expect("a number above 0") { $0 > 0 }),
        option(
            "schedule", \.schedule,
            "How the rate goes on: step (÷10 at each third), plateau (÷10 when validation stalls)."),
        option(
            "warmup-epochs", \.warmupEpochs, "Epochs over which the rate rises to its peak.",
            between(0, 1_000_000, "epochs")),
        option("momentum", \.momentum, "Momentum of stochastic gradient descent.", share),
        option(
            "weight-decay", \.weightDecay, "Weight decay; it leaves biases alone.",
            expect("0 or more") { $0 >= 0 }),
        option(
            "dropout", \.dropout, "Probability with which a hidden fully connected unit is dropped.", share),
        option(
            "augment", \.augmentation,
            "How training images are varied: none (central crop), standard (random crop and mirror) or paper, with changes such as "
                + "paper,rotation=15,cast=30@0.25,literal (KIND=RANGE@PROBABILITY; see `trainer augment`)."),
        option(
            "augment-strength", \.augmentStrength, "Scales the ranges of the augmentation.",
            between(0, 10, "times the ranges")),
        option(
            "cache", \.cache,
            "Device memory for decoded photographs, which from the second epoch need no decoding: auto (half of what the network leaves), off or an amount such as 800M or 4G (1G = 2³⁰ bytes)."
        ), option("seed", \.seed, "Seed of all that is random."),
        option("workers", \.workers, "Threads that read photographs.", between(1, 256, "threads")),
        option(
            "val-fraction", \.validationFraction,
            "Share of the photographs held out for validation where the folder has no val/.",
            expect("a share between 0 and 1") { $0 > 0 && $0 < 1 }),
        option("convolution", \.convolution, ConvolutionChoice.help),
        option(
            "checkpoint-every", \.checkpointEvery,
            "Steps from checkpoint to checkpoint, beside those at each epoch's end.",
            between(1, 1_000_000_000, "steps")),
        option(
            "keep", \.keep, "Newest checkpoints that are kept, beside the best.",
            between(1, 1_000_000, "checkpoints")),
        option(
            "clip-norm", \.clipNorm,
            "Largest norm of a step's gradient; a longer one is scaled down to it. Default: no clipping.",
            expect("a number above 0") { $0 > 0 }),
        option(
            "init", \.initialModel,
            "A .safetensors file or a run to begin from: takes its normalisation, and its weights where layers fit."
        ),
        option(
            "freeze", \.freeze, "Layers to leave as they are, with --init: none, features (the convolutions)."
        ),
        option(
            "max-bad", \.maximumBad,
            "Photographs that may be unusable before the run stops: a share of all, or a number."),
        option(
            "exchange", \.exchange,
            "When a step waits for the other ranks' gradients: lazy (where a layer's weights are read again), synchronous (at its end). The same bits."
        ),
        option(
            "transport", \.transport,
            "How gradients get from rank to rank; auto is shared memory in a node and one-sided windows between nodes. The same bits."
        ),
        option(
            "node-size", \.nodeSize,
            "Neighbouring ranks to take for a node. Default: those that share memory.",
            between(1, 1_000_000, "ranks")),
        option(
            "peer-timeout", \.peerTimeout, "Seconds of silence after which a rank ends the job.",
            between(2, 86_400, "seconds")),
    ]

    /// The value for the log, under the option's name with underscores; nil where it is left open.
    package func member(_ options: TrainingOptions) -> JSON.Member? {
        guard let value = text(options) else { return nil }
        let number = isText ? nil : Int(value).map { .integer($0) } ?? Double(value).map { JSON.number($0) }
        return JSON.Member(name.replacing("-", with: "_"), number ?? .string(value))
    }

    /// The option of this name; nil where there is none.
    public static func named(_ name: String) -> TrainingOption? { all.first { $0.name == name } }

    /// Reads a value; the options keep theirs where it does not fit.
    ///
    /// - Returns: what is wrong with it and what was expected; nil where nothing is.
    package func set(_ text: String, in options: inout TrainingOptions) -> String? {
        var changed = options
        if let problem = parse(&changed, text) ?? problem(changed) { return problem }
        options = changed
        return nil
    }

    /// Leaves the option open.
    package func leaveOpen(in options: inout TrainingOptions) { clear(&options) }

    // MARK: - Making one

    private typealias Check<Value> = @Sendable (Value) -> String?

    private static func option<Value: OptionValue>(
        _ name: String, _ path: WritableKeyPath<TrainingOptions, Value> & Sendable, _ help: String,
        _ check: @escaping Check<Value> = { _ in nil }
    ) -> TrainingOption {
        let standard = TrainingOptions()[keyPath: path]
        let known = Value.isOneOfSome ? " " + Value.expected.capitalisedFirst + "." : ""
        let help = help + known + (standard.optionText.isEmpty ? "" : " (default: \(standard.optionText))")
        return TrainingOption(
            name: name, help: help, isText: Value.isText, isOptional: false,
            text: { $0[keyPath: path].optionText }, problem: { check($0[keyPath: path]) },
            parse: { options, text in
                guard let value = Value(optionText: text) else { return "expected \(Value.expected)" }
                options[keyPath: path] = value
                return nil
            }, clear: { $0[keyPath: path] = standard })
    }

    private static func option<Value: OptionValue>(
        _ name: String, _ path: WritableKeyPath<TrainingOptions, Value?> & Sendable, _ help: String,
        _ check: @escaping Check<Value> = { _ in nil }
    ) -> TrainingOption {
        let known = Value.isOneOfSome ? " " + Value.expected.capitalisedFirst + "." : ""
        return TrainingOption(
            name: name, help: help + known, isText: Value.isText, isOptional: true,
            text: { $0[keyPath: path]?.optionText }, problem: { $0[keyPath: path].flatMap(check) },
            parse: { options, text in
                guard let value = Value(optionText: text) else { return "expected \(Value.expected)" }
                options[keyPath: path] = value
                return nil
            }, clear: { $0[keyPath: path] = nil })
    }

    private static func between<Value: Comparable & Sendable>(_ low: Value, _ high: Value, _ unit: String)
        -> Check<Value>
    { { $0 >= low && $0 <= high ? nil : "expected \(low) to \(high) \(unit)" } }

    private static func expect<Value>(_ expected: String, _ isTrue: @escaping @Sendable (Value) -> Bool)
        -> Check<Value>
    { { isTrue($0) ? nil : "expected \(expected)" } }

    private static let share: Check<Double> = expect("0 or more and below 1") { (0..<1).contains($0) }

    /// The specification's reader says which token it does not understand.
    private static let readableModel: Check<String> = { text in
        do {
            _ = try Architecture(parsing: text)
            return nil
        } catch { return "\(error)" }
    }
}

/// A type that an option may have.
package protocol OptionValue: Sendable {
    /// What a text must be to be read.
    static var expected: String { get }
    static var isText: Bool { get }
    static var isOneOfSome: Bool { get }
    init?(optionText: String)
    /// Reads back to the same value.
    var optionText: String { get }
}

extension OptionValue {
    package static var isText: Bool { false }
    package static var isOneOfSome: Bool { false }
}

extension String: OptionValue {
    package static var expected: String { "text" }
    package static var isText: Bool { true }
    package init?(optionText: String) { self = optionText }
    package var optionText: String { self }
}

extension FixedWidthInteger where Self: OptionValue {
    package init?(optionText: String) { self.init(optionText, radix: 10) }
    package var optionText: String { description }
}

extension Int: OptionValue { package static var expected: String { "a whole number" } }

extension UInt64: OptionValue {
    package static var expected: String { "a whole number from 0 to \(UInt64.max)" }
}

extension Double: OptionValue {
    package static var expected: String { "a number" }

    package init?(optionText: String) {
        // Swift also reads "inf", "nan" and hexadecimal digits, which nobody means.
        guard optionText.utf8.allSatisfy({ "0123456789+-.eE".utf8.contains($0) }),
            let value = Double(optionText), value.isFinite
        else { return nil }
        self = value
    }

    package var optionText: String { description }
}

extension OptionValue where Self: RawRepresentable & CaseIterable, RawValue == String {
    package static var expected: String { "one of " + allCases.map(\.rawValue).joined(separator: ", ") }
    package static var isOneOfSome: Bool { true }
    package init?(optionText: String) { self.init(rawValue: optionText) }
    package var optionText: String { rawValue }
}

extension LearningRateSchedule: OptionValue {}

extension Augmentation: OptionValue {
    package static var expected: String {
        "none, standard or paper, and changes behind commas: KIND=RANGE@PROBABILITY with a kind of "
            + Kind.allCases.map(\.rawValue).joined(separator: ", ")
            + "; vignette-start=LOW:HIGH, crop=random, crop=central, literal"
    }
    package static var isText: Bool { true }
    package init?(optionText: String) { self.init(rawValue: optionText) }
    package var optionText: String { rawValue }
}

extension CacheSize: OptionValue {
    package static var expected: String { "auto, off or an amount such as 512M, 1.5G or a number of bytes" }
    package static var isText: Bool { true }
    package init?(optionText: String) { self.init(rawValue: optionText) }
    package var optionText: String { rawValue }
}

extension ConvolutionChoice: OptionValue {
    public static let help =
        "Algorithm of the convolutions, or three of them with slashes between, for forward, backward-data and backward-weights; auto is the fastest."
    package static var expected: String {
        let names = ConvolutionAlgorithm.allCases.map(\.rawValue)
        return "auto, " + names.joined(separator: ", ")
            + ", or three with slashes between for forward, backward-data and backward-weights"
    }
    package static var isText: Bool { true }
    package init?(optionText: String) { self.init(rawValue: optionText) }
    package var optionText: String { rawValue }
}

extension Freezing: OptionValue {}
extension ExchangePolicy: OptionValue {}
extension TransportChoice: OptionValue {}

extension BadFileLimit: OptionValue {
    package static var expected: String { "a share such as 1% (0% to 100%), or a whole number of files" }
    package init?(optionText: String) { self.init(rawValue: optionText) }
    package var optionText: String { rawValue }
}

extension MemorySize: OptionValue {
    package static var expected: String { "an amount such as 512M, 1.5G or a number of bytes" }
    package init?(optionText: String) { self.init(parsing: optionText) }
    package var optionText: String { text }
}

extension String { fileprivate var capitalisedFirst: String { prefix(1).uppercased() + dropFirst() } }
