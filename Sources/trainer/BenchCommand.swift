import ArgumentParser
import Foundation
import ModelFiles
import NeuralNet
import Training

struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Time parts of training on random data.", subcommands: [BenchGEMM.self, BenchStep.self])
}

struct BenchGEMM: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gemm", abstract: "Time a product of two square matrices, packing included.")

    @Option(help: "Rows and columns of each matrix.")
    var size = 1024

    @Option(help: "Timed runs; the median counts.")
    var steps = 10

    @OptionGroup var device: DeviceOptions

    @OptionGroup var output: JSONOptions

    func validate() throws {
        guard (1...16_384).contains(size) else { throw ValidationError("--size \(size): expected 1 to 16384") }
        guard steps >= 1 else { throw ValidationError("--steps \(steps): expected 1 or more") }
    }

    func run() throws {
        let device = try device.open()
        let result = try Benchmark.product(size: size, runs: steps, device: device)
        print(String(format: "%d³: %.1f GFLOPS on %@", size, result.gflops, device.description.name as NSString))
        try output.write(
            .object([
                .init("gflops", .number(result.gflops)), .init("size", .integer(size)),
                .init("device", .string(device.description.name)),
                .init("seconds", .array(result.seconds.map { .number($0) })),
            ]))
    }
}

struct BenchStep: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "step", abstract: "Time whole training steps: the step function of `train` on random images.")

    @OptionGroup var network: NetworkOptions

    @Option(help: "Parts that a mini-batch is run in.")
    var shards = 1

    @Option(help: "Timed steps, after one that warms up; the median counts.")
    var steps = 5

    @Option(help: "Algorithm of the convolutions: direct, im2col, winograd2 or winograd4.")
    var convolution: ConvolutionAlgorithm?

    @OptionGroup var device: DeviceOptions

    @OptionGroup var output: JSONOptions

    func validate() throws {
        guard steps >= 1 else { throw ValidationError("--steps \(steps): expected 1 or more") }
        guard shards >= 1, shards & (shards - 1) == 0, network.batch % shards == 0 else {
            throw ValidationError("--shards \(shards): expected a power of two that divides the batch of \(network.batch)")
        }
    }

    func run() throws {
        let architecture = try NetworkOptions.architecture(network.model, imageSize: network.imageSize)
        let device = try device.open()
        let result = try Benchmark.step(
            architecture, imageSize: network.imageSize, classes: network.classes, batch: network.batch, shards: shards, steps: steps,
            convolution: convolution, device: device)
        print(
            String(
                format: "%.2f images/s on %@ (%d parameters, loss %.3f, %.2f GB of device memory)", result.imagesPerSecond,
                device.description.name as NSString, result.parameterCount, result.loss, Double(device.peakAllocatedBytes) * 1e-9))
        try output.write(
            .object([
                .init("images_per_second", .number(result.imagesPerSecond)), .init("device", .string(device.description.name)),
                .init("model", .string(architecture.description)), .init("batch", .integer(network.batch)),
                .init("image_size", .integer(network.imageSize)), .init("parameters", .integer(result.parameterCount)),
                .init("device_bytes", .integer(device.peakAllocatedBytes)),
                .init("seconds", .array(result.seconds.map { .number($0) })),
            ]))
    }
}
