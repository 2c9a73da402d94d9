import Benchmarks
import DeviceInput
import Basics
import ArgumentParser
import Compute
import Foundation
import NeuralNet

struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Time parts of training on random data.",
        subcommands: [
            BenchGEMM.self, BenchStep.self, BenchInput.self, BenchLayers.self, BenchFullyConnected.self,
            BenchExchange.self, BenchDense.self,
        ])
}

struct BenchGEMM: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gemm", abstract: "Time a product of two square matrices, packing included.")

    @Option(help: "Rows and columns of each matrix.") var size = 1024

    @Option(help: "Timed runs; the median counts.") var steps = 10

    @OptionGroup var device: DeviceOptions

    @OptionGroup var output: JSONOptions

    func validate() throws {
        guard (1...16_384).contains(size) else {
            throw ValidationError("--size \(size): expected 1 to 16384")
        }
        guard steps >= 1 else { throw ValidationError("--steps \(steps): expected 1 or more") }
    }

    func run() throws {
        let device = try device.open()
        let result = try Benchmark.product(size: size, runs: steps, device: device)
        print(
            String(format: "%d³: %.1f GFLOPS on %@", size, result.gflops, device.description.name as NSString)
        )
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
        commandName: "step",
        abstract: "Time whole training steps: the step function of `train` on random images.")

    @OptionGroup var network: NetworkOptions

    @OptionGroup var microBatches: MicroBatchOptions

    @Option(help: "Timed steps, after one that warms up; the median counts.") var steps = 5

    @Flag(help: "Only forward, in a network made for inference.") var inference = false

    @Option(
        help:
            "Time steps on cached photographs, in turn with none and with this augmentation, as in train; tell what it costs."
    ) var augment: Augmentation?

    @OptionGroup var convolution: ConvolutionOptions

    @OptionGroup var device: DeviceOptions

    @OptionGroup var output: JSONOptions

    func validate() throws {
        guard steps >= 1 else { throw ValidationError("--steps \(steps): expected 1 or more") }
        if let augment, inference || microBatches.microBatches > 1 {
            throw ValidationError(
                "--augment \(augment.rawValue): expected neither --inference nor --micro-batches with it")
        }
        try microBatches.validate(batch: network.batch)
        guard !inference || microBatches.microBatches == 1 else {
            throw ValidationError("--micro-batches \(microBatches.microBatches): --inference has none")
        }
    }

    func run() throws {
        let architecture = try NetworkOptions.architecture(network.model, imageSize: network.imageSize)
        let device = try device.open()
        if let augment { return try compare(augment, architecture, device) }
        let result =
            inference
            ? try Benchmark.inference(
                architecture, imageSize: network.imageSize, classes: network.classes, batch: network.batch,
                runs: steps, convolution: convolution.algorithms, device: device)
            : try Benchmark.step(
                architecture, imageSize: network.imageSize, classes: network.classes,
                batch: network.batch, microBatches: microBatches.microBatches,
                steps: steps, convolution: convolution.algorithms, device: device)
        print(
            String(
                format: "%.2f images/s on %@ (%d parameters, %@%.2f GB of device memory)",
                result.imagesPerSecond, device.description.name as NSString, result.parameterCount,
                (result.loss.map { String(format: "loss %.3f, ", $0) } ?? "") as NSString,
                Double(device.peakAllocatedBytes) * 1e-9))
        try output.write(
            .object([
                .init("images_per_second", .number(result.imagesPerSecond)),
                .init("device", .string(device.description.name)),
                .init("model", .string(architecture.description)), .init("batch", .integer(network.batch)),
                .init("image_size", .integer(network.imageSize)),
                .init("parameters", .integer(result.parameterCount)),
                .init("device_bytes", .integer(device.peakAllocatedBytes)),
                .init("seconds", .array(result.seconds.map { .number($0) })),
            ]))
    }

    private func compare(_ augmentation: Augmentation, _ architecture: Architecture, _ device: Device) throws
    {
        let pairs = try Benchmark.augmentedSteps(
            architecture, imageSize: network.imageSize, classes: network.classes, batch: network.batch,
            augmentation: augmentation, pairs: steps, convolution: convolution.algorithms, device: device)
        let plain = Benchmark.median(pairs.map(\.plain))
        let augmented = Benchmark.median(pairs.map(\.augmented))
        let ratios = pairs.map { $0.augmented / $0.plain }
        print(
            String(
                format:
                    "none %.2f ms, %@ %.2f ms a step: %.3f times in the median of %d pairs (%.3f to %.3f) on %@",
                plain * 1e3, augmentation.rawValue as NSString, augmented * 1e3, Benchmark.median(ratios),
                pairs.count, ratios.min() ?? 0, ratios.max() ?? 0, device.description.name as NSString))
        try output.write(
            .object([
                .init("device", .string(device.description.name)),
                .init("model", .string(architecture.description)), .init("batch", .integer(network.batch)),
                .init("image_size", .integer(network.imageSize)),
                .init("augment", .string(augmentation.rawValue)),
                .init("ratio", .number(Benchmark.median(ratios))),
                .init("seconds_none", .array(pairs.map { .number($0.plain) })),
                .init("seconds_augmented", .array(pairs.map { .number($0.augmented) })),
            ]))
    }
}

struct BenchLayers: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "layers",
        abstract:
            "Tell where the time of a training step goes: each layer and pass, and the step as a whole.",
        discussion: """
            GFLOPS count what the plain sums need, so a faster algorithm may pass 100 % of the peak, which is what multiply-adds on registers \
            alone reach. GB/s count each tensor read or written once, against adding two large arrays.
            """)

    @OptionGroup var network: NetworkOptions

    @OptionGroup var microBatches: MicroBatchOptions

    @Option(help: "Timed steps, after one that warms up; the median counts.") var steps = 5

    @OptionGroup var convolution: ConvolutionOptions

    @Option(
        help:
            "Folder of labelled photographs to train on, to see the wait for data. Default: random images in memory."
    ) var data: String?

    @Option(help: "Threads that read photographs.") var workers = 2

    @OptionGroup var device: DeviceOptions

    @OptionGroup var output: JSONOptions

    func validate() throws {
        guard steps >= 1 else { throw ValidationError("--steps \(steps): expected 1 or more") }
        guard (1...256).contains(workers) else {
            throw ValidationError("--workers \(workers): expected 1 to 256 threads")
        }
        try microBatches.validate(batch: network.batch)
    }

    func run() throws {
        let architecture = try NetworkOptions.architecture(network.model, imageSize: network.imageSize)
        let device = try device.open(profiling: true)
        let result = try LayerBenchmark(
            architecture, imageSize: network.imageSize, classes: network.classes,
            batch: network.batch, microBatches: microBatches.microBatches,
            steps: steps, convolution: convolution.algorithms, data: data,
            workers: workers, device: device)
        show(result, on: device.description.name)
        try output.write(
            .object([
                .init("device", .string(device.description.name)),
                .init("model", .string(architecture.description)), .init("batch", .integer(network.batch)),
                .init("image_size", .integer(network.imageSize)),
                .init("peak_gflops", .number(result.peakGFLOPS)),
                .init("peak_gigabytes_per_second", .number(result.peakGigabytesPerSecond)),
                .init("step_seconds", .number(result.stepSeconds)),
                .init("queueing_seconds", .number(result.queueingSeconds)),
                .init("launches", .integer(result.launches)),
                .init("parts", .object(result.parts.map { .init($0.name, .number($0.seconds)) })),
                .init(
                    "rows",
                    .array(
                        result.rows.map { row in
                            .object([
                                .init("label", .string(row.label)), .init("pass", .string(row.pass)),
                                .init("algorithm", .string(row.algorithm)),
                                .init("seconds", .number(row.seconds)),
                                .init("launches", .integer(row.launches)),
                                .init("gflops", .number(row.gflops)),
                                .init("share_of_peak", .number(row.gflops / result.peakGFLOPS)),
                                .init("gigabytes_per_second", .number(row.gigabytesPerSecond)),
                                .init(
                                    "share_of_bandwidth",
                                    .number(row.gigabytesPerSecond / result.peakGigabytesPerSecond)),
                            ])
                        })),
            ]))
    }

    private func show(_ result: LayerBenchmark, on device: String) {
        func column(_ text: String, _ width: Int, right: Bool = true) -> String {
            let padding = String(repeating: " ", count: max(0, width - text.count))
            return right ? padding + text : text + padding
        }
        func line(_ cells: [String]) {
            let widths = [22, 17, 10, 9, 9, 9, 8, 9]
            print(
                zip(cells, widths).enumerated().map { column($1.0, $1.1, right: $0 > 2) }.joined(
                    separator: " "))
        }
        line(["layer", "pass", "algorithm", "ms", "GFLOPS", "of peak", "GB/s", "of peak"])
        for row in result.rows {
            line([
                row.label, row.pass, row.algorithm, String(format: "%.3f", row.seconds * 1e3),
                row.operations > 0 ? String(format: "%.1f", row.gflops) : "",
                row.operations > 0 ? percent(row.gflops / result.peakGFLOPS) : "",
                row.bytes > 0 ? String(format: "%.1f", row.gigabytesPerSecond) : "",
                row.bytes > 0 ? percent(row.gigabytesPerSecond / result.peakGigabytesPerSecond) : "",
            ])
        }
        print(
            String(
                format: "peak of %@: %.0f GFLOPS (multiply-adds on registers), %.1f GB/s (adding two arrays)",
                device as NSString, result.peakGFLOPS, result.peakGigabytesPerSecond))
        print(
            String(
                format:
                    "step: %.1f ms, %.2f images/s; %d launches, which took the host %.2f ms (%@) to bind and queue",
                result.stepSeconds * 1e3, Double(network.batch) / result.stepSeconds, result.launches,
                result.queueingSeconds * 1e3, percent(result.queueingSeconds / result.stepSeconds) as NSString
            ))
        for part in result.parts {
            print(
                "  " + column(part.name, 30, right: false)
                    + column(String(format: "%.2f ms", part.seconds * 1e3), 12)
                    + column(percent(part.seconds / result.stepSeconds), 9))
        }
    }
}

struct BenchFullyConnected: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fully-connected", abstract: "Time the three passes of one fully connected layer.")

    @Option(help: "Inputs of the layer.") var inputs = 4096

    @Option(help: "Units of the layer.") var outputs = 4096

    @Option(help: "Images of a mini-batch.") var batch = 64

    @Option(help: "Timed runs, after one that warms up; the median counts.") var steps = 7

    @OptionGroup var device: DeviceOptions

    @OptionGroup var output: JSONOptions

    func validate() throws {
        for (name, value) in [("inputs", inputs), ("outputs", outputs), ("batch", batch)] {
            guard (1...65_536).contains(value) else {
                throw ValidationError("--\(name) \(value): expected 1 to 65536")
            }
        }
        guard steps >= 1 else { throw ValidationError("--steps \(steps): expected 1 or more") }
    }

    func run() throws {
        let device = try device.open(profiling: true)
        let result = try Benchmark.fullyConnected(
            inputs: inputs, outputs: outputs, batch: batch, runs: steps, device: device)
        for (pass, seconds) in result {
            let gflops = 2e-9 * Double(batch) * Double(inputs) * Double(outputs) / Benchmark.median(seconds)
            print(
                "\(pass.rawValue): \(String(format: "%.2f ms, %.1f GFLOPS", Benchmark.median(seconds) * 1e3, gflops))"
            )
        }
        try output.write(
            .object(
                [.init("device", .string(device.description.name))]
                    + result.map { .init($0.pass.rawValue, .array($0.seconds.map { .number($0) })) }))
    }
}
