import ArgumentParser
import Basics
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
        static func contains(_ option: TrainingOption) -> Bool { option.needsMemory }
    }

    @OptionGroup private var flags: TrainingFlags<MemoryOptions>
    @Option(help: OptionHelp.classes) var classes = 10
    @Option(
        help: """
            Also estimate a step's time on a device that computes and moves so much (roofline model). \
            Values: GFLOPS,GB/s, such as 50000,3000; `trainer devices` measures both.
            """) var speed: DeviceSpeed?

    @OptionGroup var output: JSONOptions

    func validate() throws { try require("--classes", classes, in: 2...1_000_000, "classes") }

    func run() throws {
        var configuration = TrainingConfiguration()
        for setting in flags.settings { configuration.apply(setting) }
        try configuration.validate()
        let options = configuration.options
        var device = try DeviceSelector(parsing: options.device).select(from: DeviceDescription.all())
        device.kernels = options.kernels.body
        if let memory = options.deviceMemory { device = device.limited(toMemory: memory.bytes) }
        let memory = try TrainingMemory(options, classes: classes, device: device)
        print(try memory.table(batch: options.batch))
        if let problem = try memory.cacheProblem(batch: options.batch) {
            print(Remedy.message(for: problem, command: PlanCommand.self))
        }
        let plan = try memory.plan(batch: options.batch)
        let bytes = JSON.object(
            MemoryPlan.Kind.allCases.map { kind in
                .init(String(kind.rawValue.map { $0.isLetter ? $0 : "_" }), .integer(plan[kind]))
            })
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
            "bytes": bytes, "total": plan.total, "largest_buffer": plan.largest.byteCount,
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
