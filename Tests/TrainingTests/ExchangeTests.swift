@testable import Configuration
@testable import DeviceInput
import Collectives
import Compute
import Foundation
import NeuralNet
import Testing

@testable import Training

/// Training steps of several ranks, which are threads here, against one process with the same micro-batches.
@Suite(.serialized) struct ExchangeTests {
    /// How the gradients of a device are exchanged; by itself a CPU device is `inPlace` and not `threaded`,
    /// any other the other way round.
    struct Mode: CustomTestStringConvertible, Sendable {
        let ranks: Int
        let policy: ExchangePolicy
        let threaded: Bool
        let inPlace: Bool
        var testDescription: String {
            "\(ranks) ranks, \(policy), \(threaded ? "a thread" : "no thread"), \(inPlace ? "in place" : "copied")"
        }
    }

    static let modes = [
        Mode(ranks: 2, policy: .lazy, threaded: false, inPlace: true),
        Mode(ranks: 4, policy: .synchronous, threaded: false, inPlace: true),
        Mode(ranks: 2, policy: .lazy, threaded: true, inPlace: false),
        Mode(ranks: 3, policy: .synchronous, threaded: true, inPlace: false),
        Mode(ranks: 3, policy: .lazy, threaded: true, inPlace: true),
    ]

    private static let steps = 4
    private static let batch = 32

    /// A rank's weights after some steps, the totals of each, and the largest number of steps whose flag was
    /// seen.
    private static func train(_ communicator: ThreadCommunicator?, _ mode: Mode?, clipNorm: Float? = nil)
        throws -> ([[UInt32]], [Float], [Bool])
    {
        // The runtime does not like two contexts being made at once.
        let (device, network) = try setup.withLock {
            let device = try Device.open(DeviceSelector(parsing: "auto"))
            let network = try Network(
                Architecture(parsing: "16,M,16,F32"), imageSize: 12, classes: 5,
                options: Network.Options(maximumBatch: batch / 4, training: true), device: device)
            try network.initialize(seed: 3)
            return (device, network)
        }
        let exchange = try communicator.flatMap { communicator in
            try mode.map { mode in
                try GradientExchange(
                    network.trainedParameters, device: device, communicator: communicator,
                    topology: Topology(microBatches: 4, nodes: communicator.nodes), sizes: sizes,
                    threaded: mode.threaded, inPlace: mode.inPlace)
            }
        }
        let (training, data, images) = try setup.withLock {
            let training = try TrainingStep(
                network: network,
                normalization: Normalization(mean: [0.5, 0.5, 0.5], deviation: [0.25, 0.25, 0.25]),
                batch: batch, microBatches: 4, momentum: 0.9, weightDecay: 0.01,
                clipNorm: clipNorm, seed: 3, exchange: exchange, policy: mode?.policy ?? .lazy)
            let span = exchange?.span ?? MicroBatchSpan(first: 0, count: 4)
            let images = (span.first * batch / 4)..<((span.first + span.count) * batch / 4)
            return (training, try DeviceBatch(device: device, capacity: images.count), images)
        }
        if let exchange {
            // 16 filters of 4·9 inputs with their biases, 16 of 16·9, the fully connected 32·16·36, the
            // classes.
            guard exchange.description == "13 buckets of 0.0 to 0.0 MiB" else {
                throw CollectiveError(exchange.description)
            }
        }
        var losses: [Float] = []
        var flags: [Bool] = []
        for step in 0..<steps {
            try upload(images, step: step, to: data)
            // The last rank asks to stop in step 1.
            training.asksToStop = step == 1 && communicator.map { $0.rank == $0.size - 1 } ?? false
            try training.run(data, step: step, learningRate: 0.05)
            if step > 0 { losses.append(try training.takeTotals(of: step - 1).weight) }
            flags.append(training.isAskedToStop)
        }
        losses.append(try training.takeTotals(of: steps - 1).loss)
        try training.finishUpdate()
        let weights = try network.parameters.map { try network.export($0).map(\.bitPattern) }
        _ = try communicator?.gather([])
        return (weights, losses, flags)
    }

    /// So small that parameters are joined as well as cut.
    private static var sizes: GradientExchange.BucketSizes {
        var sizes = GradientExchange.BucketSizes()
        sizes.joined = 4096
        sizes.cut = 8192
        return sizes
    }

    private static let setup = NSLock()

    private static func upload(_ images: Range<Int>, step: Int, to data: DeviceBatch) throws {
        let bytes = 12 * 12 * 3
        let pixels = TrainingStepTests.Pixels(
            images.flatMap { image in
                (0..<bytes).map {
                    UInt8(truncatingIfNeeded: ((image + step * 100) * 7919 + $0) * 2_654_435_761 >> 11)
                }
            })
        try data.upload(
            pixels: UnsafeRawBufferPointer(pixels.memory), owner: pixels,
            records: images.indices.map {
                CropRecord(
                    byteOffset: UInt64(($0 - images.lowerBound) * bytes),
                    width: 12, height: 12, x: 0, y: 0, mirror: false)
            }, labels: images.map { Int32($0 % 5) }, weights: images.map { _ in 1 })
        try data.wait()
    }

    @Test(arguments: modes) func weightsHaveTheBitsOfOneProcess(_ mode: Mode) throws {
        let (alone, _, _) = try ExchangeTests.train(nil, nil)
        try ThreadCommunicator.run(mode.ranks) { communicator in
            let (weights, losses, flags) = try ExchangeTests.train(communicator, mode)
            guard weights == alone else {
                throw CollectiveError("rank \(communicator.rank) has other weights")
            }
            guard losses.dropLast().allSatisfy({ $0 == Float(ExchangeTests.batch) }), losses[3].isFinite
            else { throw CollectiveError("totals \(losses) are not those of all images") }
            // Seen at the end of step 1, or in the forward pass of step 2.
            guard flags == [false, mode.policy == .synchronous, mode.policy == .lazy, false] else {
                throw CollectiveError("flags \(flags)")
            }
        }
    }

    @Test func clippingSeesAllRanksGradients() throws {
        let mode = Mode(ranks: 2, policy: .lazy, threaded: false, inPlace: true)
        let (alone, _, _) = try ExchangeTests.train(nil, nil, clipNorm: 0.1)
        let (free, _, _) = try ExchangeTests.train(nil, nil)
        #expect(alone != free)
        try ThreadCommunicator.run(2) { communicator in
            let (weights, _, _) = try ExchangeTests.train(communicator, mode, clipNorm: 0.1)
            guard weights == alone else {
                throw CollectiveError("rank \(communicator.rank) has other weights")
            }
        }
    }

    @Test func differingWeightsAreNamed() throws {
        do {
            try ThreadCommunicator.run(3) { communicator in
                let network = try ExchangeTests.setup.withLock {
                    let network = try Network(
                        Architecture(parsing: "16,F16"), imageSize: 8, classes: 3,
                        options: Network.Options(maximumBatch: 1, training: true),
                        device: Device.open(DeviceSelector(parsing: "auto")))
                    try network.initialize(seed: 3)
                    // One bit of one weight.
                    if communicator.rank == 2 {
                        var values = try network.export(network.parameters[2])
                        values[5] = Float(bitPattern: values[5].bitPattern ^ 1)
                        try network.load(network.parameters[2], values)
                    }
                    return network
                }
                try Ranks(communicator).verifyWeights(network, step: 7)
            }
            Issue.record("nothing was noticed")
        } catch let error as TrainingError {
            #expect(
                error.description.contains("after step 7 the weights of classifier.0.weight")
                    && error.description.contains("rank 2 differs"), "\(error)")
        }
    }

    @Test func differingOptionsAreNamed() throws {
        do {
            try ThreadCommunicator.run(2) { communicator in
                try Ranks(communicator).requireSame([
                    ("--seed", "1"), ("--batch", communicator.rank == 1 ? "64" : "32"),
                ])
            }
            Issue.record("nothing was noticed")
        } catch let error as TrainingError {
            #expect(error.description.contains("--batch is 32 on rank 0 and 64 on rank 1"), "\(error)")
        }
    }
}
