import Basics
import ArgumentParser
import Compute
import Foundation
import Models
import NeuralNet

struct BenchDense: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dense",
        abstract: "Time dense evaluation: every window of images larger than the training size.",
        discussion: "With --checkpoint and --input the class scores can be compared with another program's.")

    @OptionGroup var network: NetworkOptions

    @Option(help: "Height and width of the images, such as 256x341, where there is no --input.") var size =
        "256x341"

    @Option(
        help: "Take the network and its weights from this checkpoint, in place of --model and random weights."
    ) var checkpoint: String?

    @Option(help: "Normalised images in NumPy's format, [images, height, width, 3]. Default: random ones.")
    var input: String?

    @Option(
        help: "Write each image's class scores, averaged over its windows, to this file in NumPy's format.")
    var logits: String?

    @Option(help: "Timed runs, after one that warms up; the median counts.") var steps = 5

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
        guard steps >= 1 else { throw ValidationError("--steps \(steps): expected 1 or more") }
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
                // Without --input any numbers of about the right size will do.
                pixels[4 * place + channel] =
                    numbers?[3 * place + channel] ?? Float((place * 31 + channel * 17) % 97) / 48 - 1
            }
        }
        let images = try Buffer(device, pixels)
        let dense = try DenseNetwork(model)
        let imageBytes = 16 * shape[1] * shape[2]
        var scores: [Float] = []
        var seconds: [Double] = []
        for _ in 0...steps {
            let start = ContinuousClock.now
            scores = try dense.logits([.init(height: shape[1], width: shape[2], count: batch)]) {
                input, first, part in
                try input.copy(
                    from: images, sourceOffset: first * imageBytes, byteCount: part.count * imageBytes, to: 0)
            }
            seconds.append((ContinuousClock.now - start).seconds)
        }
        let timed = seconds.dropFirst().sorted()
        let speed = Double(batch) / timed[timed.count / 2]
        print(
            String(
                format: "%.2f images/s of %d×%d on %@", speed, shape[1], shape[2],
                device.description.name as NSString))
        if let logits {
            try NPYFile.write(logits, shape: [batch, model.classes]) { append in
                for image in 0..<batch {
                    try append(
                        Array(scores[image * model.logitsStride..<image * model.logitsStride + model.classes])
                    )
                }
            }
        }
        try output.write(
            .object([
                .init("images_per_second", .number(speed)), .init("device", .string(device.description.name)),
                .init("model", .string(model.architecture.description)), .init("batch", .integer(batch)),
                .init("height", .integer(shape[1])), .init("width", .integer(shape[2])),
                .init("device_bytes", .integer(device.peakAllocatedBytes)),
                .init("seconds", .array(seconds.dropFirst().map { .number($0) })),
            ]))
    }
}
