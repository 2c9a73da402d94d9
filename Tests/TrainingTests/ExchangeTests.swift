import Collectives
import Compute
import Foundation
import NeuralNet
import TestSupport
import Testing

@testable import Configuration
@testable import DeviceInput
@testable import Training

/// Compares steps of several ranks, here threads, with those of one process with the same micro-batches.
@Suite(.serialized) struct ExchangeTests {
    /// How gradients are exchanged; by default a CPU device is `inPlace`, and on one machine not `threaded`.
    struct Mode: CustomTestStringConvertible, Sendable {
        let ranks: Int
        let policy: ExchangePolicy
        let threaded: Bool
        let inPlace: Bool
        var testDescription: String {
            "\(ranks) ranks, \(policy), \(threaded ? "a" : "no") thread, \(inPlace ? "in place" : "copied")"
        }
    }

    static let modes = [
        Mode(ranks: 2, policy: .lazy, threaded: false, inPlace: true),
        Mode(ranks: 4, policy: .synchronous, threaded: false, inPlace: true),
        Mode(ranks: 2, policy: .lazy, threaded: true, inPlace: false),
        Mode(ranks: 3, policy: .synchronous, threaded: true, inPlace: false),
        Mode(ranks: 3, policy: .lazy, threaded: true, inPlace: true),
    ]

    private static let steps = 12
    private static let batch = 32

    /// A rank's weights after all steps, each step's totals, and whether the rank was asked to stop by then.
    struct Outcome {
        var weights: [[UInt32]] = []
        /// The weights themselves without an average.
        var averages: [[UInt32]] = []
        var totals: [SoftmaxCrossEntropy.Totals] = []
        var flags: [Bool] = []

        var losses: [Double] { totals.map { Double($0.loss / $0.weight) } }
    }

    private static func train(
        _ communicator: ThreadCommunicator? = nil, _ mode: Mode = modes[0], clipNorm: Float? = nil,
        averageDecay: Double? = nil, lossRule: LossRule = LossRule()
    ) throws -> Outcome {
        // The runtime does not like two contexts being made at once.
        let (device, network) = try setup.withLock {
            let device = try Device.open(DeviceSelector(parsing: "auto"))
            let network = try Network(
                Architecture(parsing: "16,M,16,F32"), imageSize: 12, classes: 5,
                options: Network.Options(maximumBatch: batch / 4, training: true), device: device)
            try network.initialize(seed: 3)
            return (device, network)
        }
        let exchange = try communicator.map {
            // The buckets are so small that parameters are joined as well as cut.
            try GradientExchange(
                network.trainedParameters, device: device, communicator: $0,
                topology: Topology(microBatches: 4, nodes: $0.nodes), sizes: .init(joined: 4096, cut: 8192),
                threaded: mode.threaded, inPlace: mode.inPlace)
        }
        let (training, data, images) = try setup.withLock {
            let rule = UpdateRule(weightDecay: 0.01, clipNorm: clipNorm, averageDecay: averageDecay)
            let training = try TrainingStep(
                network: network, normalization: TrainingStepTests.normalization,
                batch: batch, microBatches: 4, rule: rule, lossRule: lossRule,
                seed: 3, exchange: exchange, policy: mode.policy)
            let span = exchange?.span ?? MicroBatchSpan(first: 0, count: 4)
            let images = (span.first * batch / 4)..<((span.first + span.count) * batch / 4)
            return (training, try DeviceBatch(device: device, capacity: images.count), images)
        }
        if let exchange {
            // 16 filters of 4·9 inputs with biases, 16 of 16·9, the fully connected 32·16·36, the classes.
            guard exchange.description == "13 buckets of 0.0 to 0.0 MiB" else {
                throw CollectiveError(exchange.description)
            }
        }
        var outcome = Outcome()
        for step in 0..<steps {
            // Two images could not be read.
            func weight(_ image: Int) -> Float { lossRule.mixup != nil && [3, 21].contains(image) ? 0 : 1 }
            let shares = training.shares(step: step, weights: images.map(weight))
            try data.upload(
                images, classes: 5, side: 12, variant: step, weight: weight, shares: shares)
            // The last rank asks to stop in step 1.
            training.asksToStop = step == 1 && communicator.map { $0.rank == $0.size - 1 } ?? false
            try training.run(data, step: step, learningRate: 0.05)
            if step > 0 { outcome.totals.append(try training.takeTotals(of: step - 1)) }
            outcome.flags.append(training.isAskedToStop)
        }
        outcome.totals.append(try training.takeTotals(of: steps - 1))
        try training.finishUpdate()
        func weights() throws -> [[UInt32]] {
            try network.parameters.map { try network.export($0).map(\.bitPattern) }
        }
        outcome.weights = try weights()
        outcome.averages = try training.withAveragedWeights { try weights() }
        guard try weights() == outcome.weights else { throw CollectiveError("the average stays") }
        try communicator?.barrier()
        return outcome
    }

    private static let setup = NSLock()

    @Test(arguments: modes) func weightsHaveTheBitsOfOneProcess(_ mode: Mode) throws {
        let alone = try ExchangeTests.train()
        expectLearnt(alone.losses, classes: 5)
        try ThreadCommunicator.run(mode.ranks) { communicator in
            let ranks = try ExchangeTests.train(communicator, mode)
            guard ranks.weights == alone.weights else {
                throw CollectiveError("rank \(communicator.rank) has other weights")
            }
            guard ranks.totals.allSatisfy({ $0.weight == Float(ExchangeTests.batch) && $0.loss.isFinite })
            else { throw CollectiveError("totals \(ranks.totals) are not those of all images") }
            // Seen at the end of step 1, or in the forward pass of step 2.
            let seen = mode.policy == .synchronous ? 1 : 2
            guard ranks.flags == (0..<ExchangeTests.steps).map({ $0 == seen }) else {
                throw CollectiveError("flags \(ranks.flags)")
            }
        }
    }

    @Test func clippingSeesAllRanksGradients() throws {
        let alone = try ExchangeTests.train(clipNorm: 0.5)
        expectLearnt(alone.losses, classes: 5)
        #expect(try ExchangeTests.train().weights != alone.weights)
        try ThreadCommunicator.run(2) { communicator in
            let ranks = try ExchangeTests.train(communicator, clipNorm: 0.5)
            guard ranks.weights == alone.weights else {
                throw CollectiveError("rank \(communicator.rank) has other weights")
            }
        }
    }

    /// Soft targets, mixed images and averaged weights; images that could not be read are mixed into none.
    @Test(arguments: [modes[0], modes[1], modes[3]]) func optionsHaveTheBitsOfOneProcess(_ mode: Mode) throws
    {
        let rule = LossRule(smoothing: 0.1, classWeights: [0.5, 1, 2, 0.75, 1.5], mixup: 0.3)
        let alone = try ExchangeTests.train(averageDecay: 0.8, lossRule: rule)
        expectLearnt(alone.losses, classes: 5)
        #expect(alone.averages != alone.weights)
        // Each part of the rule has an effect.
        for change in [{ $0.smoothing = 0 }, { $0.classWeights = nil }, { $0.mixup = nil }]
            as [(inout LossRule) -> Void]
        {
            var other = rule
            change(&other)
            #expect(try ExchangeTests.train(averageDecay: 0.8, lossRule: other).weights != alone.weights)
        }
        // An average changes no weight.
        #expect(try ExchangeTests.train(lossRule: rule).weights == alone.weights)
        try ThreadCommunicator.run(mode.ranks) { communicator in
            let ranks = try ExchangeTests.train(communicator, mode, averageDecay: 0.8, lossRule: rule)
            guard ranks.weights == alone.weights, ranks.averages == alone.averages else {
                throw CollectiveError("rank \(communicator.rank) has other weights")
            }
        }
    }

    /// Over messages between machines a thread is faster on CPU devices too; on one machine it takes a core.
    @Test func messagesBetweenMachinesHaveAThread() throws {
        func needsThread(_ kind: DeviceDescription.Kind, _ nodes: [[Int]], hasWindows: Bool) throws -> Bool {
            let topology = try Topology(microBatches: 4, nodes: nodes, hasWindows: hasWindows)
            return GradientExchange.needsThread(kind, topology)
        }
        for nodes in [[[0], [1]], [[0, 1], [2, 3]], [[0, 1], [2]]] {
            #expect(try needsThread(.cpu, nodes, hasWindows: false), "\(nodes)")
            #expect(try !needsThread(.cpu, nodes, hasWindows: true), "\(nodes)")
            #expect(try needsThread(.gpu, nodes, hasWindows: true), "\(nodes)")
        }
        #expect(try !needsThread(.cpu, [[0, 1]], hasWindows: false))
        #expect(try needsThread(.gpu, [[0, 1]], hasWindows: false))
    }

    @Test func differingWeightsAreNamed() throws {
        let error = #expect(throws: TrainingError.self) {
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
        }
        let message = error?.description ?? ""
        #expect(message.contains("after step 7 the weights of classifier.0.weight"), "\(message)")
        #expect(message.contains("rank 2 differs"), "\(message)")
    }

    @Test func differingOptionsAreNamed() throws {
        let error = #expect(throws: TrainingError.self) {
            try ThreadCommunicator.run(2) { communicator in
                let batch = communicator.rank == 1 ? "64" : "32"
                try Ranks(communicator).requireSame([("seed", "1"), ("batch", batch)])
            }
        }
        let message = error?.description ?? ""
        #expect(message.contains("batch is 32 on rank 0 and 64 on rank 1"), "\(message)")
    }
}
