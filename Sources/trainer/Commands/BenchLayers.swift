import ArgumentParser
import Basics
import Benchmarks

struct BenchLayers: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "layers", abstract: "Time a training step by layer and pass.",
        discussion: """
            GFLOPS count the operations of the direct sums, so a faster algorithm may exceed 100 % of \
            the peak, which is the rate of multiply-adds on registers. GB/s count each tensor once; their \
            peak is the rate at which two large arrays are added.
            """)

    @OptionGroup var network: NetworkOptions
    @OptionGroup var microBatches: MicroBatchOptions
    @Option(help: OptionHelp.steps) var steps = 5
    @OptionGroup var convolution: ConvolutionOptions

    @Option(
        help: """
            Folder of labelled photographs to train on, which shows the wait for data. Default: random \
            images in memory.
            """) var data: String?

    @Option(help: OptionHelp.workers) var workers = 2
    @OptionGroup var device: DeviceOptions
    @OptionGroup var output: JSONOptions

    func validate() throws {
        try require("--steps", steps, in: 1...1_000_000, "steps")
        try require("--workers", workers, in: 1...256, "threads")
        try microBatches.validate(batch: network.batch)
    }

    func run() throws {
        let step = try network.step(microBatches, convolution)
        let device = try device.open(profiling: true)
        let name = device.description.name
        let result = try LayerBenchmark(step, steps: steps, data: data, workers: workers, device: device)
        show(result, on: name)
        try output.write([
            "device": name, "model": step.architecture.description, "batch": step.batch,
            "image_size": step.imageSize, "peak_gflops": result.peakGFLOPS,
            "peak_gigabytes_per_second": result.peakGigabytesPerSecond, "step_seconds": result.stepSeconds,
            "queueing_seconds": result.queueingSeconds, "launches": result.launches,
            "parts": JSON.object(result.parts.map { .init($0.name, .number($0.seconds)) }),
            "rows": result.rows.map { json($0, result) },
        ])
    }

    private func json(_ row: LayerBenchmark.Row, _ result: LayerBenchmark) -> JSON {
        [
            "label": row.label, "pass": row.pass, "algorithm": row.algorithm, "seconds": row.seconds,
            "launches": row.launches, "gflops": row.gflops, "share_of_peak": row.gflops / result.peakGFLOPS,
            "gigabytes_per_second": row.gigabytesPerSecond,
            "share_of_bandwidth": row.gigabytesPerSecond / result.peakGigabytesPerSecond,
        ]
    }

    private func show(_ result: LayerBenchmark, on device: String) {
        var layers = TextTable(
            header: ["layer", "pass", "algorithm", "ms", "GFLOPS", "of peak", "GB/s", "of peak"],
            [.left, .left, .left, .right])
        for row in result.rows {
            let operations =
                row.operations > 0
                ? [fixed(row.gflops, 1), percent(row.gflops / result.peakGFLOPS)] : ["", ""]
            let bytes =
                row.bytes > 0
                ? [
                    fixed(row.gigabytesPerSecond, 1),
                    percent(row.gigabytesPerSecond / result.peakGigabytesPerSecond),
                ] : []
            layers.add(
                [row.label, row.pass, row.algorithm, fixed(row.seconds * 1e3, 3)] + operations + bytes)
        }
        print(layers.text)
        print(
            "peak of \(device): \(fixed(result.peakGFLOPS, 0)) GFLOPS (multiply-adds on registers), "
                + "\(fixed(result.peakGigabytesPerSecond, 1)) GB/s (adding two arrays)")
        print(
            "step: \(fixed(result.stepSeconds * 1e3, 1)) ms, "
                + "\(fixed(Double(network.batch) / result.stepSeconds, 2)) images/s; the host takes "
                + "\(fixed(result.queueingSeconds * 1e3, 2)) ms "
                + "(\(percent(result.queueingSeconds / result.stepSeconds))) "
                + "to enqueue \(result.launches) launches"
        )
        var parts = TextTable([.left, .right])
        for part in result.parts {
            parts.add([
                part.name, fixed(part.seconds * 1e3, 2) + " ms", percent(part.seconds / result.stepSeconds),
            ])
        }
        for line in parts.lines { print("  " + line) }
    }
}
