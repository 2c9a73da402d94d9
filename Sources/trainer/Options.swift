import Configuration
import DemoScenes
import DeviceInput
import Basics
import ArgumentParser
import Compute
import Foundation
import NeuralNet

/// Where to compute.
struct DeviceOptions: ParsableArguments {
    @Option(
        help: "Where to compute: auto (a GPU if there is one), cpu, gpu or opencl:N (see `trainer devices`).")
    var device = "auto"

    @Option(
        help: "Take the device for one with no more memory than this, such as 512M or 1.5G (1G = 2³⁰ bytes).",
        transform: {
            guard let memory = MemorySize(parsing: $0) else {
                throw ValidationError("expected an amount such as 512M, 1.5G or a number of bytes")
            }
            return memory
        }) var deviceMemory: MemorySize?

    func open(profiling: Bool = false) throws -> Device {
        try Device.open(DeviceOptions.selector(device), profiling: profiling, memory: deviceMemory?.bytes)
    }

    /// The device without opening it.
    func description() throws -> DeviceDescription {
        let description = try DeviceOptions.selector(device).select(from: DeviceDescription.all())
        return deviceMemory.map { description.limited(toMemory: $0.bytes) } ?? description
    }

    /// Reads a `--device`; a mistake in it is one of the command line.
    static func selector(_ text: String) throws -> DeviceSelector {
        do { return try DeviceSelector(parsing: text) } catch let error as ComputeError {
            throw ValidationError(error.description)
        }
    }
}

/// A network and a shape to try it on.
struct NetworkOptions: ParsableArguments {
    @Option(help: "A name (mini, linear, scaling, vgg16, deepimage) or a list such as 32,32,M,64,64,M,F256.")
    var model = "mini"

    @Option(help: "Side of the network's input in pixels.") var imageSize = 32

    @Option(help: "Images of a mini-batch.") var batch = 128

    @Option(help: "Number of classes.") var classes = 10

    func validate() throws {
        guard (1...4096).contains(imageSize) else {
            throw ValidationError("--image-size \(imageSize): expected 1 to 4096 pixels")
        }
        guard (1...65_536).contains(batch) else {
            throw ValidationError("--batch \(batch): expected 1 to 65536 images")
        }
        guard (2...1_000_000).contains(classes) else {
            throw ValidationError("--classes \(classes): expected 2 or more")
        }
    }

    /// Reads a name or a list; a mistake in it is one of the command line.
    static func architecture(_ model: String, imageSize: Int) throws -> Architecture {
        let architecture: Architecture
        do { architecture = try Architecture(parsing: model) } catch let error as NetworkError {
            throw ValidationError("--model \(model): \(error)")
        }
        guard architecture.smallestImage <= imageSize else {
            throw ValidationError(
                "--model \(model): its poolings need images of \(architecture.smallestImage) pixels or more, and --image-size is \(imageSize)"
            )
        }
        return architecture
    }
}

extension Augmentation: ExpressibleByArgument {}
extension Scenes.ObjectScale: ExpressibleByArgument {}
extension Scenes.Hardship: ExpressibleByArgument {}
extension CacheSize: ExpressibleByArgument {}

extension ConvolutionChoice: ExpressibleByArgument {
    public static var allValueStrings: [String] { ["auto"] + ConvolutionAlgorithm.allCases.map(\.rawValue) }
}

/// How convolutions are computed.
struct ConvolutionOptions: ParsableArguments {
    @Option(help: ArgumentHelp(stringLiteral: ConvolutionChoice.help)) var convolution = ConvolutionChoice
        .auto

    var algorithms: ConvolutionAlgorithms? { convolution.algorithms }
}

/// The parts of a mini-batch.
struct MicroBatchOptions: ParsableArguments {
    @Option(help: "Parts that a mini-batch is run in: a power of two that divides it.") var microBatches = 1

    func validate(batch: Int) throws {
        guard microBatches >= 1, microBatches & (microBatches - 1) == 0, batch % microBatches == 0 else {
            throw ValidationError(
                "--micro-batches \(microBatches): expected a power of two that divides the batch of \(batch)")
        }
    }
}

/// Files that a command is to write.
enum OutputFile {
    /// As below, for several options' files, no two of which may be the same.
    static func requireWritable(_ outputs: [(option: String, paths: [String])]) throws {
        var options: [String: String] = [:]
        for (option, paths) in outputs {
            for path in paths {
                try requireWritable(path, option: option)
                if let other = options.updateValue(option, forKey: place(path)) {
                    throw ValidationError(
                        "\(option) would overwrite \(path), which \(other) writes; give another name")
                }
            }
        }
    }

    /// One name for a file, however it is written.
    private static func place(_ path: String) -> String {
        URL(fileURLWithPath: path).resolvingSymlinksInPath().standardizedFileURL.path
    }

    /// Tells before the work rather than after it that a file cannot be written.
    static func requireWritable(_ path: String, option: String) throws {
        guard !path.isEmpty else { throw ValidationError("\(option): expected a file's name, found nothing") }
        var isFolder: ObjCBool = false
        let folder = path.contains("/") ? URL(fileURLWithPath: path).deletingLastPathComponent().path : "."
        guard FileManager.default.fileExists(atPath: folder, isDirectory: &isFolder), isFolder.boolValue
        else { throw ValidationError("\(option) \(path): there is no folder \(folder)") }
        guard FileManager.default.isWritableFile(atPath: folder) else {
            throw ValidationError("\(option) \(path): the folder \(folder) cannot be written")
        }
        guard !FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) || !isFolder.boolValue
        else { throw ValidationError("\(option) \(path): this is a folder; expected a file's name") }
        // A name that was left out makes the next one, a photograph's or a model's, the output's.
        let inputs = [
            "jpg": "a photograph", "jpeg": "a photograph", "safetensors": "a model", "npy": "an array",
        ]
        if let kind = inputs[URL(fileURLWithPath: path).pathExtension.lowercased()],
            FileManager.default.fileExists(atPath: path),
            !(kind == "an array" && option == "--save-posteriors")
        {
            throw ValidationError(
                "\(option) \(path): this is \(kind) and is not overwritten; give another name")
        }
        let exists = FileManager.default.fileExists(atPath: path)
        if exists, path.hasSuffix(".npy.json"), option != "--save-posteriors" {
            throw ValidationError(
                "\(option) \(path): these are the names of an array and are not overwritten; give another name"
            )
        }
        if exists, FileManager.default.fileExists(atPath: folder + "/checkpoints") {
            throw ValidationError(
                "\(option) \(path): this is a file of a run and is not overwritten; give another name")
        }
    }
}

/// A file for a command's numbers.
struct JSONOptions: ParsableArguments {
    @Option(help: "Write the result to this file.") var json: String?

    func validate() throws { if let json { try OutputFile.requireWritable(json, option: "--json") } }

    /// Writes the value, whole or not at all, where a file was asked for.
    func write(_ value: @autoclosure () -> JSON) throws {
        if let json { try AtomicFile.write(json, Array((value().text + "\n").utf8)) }
    }
}

/// 0.9134 → "91.3 %"
func percent(_ share: Double) -> String { String(format: "%.1f %%", share * 100) }
