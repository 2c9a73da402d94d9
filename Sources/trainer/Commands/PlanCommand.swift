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
        if let problem = try memory.cacheProblem(batch: options.batch) { print(problem) }
        let plan = try memory.plan(batch: options.batch)
        let bytes = JSON.object(
            MemoryPlan.Kind.allCases.map { kind in
                .init(String(kind.rawValue.map { $0.isLetter ? $0 : "_" }), .integer(plan[kind]))
            })
        let largestBatch = try memory.largestBatch()
        let layers = try memory.network(batch: options.batch).layers
        try output.write([
            "device": plan.deviceName, "device_memory": plan.deviceMemory,
            "device_largest_buffer": plan.deviceLargestBuffer, "model": memory.architecture.description,
            "image_size": options.imageSize, "batch": options.batch, "micro_batches": options.microBatches,
            "bytes": bytes, "total": plan.total, "largest_buffer": plan.largest.byteCount,
            "fits": plan.fits, "largest_batch": largestBatch, "layers": layers,
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
