import ArgumentParser
import Basics
import Collectives
import Compute
import Configuration
import NeuralNet
import Training

struct PlanCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan",
        abstract:
            "Show the device memory that training takes, and the largest batch that fits. Allocates nothing.")

    private enum MemoryOptions: OptionSelection {
        static func contains(_ option: TrainingOption) -> Bool { option.traits.contains(.memory) }
    }

    @OptionGroup private var flags: TrainingFlags<MemoryOptions>
    @Option(help: OptionHelp.classes) var classes = 10
    @Option(
        help: """
            Estimate a step by the roofline of GFLOPS,GB/s such as 50000,3000 (see `trainer devices`).
            """) var speed: DeviceSpeed?

    @Option(help: "Compare the ways of dividing the work over this many ranks, on devices of this kind.")
    var ranks = 1
    @Option(help: "With --ranks and --speed: 10⁹ bytes per second that a rank sends to the others.")
    var link: Double?

    @OptionGroup var output: JSONOptions

    func validate() throws {
        try require("--classes", classes, in: 2...1_000_000, "classes")
        try require("--ranks", ranks, in: 1...1_000_000, "ranks")
        try require("--link", link, in: 1e-6...1e6, "GB/s")
        if link != nil, ranks == 1 || speed == nil {
            throw ValidationError("--link: expected --ranks of 2 or more and --speed too")
        }
    }

    /// Compares the strategies of several ranks.
    private func compare(_ options: TrainingOptions, _ device: DeviceDescription) throws {
        guard let spans = MicroBatchTree.spans(microBatches: options.microBatches, nodes: [ranks])?.first
        else {
            throw ValidationError(
                "--micro-batches \(options.microBatches): expected a power of two, at least one micro-batch "
                    + "for each of --ranks \(ranks)")
        }
        // The first rank has as many micro-batches as any.
        let choice = try ParallelismChoice(
            options, classes: classes, spans: spans, rank: 0, device: device)
        print(
            "\(ranks) ranks of \(options.model), \(options.imageSize)×\(options.imageSize), batch "
                + "\(options.batch), \(options.microBatches) micro-batches, \(options.slices) slices")
        print(choice.table)
        let fits = choice.data.memory.fits
        let strategies = [choice.data, choice.hybrid].compactMap { $0 }
        if let speed, let link {
            for strategy in strategies {
                let seconds = strategy.seconds(at: speed, link: link)
                print(
                    "\(strategy.name.rawValue): \(fixed(seconds.work * 1e3, 1)) ms of work by the roofline "
                        + "model, \(fixed(seconds.exchange * 1e3, 1)) ms of exchange, at best "
                        + "\(fixed(seconds.step * 1e3, 1)) ms a step")
            }
        }
        let chosen = choice.isHybrid(dataFits: fits) ? Parallelism.hybrid : .data
        print("chosen: \(chosen.rawValue) (\(choice.reason(dataFits: fits)))")
        try output.write([
            "ranks": ranks, "model": options.model, "batch": options.batch, "chosen": chosen.rawValue,
            "strategies": strategies.map { strategy -> JSON in
                [
                    "name": strategy.name.rawValue, "bytes": PlanCommand.bytes(strategy.memory),
                    "total": strategy.memory.total, "fits": strategy.memory.fits,
                    "gradient_bytes_sent": strategy.gradientBytes,
                    "activation_bytes_sent": strategy.activationBytes,
                ]
            },
        ])
    }

    private static func bytes(_ plan: MemoryPlan) -> JSON {
        JSON.object(
            MemoryPlan.Kind.allCases.map { kind in
                .init(String(kind.rawValue.map { $0.isLetter ? $0 : "_" }), .integer(plan[kind]))
            })
    }

    func run() throws {
        var initial = TrainingOptions()
        initial.microBatches = MicroBatchTree.defaultMicroBatches(ranks: ranks)
        var configuration = TrainingConfiguration(initial)
        for setting in flags.settings { configuration.apply(setting) }
        try configuration.validate()
        let options = configuration.options
        var device = try DeviceSelector(parsing: options.device).select(from: DeviceDescription.all())
        device.kernels = options.kernels.body
        if let memory = options.deviceMemory { device = device.limited(toMemory: memory.bytes) }
        if ranks > 1 { return try compare(options, device) }
        let memory = try TrainingMemory(options, classes: classes, device: device)
        print(try memory.table(batch: options.batch))
        if let problem = try memory.cacheProblem(batch: options.batch) {
            print(Remedy.message(for: problem, command: PlanCommand.self))
        }
        let plan = try memory.plan(batch: options.batch)
        let largestBatch = try memory.largestBatch()
        let seconds = try speed.map {
            let network = try memory.network(batch: options.batch)
            return Double(options.microBatches) * network.passWork.seconds(at: $0)
                + network.updateWork(options.optimizer, averages: options.averageDecay != nil).seconds(at: $0)
        }
        if let seconds {
            let rate = fixed(Double(options.batch) / seconds, 1)
            print("step by the roofline model: \(fixed(seconds * 1e3, 1)) ms, \(rate) images/s")
        }
        let layers = try memory.network(batch: options.batch).layers
        try output.write([
            "device": plan.deviceName, "device_memory": plan.deviceMemory,
            "device_largest_buffer": plan.deviceLargestBuffer, "model": memory.architecture.description,
            "image_size": options.imageSize, "batch": options.batch, "micro_batches": options.microBatches,
            "bytes": PlanCommand.bytes(plan), "total": plan.total, "largest_buffer": plan.largest.byteCount,
            "fits": plan.fits, "largest_batch": largestBatch,
            "roofline_seconds": seconds.map(JSON.number) ?? .null, "layers": layers,
        ])
    }
}

extension LayerPlan: JSONConvertible {
    /// The layer with its shapes of one image as height, width and channels.
    public var json: JSON {
        func sizes(_ shape: FeatureShape) -> [Int] { [shape.height, shape.width, shape.channels] }
        return [
            "kind": spec.kind, "name": name, "input": sizes(input), "output": sizes(output),
            "parameters": parameters.map { ["name": $0.name, "shape": $0.shape] as JSON },
        ]
    }
}

extension DeviceSpeed: ExpressibleByArgument {
    /// Reads GFLOPS and GB/s, separated by a comma.
    public init?(argument: String) {
        let numbers = argument.split(separator: ",", omittingEmptySubsequences: false).map { Double($0) }
        guard numbers.count == 2, let gflops = numbers[0], let bandwidth = numbers[1], gflops > 0,
            bandwidth > 0, gflops.isFinite, bandwidth.isFinite
        else { return nil }
        self.init(gflops: gflops, gigabytesPerSecond: bandwidth)
    }
}
