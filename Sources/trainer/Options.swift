import ArgumentParser
import Compute
import Foundation
import ImageData
import ModelFiles
import NeuralNet
import Training

/// Where to compute.
struct DeviceOptions: ParsableArguments {
    @Option(help: "Where to compute: auto (a GPU if there is one), cpu, gpu or opencl:N (see `trainer devices`).")
    var device = "auto"

    func open(profiling: Bool = false) throws -> Device {
        try Device.open(selector(), profiling: profiling)
    }

    func selector() throws -> DeviceSelector {
        do {
            return try DeviceSelector(parsing: device)
        } catch let error as ComputeError {
            throw ValidationError(error.description)
        }
    }
}

/// A network and a shape to try it on.
struct NetworkOptions: ParsableArguments {
    @Option(help: "A name (mini, linear, scaling, vgg16, deepimage) or a list such as 32,32,M,64,64,M,F256.")
    var model = "mini"

    @Option(help: "Side of the network's input in pixels.")
    var imageSize = 32

    @Option(help: "Images of a mini-batch.")
    var batch = 128

    @Option(help: "Number of classes.")
    var classes = 10

    func validate() throws {
        guard (1...4096).contains(imageSize) else { throw ValidationError("--image-size \(imageSize): expected 1 to 4096 pixels") }
        guard (1...65_536).contains(batch) else { throw ValidationError("--batch \(batch): expected 1 to 65536 images") }
        guard (2...1_000_000).contains(classes) else { throw ValidationError("--classes \(classes): expected 2 or more") }
    }

    /// Reads a name or a list; a mistake in it is one of the command line.
    static func architecture(_ model: String) throws -> Architecture {
        do {
            return try Architecture(parsing: model)
        } catch let error as NetworkError {
            throw ValidationError("--model \(model): \(error)")
        }
    }
}

extension ConvolutionAlgorithm: ExpressibleByArgument {}

/// Writes a JSON value to a file, whole or not at all.
func writeJSON(_ value: JSON, to path: String) throws {
    try AtomicFile.write(path, Array((value.text + "\n").utf8))
}

/// 0.9134 → "91.3 %"
func percent(_ share: Double) -> String { String(format: "%.1f %%", share * 100) }
