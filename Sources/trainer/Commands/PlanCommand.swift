import ArgumentParser
import Basics
import Collectives
import Compute
import Configuration
import NeuralNet
import Scaling
import Training

struct PlanCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan",
        abstract:
            "Show the device memory that training takes, and the largest batch that fits.")

    private enum MemoryOptions: OptionSelection {
        static func contains(_ option: TrainingOption) -> Bool { option.traits.contains(.memory) }
    }

    @OptionGroup private var flags: TrainingFlags<MemoryOptions>
    @Option(help: OptionHelp.classes) var classes = 10
    @Option(
        help: """
            Estimate a step's least time from GFLOPS and the largest GB/s of `trainer devices`: 50000,3000.
            """) var speed: DeviceSpeed?

    @Option(help: "Compare the ways of dividing the work over this many ranks, on devices of this kind.")
    var ranks = 1
    @Option(help: "With --ranks: the number of machines, each of which has as many of the ranks.")
    var nodes = 1
    @Option(
        help: """
            With --ranks: predict steps on \(MachineOptions.names) or a YAML file. Default: all presets.
            """) var machine: String?
    @Option(help: "With --ranks and --speed: 10⁹ bytes per second that a rank sends to the others.")
    var link: Double?

    @OptionGroup var output: JSONOptions

    func validate() throws {
        try require("--classes", classes, in: 2...1_000_000, "classes")
        try require("--ranks", ranks, in: 1...1024, "ranks")
        guard nodes >= 1, ranks % nodes == 0 else {
            throw ValidationError("--nodes \(nodes): expected a divisor of --ranks \(ranks)")
        }
        if machine != nil, ranks == 1 {
            throw ValidationError("--machine: expected --ranks of 2 or more too")
        }
        try require("--link", link, in: 1e-6...1e6, "GB/s")
        if link != nil, ranks == 1 || speed == nil {
            throw ValidationError("--link: expected --ranks of 2 or more and --speed too")
        }
    }

    /// Compares the strategies of several ranks.
    private func compare(_ options: TrainingOptions, _ device: DeviceDescription) throws {
        guard MicroBatchTree.spans(microBatches: options.microBatches, nodes: [ranks]) != nil else {
            throw ValidationError(
                "--micro-batches \(options.microBatches): expected a power of two, at least one micro-batch "
                    + "for each of --ranks \(ranks)")
        }
        let perNode = ranks / nodes
        let topology = try Topology(
            microBatches: options.microBatches,
            nodes: (0..<nodes).map { Array($0 * perNode..<($0 + 1) * perNode) })
        // The first rank has as many micro-batches as any.
        let choice = try ParallelismChoice(
            options, classes: classes, spans: topology.spans, nodes: topology.groups, rank: 0, device: device)
        let fits = choice.data.memory.fits
        let strategies = [choice.data, choice.hybrid].compactMap { $0 }
        let predictions = try predictions(options, device, strategies.map(\.name))
        print(
            "\(ranks) ranks\(nodes > 1 ? " on \(nodes) nodes" : "") of \(options.model), "
                + "\(options.imageSize)×\(options.imageSize), batch \(options.batch), "
                + "\(options.microBatches) micro-batches, \(options.slices) slices")
        if let reason = topology.flatReason { print(Remedy.message(for: reason)) }
        print(choice.table)
        print("\npredicted ms a step, by simulation (docs/scaling.md says how good the predictions are)")
        var table = TextTable(header: ["machine"] + strategies.map(\.name.rawValue), [.left, .right])
        for (machine, seconds) in predictions { table.add([machine] + seconds.map { fixed($0 * 1e3, 2) }) }
        print(table.text + "\n")
        let given = speed.flatMap { speed in
            link.map { link in strategies.map { $0.seconds(at: speed, link: link) } }
        }
        for (strategy, seconds) in zip(strategies, given ?? []) {
            let times = [seconds.work, seconds.exchange, seconds.step].map { fixed($0 * 1e3, 1) }
            print(
                "\(strategy.name.rawValue) with --speed and --link: \(times[0]) ms of work by the roofline "
                    + "model, \(times[1]) ms of exchange, at best \(times[2]) ms a step")
        }
        let automatic = choice.automatic(dataFits: fits)
        let chosen = choice.isHybrid(dataFits: fits) ? Parallelism.hybrid : .data
        print("rule: \(ParallelismChoice.rule)")
        print("auto would choose \(automatic.parallelism.rawValue): \(automatic.reason)")
        print("chosen: \(chosen.rawValue)\(options.parallelism == .auto ? "" : " (as requested)")")
        try output.write([
            "ranks": ranks, "nodes": nodes, "model": options.model, "batch": options.batch,
            "chosen": chosen.rawValue, "auto": automatic.parallelism.rawValue,
            "auto_reason": automatic.reason,
            "saved_bytes_per_byte_sent": choice.savedBytes, "auto_from": ParallelismChoice.worthwhile,
            "strategies": strategies.enumerated().map { index, strategy -> JSON in
                [
                    "name": strategy.name.rawValue, "bytes": PlanCommand.bytes(strategy.memory),
                    "total": strategy.memory.total, "fits": strategy.memory.fits,
                    "gradient_bytes_sent": strategy.gradientBytes,
                    "activation_bytes_sent": strategy.activationBytes,
                    "predicted_seconds": JSON.object(
                        predictions.map { .init($0.machine, .number($0.seconds[index])) }),
                    "roofline_seconds": given.map { JSON.number($0[index].step) } ?? JSON.null,
                ]
            },
        ])
    }

    /// Predicts the seconds of a step with lazy update on each machine, with the strategies in their order.
    private func predictions(
        _ options: TrainingOptions, _ device: DeviceDescription, _ strategies: [Parallelism]
    ) throws -> [(machine: String, seconds: [Double])] {
        let machines = try machine.map { [try MachineOptions.named($0, RankLauncher("mpirun"))] }
        return try (machines ?? Machine.presets).map { machine in
            var machine = machine
            machine.devicesPerNode = ranks / nodes
            let training = try SimulatedTraining(machine, options, classes: classes, device: device)
            return (
                machine.name,
                try strategies.map { strategy in
                    try training.stepSeconds(
                        devices: ranks, batch: options.batch,
                        strategy: .init(strategy == .hybrid ? .hybrid : .lazy, nodeFirst: true))
                }
            )
        }
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
            print(
                "step by the roofline model: at least \(fixed(seconds * 1e3, 1)) ms, "
                    + "so at most \(rate) images/s")
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
