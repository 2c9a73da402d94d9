import ArgumentParser
import Basics
import Benchmarks
import Collectives
import Compute
import Configuration
import DeviceInput
import Training

struct BenchStep: ParsableCommand, RunsOnRanks {
    static let configuration = CommandConfiguration(
        commandName: "step", abstract: "Time whole training steps on random images.",
        discussion: """
            The step is the one that `trainer train` runs, also under mpirun. A loss that is not finite is \
            an error.
            """)

    @OptionGroup var network: NetworkOptions
    @OptionGroup var training: TrainingStepOptions
    @Option(help: OptionHelp.steps) var steps = 5
    @Flag(help: "Time the forward pass only, in a network made for inference.") var inference = false

    @Option(help: "Compare cached steps with this augmentation and none.")
    var augment: Augmentation?

    @Option(
        help: """
            Under mpirun, as for `train`; none: each rank alone.
            """) var exchange = Benchmark.RankExchange.lazy

    @Option(help: "Under mpirun, as for `train`.")
    var parallelism = Parallelism.data

    @OptionGroup var convolution: ConvolutionOptions
    @OptionGroup var device: DeviceOptions
    @OptionGroup var output: JSONOptions

    func validate() throws {
        guard parallelism != .auto else {
            throw ValidationError(
                "--parallelism auto: expected data or hybrid; trainer plan --ranks 2 --parallelism auto says "
                    + "which one train would choose")
        }
        guard parallelism == .data || MPICommunicator.launchedRanks > 1 && exchange != .none else {
            throw ValidationError(
                "--parallelism hybrid: expected several ranks, which exchange: mpirun -n 2 trainer bench step"
            )
        }
        try require("--steps", steps, in: 1...1_000_000, "steps")
        if MPICommunicator.launchedRanks > 1, inference || augment != nil {
            throw ValidationError(
                "\(inference ? "--inference" : "--augment") runs in one process; start it without mpirun")
        }
        if let augment, inference || training.microBatches > 1 {
            throw ValidationError(
                "--augment \(augment.rawValue): cannot be combined with --inference or --micro-batches")
        }
        try training.validate(batch: network.batch)
        guard !inference || training.microBatches == 1 else {
            throw ValidationError(
                "--micro-batches \(training.microBatches): cannot be combined with --inference")
        }
    }

    func run() throws {
        let step = try network.step(training, convolution)
        guard parallelism == .data || step.architecture.hasHiddenFullyConnected else {
            throw ValidationError(
                "--parallelism hybrid: \(step.architecture) has no hidden fully connected layer to split")
        }
        let job = try Job.join()
        let device = try device.open(place: job.map { Ranks($0).place } ?? (0, 1))
        if let augment { return try compare(augment, step, device) }
        let result =
            if let job {
                try Benchmark.step(
                    step, steps: steps, exchange: exchange, isHybrid: parallelism == .hybrid,
                    communicator: job, device: device)
            } else if inference {
                try Benchmark.inference(step, runs: steps, device: device)
            } else {
                try Benchmark.step(step, steps: steps, device: device)
            }
        guard job?.rank ?? 0 == 0 else { return }
        let loss = result.loss.map { "loss \(fixed($0, 3)), " } ?? ""
        let ranks = job.map { "\($0.size) ranks, " } ?? ""
        print(
            "\(fixed(result.imagesPerSecond, 2)) images/s on \(device.description.name) "
                + "(\(ranks)\(result.parameterCount) parameters, \(loss)"
                + "\(fixed(Double(device.peakAllocatedBytes) * 1e-9, 2)) GB of device memory)")
        try output.write([
            "images_per_second": result.imagesPerSecond, "device": device.description.name,
            "model": step.architecture.description, "batch": step.batch, "image_size": step.imageSize,
            "parameters": result.parameterCount, "device_bytes": device.peakAllocatedBytes,
            "seconds": result.seconds, "ranks": job?.size ?? 1,
        ])
    }

    private func compare(_ augmentation: Augmentation, _ step: BenchmarkedStep, _ device: Device) throws {
        let pairs = try AugmentationBenchmark(step, device: device).pairs(augmentation, count: steps)
        let plain = pairs.map(\.plain)
        let augmented = pairs.map(\.augmented)
        let ratios = pairs.map { $0.augmented / $0.plain }
        let ratio = Benchmark.median(ratios)
        print(
            "none \(fixed(Benchmark.median(plain) * 1e3, 2)) ms per step, \(augmentation.rawValue) "
                + "\(fixed(Benchmark.median(augmented) * 1e3, 2)) ms: ratio \(fixed(ratio, 3)) "
                + "(\(fixed(ratios.min() ?? 0, 3)) to \(fixed(ratios.max() ?? 0, 3))), the median of "
                + "\(pairs.count) pairs, on \(device.description.name)")
        try output.write([
            "device": device.description.name, "model": step.architecture.description, "batch": step.batch,
            "image_size": step.imageSize, "augment": augmentation.rawValue, "ratio": ratio,
            "seconds_none": plain, "seconds_augmented": augmented,
        ])
    }
}

extension Benchmark.RankExchange: ExpressibleByArgument {}
extension Parallelism: ExpressibleByArgument {}

extension NetworkOptions {
    /// Returns the step that these options describe.
    func step(_ training: TrainingStepOptions, _ convolution: ConvolutionOptions) throws -> BenchmarkedStep {
        var step = BenchmarkedStep(
            try NetworkOptions.architecture(model, imageSize: imageSize), imageSize: imageSize,
            classes: classes, batch: batch, microBatches: training.microBatches,
            optimizer: training.optimizer,
            convolution: convolution.algorithms)
        step.slices = training.slices
        return step
    }
}
