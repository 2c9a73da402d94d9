import ArgumentParser
import Basics
import Compute
import Configuration
import DemoScenes
import DeviceInput
import Foundation
import NeuralNet

/// The help of options that several commands have with defaults of their own.
enum OptionHelp {
    static let batch: ArgumentHelp = "Images per mini-batch."
    static let classes: ArgumentHelp = "Number of classes."
    static let convolution = ofTrain("convolution")
    static let cropSize: ArgumentHelp = "Side of the crops in pixels."
    static let data: ArgumentHelp = "Folder of labelled photographs, as for `train`."
    static let deviceMemory = ofTrain("device-memory")
    static let imageSize = ofTrain("image-size")
    static let kernels = ofTrain("kernels")
    static let microBatches = ofTrain("micro-batches")
    static let model = ofTrain("model")
    static let nodeSize = ofTrain("node-size")
    static let optimizer = ofTrain("optimizer")
    static let slices = ofTrain("slices")
    static let steps: ArgumentHelp = "Number of timed runs, after one that warms up. The median is reported."
    static let workers = ofTrain("workers")

    private static func ofTrain(_ option: String) -> ArgumentHelp {
        ArgumentHelp(stringLiteral: TrainingOption.named(option)?.summary ?? "")
    }
}

/// Checks that an option's value is in its range; an option without a value passes.
func require<Value>(_ option: String, _ value: Value?, in range: ClosedRange<Value>, _ unit: String) throws {
    guard let value, !range.contains(value) else { return }
    throw ValidationError("\(option) \(value): expected \(range.lowerBound) to \(range.upperBound) \(unit)")
}

/// Checks an option's value as `train` checks its option of the same name.
///
/// - Parameter others: sets options that the value must fit
func requireAsTrain(
    _ option: String, _ value: (some CustomStringConvertible)?,
    among others: (inout TrainingOptions) -> Void = { _ in }
) throws {
    var options = TrainingOptions()
    others(&options)
    guard let value, let row = TrainingOption.named(option),
        let problem = row.problem(of: value.description, among: options)
    else { return }
    throw ValidationError("--\(option) \(value): \(problem)")
}

/// Checks the side of the crops, and the side to which photographs are resized before.
func require(imageSize: Int, shortSide: Int?) throws {
    try requireAsTrain("image-size", imageSize)
    try requireAsTrain("short-side", shortSide) { $0.imageSize = imageSize }
}

/// Reads an amount of memory.
func memorySize(_ text: String) throws -> MemorySize {
    guard let size = MemorySize(parsing: text) else {
        throw ValidationError("expected " + MemorySize.expected)
    }
    return size
}

/// The device to compute on.
struct DeviceOptions: ParsableArguments {
    @Option(
        help: "OpenCL device: auto (a GPU if there is one), cpu, gpu or opencl:N (see `trainer devices`).")
    var device = "auto"

    @Option(help: OptionHelp.deviceMemory, transform: memorySize) var deviceMemory: MemorySize?

    @Option(help: OptionHelp.kernels) var kernels = KernelChoice.auto

    @Option(
        help: ArgumentHelp(
            "Constants of the kernels to try, such as winograd.chunk-tiles-4=4096,product.tile-k=16.",
            visibility: .hidden),
        transform: { text in
            let pairs = text.split(separator: ",").map { pair -> (String, Int)? in
                let parts = pair.split(separator: "=")
                guard parts.count == 2, let value = Int(parts[1]) else { return nil }
                return (String(parts[0]), value)
            }
            guard !pairs.contains(where: { $0 == nil }) else {
                throw ValidationError("expected KEY=NUMBER, with commas between several")
            }
            return Dictionary(pairs.compactMap { $0 }) { $1 }
        }) var tuning: [String: Int] = [:]

    /// Opens the device.
    ///
    /// - Parameter place: this process's index among the ranks of its node, and their number
    func open(profiling: Bool = false, place: (index: Int, count: Int) = (0, 1)) throws -> Device {
        let device = try Device.open(
            DeviceOptions.selector(device), profiling: profiling,
            memory: deviceMemory?.bytes, kernels: kernels, place: place)
        try device.tuning.set(tuning)
        return device
    }

    /// Returns the device's description without opening the device.
    func description() throws -> DeviceDescription {
        var description = try DeviceOptions.selector(device).select(from: DeviceDescription.all())
        description.kernels = kernels.body
        return deviceMemory.map { description.limited(toMemory: $0.bytes) } ?? description
    }

    /// Reads the value of `--device`; a mistake in it is a mistake on the command line.
    static func selector(_ text: String) throws -> DeviceSelector {
        do { return try DeviceSelector(parsing: text) } catch {
            throw ValidationError(
                "--device \(text): expected \(DeviceSelector.expected); `trainer devices` lists the numbers")
        }
    }
}

/// A network and the shape of its mini-batches.
struct NetworkOptions: ParsableArguments {
    @Option(help: OptionHelp.model) var model = "mini"
    @Option(help: OptionHelp.imageSize) var imageSize = 32
    @Option(help: OptionHelp.batch) var batch = 128
    @Option(help: OptionHelp.classes) var classes = 10

    func validate() throws {
        try NetworkOptions.validate(imageSize: imageSize, batch: batch, classes: classes)
    }

    static func validate(imageSize: Int, batch: Int, classes: Int) throws {
        try requireAsTrain("image-size", imageSize)
        try requireAsTrain("batch", batch)
        try require("--classes", classes, in: 2...1_000_000, "classes")
    }

    /// Reads the value of `--model`; a mistake in it is a mistake on the command line.
    static func architecture(_ model: String, imageSize: Int) throws -> Architecture {
        try requireAsTrain("model", model) { $0.imageSize = imageSize }
        return try Architecture(parsing: model)
    }
}

extension Augmentation: ExpressibleByArgument {}
extension Scenes.ObjectScale: ExpressibleByArgument {}
extension Scenes.Hardship: ExpressibleByArgument {}
extension KernelChoice: ExpressibleByArgument {}
extension UpdateRule.Method: ExpressibleByArgument {}

extension ConvolutionChoice: ExpressibleByArgument {
    public static var allValueStrings: [String] { ["auto"] + ConvolutionAlgorithm.allCases.map(\.rawValue) }
}

/// The algorithms of the convolutions.
struct ConvolutionOptions: ParsableArguments {
    @Option(help: OptionHelp.convolution) var convolution: ConvolutionChoice = .auto

    var algorithms: ConvolutionAlgorithms? { convolution.algorithms }
}

/// The number of micro-batches.
struct TrainingStepOptions: ParsableArguments {
    @Option(help: OptionHelp.microBatches) var microBatches = 1
    @Option(help: OptionHelp.optimizer) var optimizer = UpdateRule.Method.sgd
    @Option(help: OptionHelp.slices) var slices = Slices.standard

    func validate(batch: Int) throws {
        try requireAsTrain("micro-batches", microBatches) { $0.batchSize = batch }
        try requireAsTrain("slices", slices)
    }
}

/// The file for a command's results.
struct JSONOptions: ParsableArguments {
    @Option(help: "Write the results to this file, in JSON.") var json: String?

    func validate() throws { if let json { try OutputFile.requireWritable(json, option: "--json") } }

    /// Writes the value, whole or not at all, if a file was asked for.
    func write(_ value: @autoclosure () -> JSON) throws {
        if let json { try AtomicFile.write(json, Array((value().text + "\n").utf8)) }
    }
}

/// Returns a share as a percentage: 0.9134 → "91.3 %".
func percent(_ share: Double) -> String { String(format: "%.1f %%", share * 100) }

/// Returns a number with a fixed number of decimal places.
func fixed(_ value: Double, _ places: Int) -> String { String(format: "%.\(places)f", value) }
