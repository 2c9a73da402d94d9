import ArgumentParser
import Compute
import ModelFiles
import NeuralNet
import Training

struct PlanCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan", abstract: "Tell the device memory that training takes, and the largest batch that fits; allocates nothing.")

    @OptionGroup var network: NetworkOptions

    @OptionGroup var shards: ShardOptions

    @OptionGroup var convolution: ConvolutionOptions

    @Option(
        help: """
            Device memory for decoded photographs: auto (half of what the rest leaves; a small set takes less), off or an amount such as 800M \
            or 4G (1G = 2³⁰ bytes).
            """)
    var cache = CacheSize.auto

    @OptionGroup var device: DeviceOptions

    @OptionGroup var output: JSONOptions

    func validate() throws { try shards.validate(batch: network.batch) }

    func run() throws {
        let architecture = try NetworkOptions.architecture(network.model, imageSize: network.imageSize)
        let memory = TrainingMemory(
            architecture, imageSize: network.imageSize, classes: network.classes, shards: shards.shards,
            convolution: convolution.algorithms,
            input: .photographs(shortSide: ModelDescription.usualShortSide(imageSize: network.imageSize)), cache: cache,
            device: try device.description())
        print(try memory.table(batch: network.batch))
        let plan = try memory.plan(batch: network.batch)
        let largestBatch = try memory.largestBatch()
        try output.write(
            .object([
                .init("device", .string(plan.deviceName)), .init("device_memory", .integer(plan.deviceMemory)),
                .init("device_largest_buffer", .integer(plan.deviceLargestBuffer)), .init("model", .string(architecture.description)),
                .init("image_size", .integer(network.imageSize)), .init("batch", .integer(network.batch)),
                .init("shards", .integer(shards.shards)),
                .init(
                    "bytes",
                    .object(
                        MemoryPlan.Kind.allCases.map {
                            .init(String($0.rawValue.map { $0.isLetter ? $0 : "_" }), .integer(plan[$0]))
                        })),
                .init("total", .integer(plan.total)), .init("largest_buffer", .integer(plan.largest.byteCount)),
                .init("fits", .bool(plan.fits)), .init("largest_batch", largestBatch.map { .integer($0) } ?? .null),
            ]))
    }
}
