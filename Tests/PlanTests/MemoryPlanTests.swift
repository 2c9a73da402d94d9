import Benchmarks
import DeviceInput
import Foundation
import NeuralNet
import Testing

@testable import Basics
@testable import Compute
@testable import Configuration
@testable import Training

/// One device for all tests here, which run one at a time: they read its account of memory.
@Suite(.serialized) struct MemoryPlanTests {
    private let description: DeviceDescription

    init() throws { description = try #require(DeviceDescription.all().first) }

    private struct Case: CustomTestStringConvertible {
        let model: String
        let imageSize: Int
        let batch: Int
        let microBatches: Int
        var convolution: ConvolutionChoice? = .auto

        var testDescription: String {
            "\(model) \(imageSize) \(batch)/\(microBatches) \(convolution?.rawValue ?? "none")"
        }
    }

    private static let cases =
        [
            Case(model: "linear", imageSize: 5, batch: 3, microBatches: 1),
            Case(model: "16,M,F24", imageSize: 9, batch: 8, microBatches: 4),
            Case(model: "16,20,M,33,M,F50,F20", imageSize: 13, batch: 6, microBatches: 2),
            Case(model: "32,32,M,64,64,M,F256", imageSize: 32, batch: 16, microBatches: 1),
        ]
        + zip(["direct", "im2col", "winograd2", "winograd4/direct/im2col"], [1, 8, 2, 1]).map {
            Case(
                model: "32,32,M,64,F256", imageSize: 16, batch: 16, microBatches: $1,
                convolution: ConvolutionChoice(rawValue: $0))
        }

    @Test(arguments: cases) private func planIsWhatAStepAllocates(_ example: Case) throws {
        let device = try Device(description)
        let architecture = try Architecture(parsing: example.model)
        let convolution = try #require(example.convolution).algorithms
        let step = BenchmarkedStep(
            architecture, imageSize: example.imageSize, classes: 7, batch: example.batch,
            microBatches: example.microBatches, convolution: convolution)
        _ = try Benchmark.step(step, steps: 1, device: device)
        let plan = try memory(
            example.model, imageSize: example.imageSize,
            microBatches: example.microBatches, classes: 7, on: description
        ) { $0.convolution = example.convolution ?? .auto }.plan(batch: example.batch)
        // The step has one mini-batch of images of the network's size, and no loss of validation.
        let batches = DeviceBatch.byteCounts(
            capacity: example.batch, pixelBytes: example.batch * example.imageSize * example.imageSize * 3)
        let loss = SoftmaxCrossEntropy.byteCounts(
            maximumBatch: example.batch / example.microBatches, classes: 7)
        let planned = plan.total - plan[.batches] + batches.reduce(0, +) - loss.reduce(0, +)
        // Left out are the optimiser's few numbers and the single bytes of empty buffers.
        #expect(
            abs(planned - device.peakAllocatedBytes) <= 256,
            "\(planned) planned, \(device.peakAllocatedBytes) allocated")
    }

    /// An average takes one more array of the weights that are trained, in the plan and on the device.
    @Test func anAverageIsPlanned() throws {
        let device = try Device(description)
        let network = try Network(
            Architecture(parsing: "16,M,F24"), imageSize: 9, classes: 3,
            options: .init(maximumBatch: 8, training: true), device: device)
        let allocated = try [nil, 0.9].map { decay in
            let before = device.allocatedBytes
            let step = try TrainingStep(
                network: network, normalization: Normalization(mean: [0, 0, 0], deviation: [1, 1, 1]),
                batch: 8, microBatches: 1,
                rule: UpdateRule(averageDecay: decay), seed: 1)
            return withExtendedLifetime(step) { device.allocatedBytes - before }
        }
        let plans = try [nil, 0.9].map { decay in
            try memory("16,M,F24", imageSize: 9, on: description) { $0.averageDecay = decay }.plan(batch: 8)
        }
        #expect(plans[1][.averagedWeights] == plans[1][.gradients] && plans[0][.averagedWeights] == 0)
        #expect(allocated[1] - allocated[0] == plans[1].total - plans[0].total)
    }

    private func memory(
        _ model: String, imageSize: Int, microBatches: Int = 1, classes: Int = 3,
        on device: DeviceDescription, _ change: (inout TrainingOptions) -> Void = { _ in }
    ) throws -> TrainingMemory {
        var options = TrainingOptions()
        (options.model, options.imageSize, options.microBatches) = (model, imageSize, microBatches)
        (options.cache, options.optimizer) = (.off, .sgd)
        change(&options)
        return try TrainingMemory(options, classes: classes, device: device)
    }

    /// The limit that the paper's network must keep: 4.5 GB for a step of four images.
    @Test func theNetworkOfThePaper() throws {
        let memory = try memory("deepimage", imageSize: 224, classes: 1000, on: description)
        let plan = try memory.plan(batch: 4)
        #expect(plan.total <= 4_500_000_000)
        // 212.8 million weights of four bytes; rounding up adds 8 classes to 1000 and a channel to the image;
        // each array begins at 128 bytes.
        let weights = 4 * (212_761_384 + 8 * 6145 + 64 * 9)
        #expect((weights...weights + 32 * 128).contains(plan[.optimizerState]))
        #expect(plan[.gradients] == plan[.optimizerState])
        #expect(plan[.cachedData] == 0)
    }

    /// Checks that an amount counts as it is, and that `auto` takes half of what the rest leaves.
    ///
    /// `auto` changes nothing of what fits, and keeps to the device's largest buffer.
    @Test func cacheInThePlan() throws {
        func memory(_ cache: CacheSize) throws -> TrainingMemory {
            try self.memory("16,M,F24", imageSize: 16, on: description.limited(toMemory: 64 << 20)) {
                $0.cache = cache
            }
        }
        let without = try memory(.off).plan(batch: 8)
        let automatic = try memory(.auto).plan(batch: 8)
        #expect(automatic[.cachedData] == (without.deviceMemory - without.total) / 2 && automatic.fits)
        #expect((automatic.buffers[.cachedData] ?? []).allSatisfy { $0 <= automatic.deviceLargestBuffer })
        let amount = try memory(#require(CacheSize(rawValue: "1.5M"))).plan(batch: 8)
        #expect(amount[.cachedData] == 3 << 19 && amount.total == without.total + 3 << 19)
        #expect(try memory(.auto).largestBatch() == memory(.off).largestBatch())
        #expect(try memory(.auto).table(batch: 8).contains("at most"))
    }

    @Test func eachMicroBatchLevelKeepsOneMoreSum() throws {
        let sizes = try [1, 2, 4, 8].map { microBatches in
            try memory("16,M,F24", imageSize: 8, microBatches: microBatches, on: description).plan(batch: 8)
        }
        let one = sizes[0][.gradients]
        #expect(sizes.map { $0[.gradients] } == [one, 2 * one, 3 * one, 4 * one])
        #expect(sizes.map { $0[.activations] } == (0..<4).map { sizes[0][.activations] >> $0 })
    }

    @Test func largestBatchIsTheLastThatFits() throws {
        let small = description.limited(toMemory: 8 << 20)
        for microBatches in [1, 4] {
            let memory = try memory("16,16,M,F24", imageSize: 16, microBatches: microBatches, on: small)
            let largest = try #require(try memory.largestBatch())
            #expect(largest % microBatches == 0)
            #expect(try memory.plan(batch: largest).fits)
            #expect(try !memory.plan(batch: largest + microBatches).fits)
            try memory.requireFit(batch: largest)
            #expect { try memory.requireFit(batch: largest + microBatches) } throws: { error in
                guard let error = error as? TrainingError else { return false }
                return !error.isUsage && error.description.contains("largest batch that fits: \(largest)")
                    && error.description.contains("activations")
            }
        }
    }

    @Test func nothingFitsADeviceSmallerThanTheWeights() throws {
        let memory = try memory("F2000,F2000", imageSize: 16, on: description.limited(toMemory: 1 << 20))
        #expect(try memory.largestBatch() == nil)
        #expect(try memory.table(batch: 1).contains("no batch fits"))
    }

    /// The largest buffer counts as well as the sum: a parameter cannot be cut.
    @Test func aBufferTooLarge() throws {
        let narrow = description.limited(toLargestBuffer: 1 << 20, baseAlignment: 1)
        let memory = try memory("F1000", imageSize: 32, on: narrow)
        let plan = try memory.plan(batch: 1)
        #expect(plan.total < plan.deviceMemory && !plan.fits)
        #expect(plan.largest.byteCount == 1008 * 32 * 32 * 4 * 4)
        #expect(try memory.table(batch: 1).contains("of 1.0 MB: too much"))
    }

    @Test func buffersStayBelowTheLargest() throws {
        let narrow = description.limited(toLargestBuffer: 1 << 20, baseAlignment: 1)
        let plan = try memory("F500,F300,F300", imageSize: 8, on: narrow).plan(batch: 1)
        let buffers = try #require(plan.buffers[.optimizerState])
        #expect(buffers.count > 1 && buffers.allSatisfy { $0 <= 1 << 20 } && plan.fits)
    }

    @Test(arguments: [("512M", 512 << 20), ("1.5G", 3 << 29), ("2k", 2048), ("1000", 1000)]) func memorySizes(
        text: String, bytes: Int
    ) { #expect(MemorySize(parsing: text)?.bytes == bytes) }

    @Test(arguments: ["", "G", "-1G", "1T", "0", "1e3", "nan", "0x10", "1 G", "99999999999G"])
    func notMemorySizes(text: String) { #expect(MemorySize(parsing: text) == nil) }

    @Test func aSmallerDeviceIsSmallerInProportion() {
        let half = description.limited(toMemory: description.globalMemory / 2)
        #expect(half.globalMemory == description.globalMemory / 2)
        #expect(abs(half.largestBuffer - description.largestBuffer / 2) <= 1)
        #expect(description.limited(toMemory: .max).globalMemory == description.globalMemory)
    }

    /// A profile's parts are the whole step, and every layer has its passes.
    @Test func layersAddUpToTheStep() throws {
        let device = try Device(description, profiling: true)
        // An odd size: on CPUs a convolution of an even one runs its pooling, which then has no row.
        let step = BenchmarkedStep(
            try Architecture(parsing: "16,M,20,F24"), imageSize: 13, classes: 3, batch: 4, microBatches: 2)
        let result = try LayerBenchmark(step, steps: 2, device: device)
        let passes = result.rows.map { "\($0.label) \($0.pass)".trimmingCharacters(in: .whitespaces) }
        #expect(
            Set(passes) == [
                "input", "loss", "update", "sum of micro-batches", "1 conv 3→16 forward",
                "1 conv 3→16 backward-weights", "2 pool forward", "2 pool backward-data",
                "3 conv 16→20 forward", "3 conv 16→20 backward-weights", "3 conv 16→20 backward-data",
                "4 fc 720→24 forward", "4 fc 720→24 backward-weights", "4 fc 720→24 backward-data",
                "5 dropout forward", "5 dropout backward-data", "6 fc 24→3 forward",
                "6 fc 24→3 backward-weights", "6 fc 24→3 backward-data",
            ])
        #expect(result.rows.allSatisfy { $0.seconds > 0 && $0.launches > 0 })
        let convolution = try #require(result.rows.first { $0.label == "3 conv 16→20" })
        #expect(convolution.operations == 2 * 9 * 16 * 20 * 6 * 6 * 4)
        // The device's and the host's clock agree within the step's own unsteadiness: medians need not add up
        // exactly.
        let sum = result.parts.reduce(0) { $0 + $1.seconds }
        #expect(
            sum >= result.stepSeconds * 0.999 && sum <= result.stepSeconds * 1.5,
            "\(sum) \(result.stepSeconds)")
        let peak = result.peak
        #expect(min(peak.gflops, peak.reading, peak.writing, peak.adding) > 0)
        #expect(result.launches > 20)
    }
}
