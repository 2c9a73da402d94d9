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
        guard sides.count == 2, sides.allSatisfy({ (1...16_384).contains($0) }) else {
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
        let batch = shape[0]
        let options = Network.Options(
            maximumBatch: batch, training: false, convolution: convolution.algorithms)
        let device = try device.open()
        let model: Network
        if let checkpoint {
            model = try Checkpoint(checkpoint).network(options: options, device: device)
        } else {
            model = try Network(
                NetworkOptions.architecture(network.model, imageSize: network.imageSize),
                imageSize: network.imageSize, classes: network.classes, options: options, device: device)
            try model.initialize(seed: 1)
        }
        let count = shape[1] * shape[2] * batch
        let numbers = try given?.values(0..<3 * count)
        var pixels = [Float](repeating: 0, count: 4 * count)
        for place in 0..<count {
            for channel in 0..<3 {
                // Without --input, any numbers of a similar size will do.
                pixels[4 * place + channel] =
                    numbers?[3 * place + channel] ?? Float((place * 31 + channel * 17) % 97) / 48 - 1
            }
        }
        let images = try Buffer(device, pixels)
        let dense = try DenseNetwork(model)
        let imageBytes = 16 * shape[1] * shape[2]
        var scores: [Float] = []
        let seconds = try Benchmark.seconds(runs: steps) { _ in
            scores = try dense.logits([.init(height: shape[1], width: shape[2], count: batch)]) {
                input, first, part in
                try input.copy(
                    from: images, sourceOffset: first * imageBytes, byteCount: part.count * imageBytes, to: 0)
            }
        }
        let speed = Double(batch) / Benchmark.median(seconds)
        print("\(fixed(speed, 2)) images/s of \(shape[1])×\(shape[2]) on \(device.description.name)")
        if let logits {
            try NPYFile.write(logits, shape: [batch, model.classes]) { append in
                for image in 0..<batch {
                    try append(
                        Array(scores[image * model.logitsStride..<image * model.logitsStride + model.classes])
                    )
                }
            }
        }
        try output.write([
            "images_per_second": speed, "device": device.description.name,
            "model": model.architecture.description, "batch": batch, "height": shape[1], "width": shape[2],
            "device_bytes": device.peakAllocatedBytes, "seconds": seconds,
        ])
    }
}
