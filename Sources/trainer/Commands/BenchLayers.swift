import ArgumentParser
import Basics
import Benchmarks
import Configuration

struct BenchLayers: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "layers", abstract: "Time a training step by layer and pass.",
        discussion: """
            GFLOPS count the operations of the direct sums, so a faster algorithm may exceed the \
            device's peak. GB/s count the tensors that the algorithm's launches read and write. The \
            roofline is the longest of four times for each launch: its operations at the peak of \
            multiply-adds on registers, its reads at the rate of reading, its writes at the rate of writing, \
            and both at the rate of adding an array to another. The peaks are the best runs before and after \
            the steps. A convolution may also run the pooling beside it, whose row is missing then.
            """)

    @OptionGroup var network: NetworkOptions
    @OptionGroup var training: TrainingStepOptions
    @Option(help: OptionHelp.steps) var steps = 5
    @OptionGroup var convolution: ConvolutionOptions

    @Option(
        help: """
            Photographs to train on, which shows the wait for data. Default: random images in memory.
            """) var data: String?

    @Option(help: OptionHelp.workers) var workers = TrainingOptions().workers
    @OptionGroup var device: DeviceOptions
    @OptionGroup var output: JSONOptions

    func validate() throws {
        try require("--steps", steps, in: 1...1_000_000, "steps")
        try requireAsTrain("workers", workers)
        try training.validate(batch: network.batch)
    }

    func run() throws {
        let step = try network.step(training, convolution)
        let device = try device.open(profiling: true)
        let name = device.description.name
        let result = try LayerBenchmark(step, steps: steps, data: data, workers: workers, device: device)
        show(result, on: name)
        try output.write([
            "device": name, "model": step.architecture.description, "batch": step.batch,
            "image_size": step.imageSize, "peak_gflops": result.peak.gflops,
            "peak_bandwidth": [
                "reading": result.peak.reading, "writing": result.peak.writing, "adding": result.peak.adding,
            ] as JSON,
            "step_seconds": result.stepSeconds,
            "roofline_seconds": result.rooflineSeconds, "queueing_seconds": result.queueingSeconds,
            "launches": result.launches,
            "parts": JSON.object(result.parts.map { .init($0.name, .number($0.seconds)) }),
            "rows": result.rows.map { json($0, result) },
        ])
    }

    private func json(_ row: LayerBenchmark.Row, _ result: LayerBenchmark) -> JSON {
        [
            "label": row.label, "pass": row.pass, "algorithm": row.algorithm, "seconds": row.seconds,
            "launches": row.launches, "gflops": row.gflops,
            "gigabytes_per_second": row.gigabytesPerSecond,
            "roofline_seconds": row.work.seconds(at: result.peak),
            "work": row.work.map {
                ["operations": $0.operations, "read": $0.read, "written": $0.written] as JSON
            },
        ]
    }

    private func show(_ result: LayerBenchmark, on device: String) {
        var layers = TextTable(
            header: ["layer", "pass", "algorithm", "ms", "roofline ms", "share", "GFLOPS", "GB/s"],
            [.left, .left, .left, .right])
        for row in result.rows {
            let roofline = row.work.seconds(at: result.peak)
            let figures =
                row.work.isEmpty
                ? []
                : [
                    fixed(roofline * 1e3, 3), percent(roofline / row.seconds),
                    row.operations > 0 ? fixed(row.gflops, 1) : "", fixed(row.gigabytesPerSecond, 1),
                ]
            layers.add([row.label, row.pass, row.algorithm, fixed(row.seconds * 1e3, 3)] + figures)
        }
        print(layers.text)
        print("peak of \(device): \(result.peak.summary)")
        print(
            "step: \(fixed(result.stepSeconds * 1e3, 1)) ms, "
                + "\(fixed(Double(network.batch) / result.stepSeconds, 2)) images/s; at the peaks: "
                + "\(fixed(result.rooflineSeconds * 1e3, 1)) ms "
                + "(\(percent(result.rooflineSeconds / result.stepSeconds))); the host takes "
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
