import ArgumentParser
import Basics
import Configuration
import NeuralNet
import Training

struct PlanCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan",
        abstract:
            "Tell the device memory that training takes, and the largest batch that fits; allocates nothing.")

    // Train's own options: what is planned is what `train` would allocate with the same flags.
    @Option("model") var model: TrainCommand.Setting?
    @Option("image-size") var imageSize: TrainCommand.Setting?
    @Option("short-side") var shortSide: TrainCommand.Setting?
    @Option("batch") var batch: TrainCommand.Setting?
    @Option("micro-batches") var microBatches: TrainCommand.Setting?
    @Option("convolution") var convolution: TrainCommand.Setting?
    @Option("cache") var cache: TrainCommand.Setting?

    @Option(help: "Number of classes.") var classes = 10

    @OptionGroup var device: DeviceOptions

    @OptionGroup var output: JSONOptions

    func validate() throws {
        guard (2...1_000_000).contains(classes) else {
            throw ValidationError("--classes \(classes): expected 2 or more")
        }
    }

    func run() throws {
        var configuration = TrainingConfiguration()
        configuration.apply(flagsOf: self)
        try configuration.validate()
        let options = configuration.options
        let memory = try TrainingMemory(options, classes: classes, device: device.description())
        print(try memory.table(batch: options.batch))
        if let problem = try memory.cacheProblem(batch: options.batch) { print(problem) }
        let plan = try memory.plan(batch: options.batch)
        let largestBatch = try memory.largestBatch()
        let layers = try memory.network(batch: options.batch).layers
        try output.write(
            .object([
                .init("device", .string(plan.deviceName)),
                .init("device_memory", .integer(plan.deviceMemory)),
                .init("device_largest_buffer", .integer(plan.deviceLargestBuffer)),
                .init("model", .string(memory.architecture.description)),
                .init("image_size", .integer(options.imageSize)), .init("batch", .integer(options.batch)),
                .init("micro_batches", .integer(options.microBatches)),
                .init(
                    "bytes",
                    .object(
                        MemoryPlan.Kind.allCases.map {
                            .init(String($0.rawValue.map { $0.isLetter ? $0 : "_" }), .integer(plan[$0]))
                        })), .init("total", .integer(plan.total)),
                .init("largest_buffer", .integer(plan.largest.byteCount)), .init("fits", .bool(plan.fits)),
                .init("largest_batch", largestBatch.map { .integer($0) } ?? .null),
                .init("layers", layers.json),
            ]))
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
