import ArgumentParser
import Compute
import ModelFiles
import NeuralNet
import Training

struct PlanCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan", abstract: "Tell the device memory that training takes, and the largest batch that fits; allocates nothing.")

    @OptionGroup var network: NetworkOptions

    @Option(help: "Parts that a mini-batch is run in: a power of two that divides it.")
    var shards = 1

    @Option(
        help:
            "Algorithm of the convolutions: auto (the fastest for each layer), direct, im2col, winograd2 or winograd4."
    )
    var convolution = ConvolutionChoice.auto

    @OptionGroup var device: DeviceOptions

    @OptionGroup var output: JSONOptions

    func validate() throws {
        guard shards >= 1, shards & (shards - 1) == 0, network.batch % shards == 0 else {
            throw ValidationError("--shards \(shards): expected a power of two that divides the batch of \(network.batch)")
        }
    }

    func run() throws {
        let architecture = try NetworkOptions.architecture(network.model, imageSize: network.imageSize)
        let memory = TrainingMemory(
            architecture, imageSize: network.imageSize, classes: network.classes, shards: shards, convolution: convolution.algorithm,
            input: .photographs(shortSide: ModelDescription.usualShortSide(imageSize: network.imageSize)), device: try device.description())
        print(try memory.table(batch: network.batch))
        let plan = try memory.plan(batch: network.batch)
        let largestBatch = try memory.largestBatch()
        try output.write(
            .object([
                .init("device", .string(plan.deviceName)), .init("device_memory", .integer(plan.deviceMemory)),
                .init("device_largest_buffer", .integer(plan.deviceLargestBuffer)), .init("model", .string(architecture.description)),
                .init("image_size", .integer(network.imageSize)), .init("batch", .integer(network.batch)),
                .init("shards", .integer(shards)),
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
