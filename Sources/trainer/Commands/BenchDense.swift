import ArgumentParser
import Basics
import Benchmarks
import Compute
import Models
import NeuralNet

struct BenchDense: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dense",
        abstract: "Time dense evaluation: every window of images larger than the network's input.",
        discussion: """
            --checkpoint, --input and --logits allow a comparison of the class scores with another program's.
            """)

    @OptionGroup var network: NetworkOptions
    @Option(help: "Height and width of the random images, such as 256x341.") var size = "256x341"

    @Option(help: "Take network and weights from this checkpoint. Default: --model with random weights.")
    var checkpoint: String?

    @Option(help: "Normalised images in NumPy's format, [images, height, width, 3]. Default: random ones.")
    var input: String?

    @Option(
        help: "Write each image's class scores, averaged over its windows, to this file in NumPy's format.")
    var logits: String?

    @Option(help: OptionHelp.steps) var steps = 5
    @OptionGroup var convolution: ConvolutionOptions
    @OptionGroup var device: DeviceOptions
    @OptionGroup var output: JSONOptions

    private func sides() throws -> [Int] {
        let sides = size.split(separator: "x").compactMap { Int($0) }
        guard sides.count == 2, sides.allSatisfy({ ModelDescription.imageSizes.contains($0) }) else {
            throw ValidationError("--size \(size): expected HEIGHTxWIDTH in pixels, such as 256x341")
        }
        return sides
    }

    func validate() throws {
        _ = try sides()
        try require("--steps", steps, in: 1...1_000_000, "runs")
        if let logits { try OutputFile.requireWritable(logits, option: "--logits") }
    }

    func run() throws {
        let given = try input.map { try NPYFile($0) }
        if let given, given.shape.count != 4 || given.shape[3] != 3 || given.count == 0 {
            throw FileError(
                path: input ?? "", found: "an array of shape \(given.shape)",
                expected: "[images, height, width, 3]", remedy: "Give another file")
        }
        let shape = try given?.shape ?? [network.batch] + sides() + [3]
        let device = try device.open()
        let model = try model(batch: shape[0], on: device)
        let result = try DenseBenchmark(
            model, batch: shape[0], height: shape[1], width: shape[2],
            pixels: given.map { try $0.values(0..<$0.count) }, runs: steps)
        print(
            "\(fixed(result.imagesPerSecond, 2)) images/s of \(shape[1])×\(shape[2]) "
                + "on \(device.description.name)")
        if let logits {
            try NPYFile.write(logits, shape: [shape[0], model.classes]) { append in
                for scores in result.scores { try append(scores) }
            }
        }
        try output.write([
            "images_per_second": result.imagesPerSecond, "device": device.description.name,
            "model": model.architecture.description, "batch": shape[0], "height": shape[1],
            "width": shape[2], "device_bytes": device.peakAllocatedBytes, "seconds": result.seconds,
        ])
    }

    private func model(batch: Int, on device: Device) throws -> Network {
        let options = Network.Options(
            maximumBatch: batch, training: false, convolution: convolution.algorithms)
        if let checkpoint { return try Checkpoint(checkpoint).network(options: options, device: device) }
        let model = try Network(
            NetworkOptions.architecture(network.model, imageSize: network.imageSize),
            imageSize: network.imageSize, classes: network.classes, options: options, device: device)
        try model.initialize(seed: 1)
        return model
    }
}
