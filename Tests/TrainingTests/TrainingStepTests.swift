import Compute
import NeuralNet
import TestSupport
import Testing

@testable import DeviceInput
@testable import Training

/// One step on random images, on the device that `auto` names.
@Suite(.serialized) struct TrainingStepTests {
    static let batch = 64
    static let size = 12
    static let classes = 5
    static let normalization = Normalization(mean: [0.5, 0.5, 0.5], deviation: [0.25, 0.25, 0.25])

    /// A network with its training step; two of these differ only by their options, never by a seed.
    final class Bench {
        let device: Device
        let network: Network
        let training: TrainingStep
        let data: DeviceBatch

        init(
            batch: Int = TrainingStepTests.batch, microBatches: Int = 1, clipNorm: Float? = nil,
            momentum: Float = 0.9, weightDecay: Float = 0.01, freezes: Bool = false, profiling: Bool = false
        ) throws {
            device = try Device.open(DeviceSelector(parsing: "auto"), profiling: profiling)
            network = try Network(
                Architecture(parsing: "16,M,16,F16"), imageSize: TrainingStepTests.size,
                classes: TrainingStepTests.classes,
                options: Network.Options(
                    maximumBatch: batch / microBatches, training: true, freezesFeatures: freezes),
                device: device)
            try network.initialize(seed: 3)
            training = try TrainingStep(
                network: network, normalization: TrainingStepTests.normalization,
                batch: batch, microBatches: microBatches,
                rule: UpdateRule(momentum: momentum, weightDecay: weightDecay, clipNorm: clipNorm), seed: 3)
            data = try DeviceBatch(device: device, capacity: batch)
            try upload(0..<batch)
        }

        func upload(_ images: Range<Int>, weight: (Int) -> Float = { _ in 1 }) throws {
            try data.upload(
                images, classes: TrainingStepTests.classes, side: TrainingStepTests.size, weight: weight)
        }

        /// Checks that further steps on the same images lower the loss clearly.
        func expectLearns(
            from step: Int, rate: Float = 0.05, sourceLocation: SourceLocation = #_sourceLocation
        ) throws {
            var losses: [Double] = []
            for step in step..<step + 10 {
                try training.run(data, step: step, learningRate: rate)
                let totals = try totals(step)
                losses.append(Double(totals.loss / totals.weight))
            }
            expectLearnt(losses, classes: TrainingStepTests.classes, sourceLocation: sourceLocation)
        }

        func totals(_ step: Int) throws -> SoftmaxCrossEntropy.Totals { try training.takeTotals(of: step) }

        var gradients: [[Float]] {
            get throws {
                try network.trainedParameters.map { try training.gradients[$0].read($0.storedCount) }
            }
        }

        var weights: [[Float]] { get throws { try network.parameters.map { try network.export($0) } } }
    }

    @Test func microBatchesAreAccumulated() throws {
        let whole = try Bench(microBatches: 4, momentum: 0, weightDecay: 0)
        try whole.training.run(whole.data, step: 0, learningRate: 0)
        let loss = try whole.totals(0)

        // The same images as four batches of 16, added by hand in the tree (0 + 1) + (2 + 3). Dropout's masks
        // are keyed by the place in the mini-batch, so each quarter is put in its own place, and the other
        // three are silenced by weight 0.
        var parts: [[[Float]]] = []
        for quarter in 0..<4 {
            let single = try Bench(microBatches: 4, momentum: 0, weightDecay: 0)
            try single.upload(0..<64) { $0 / 16 == quarter ? 1 : 0 }
            try single.training.run(single.data, step: 0, learningRate: 0)
            parts.append(try single.gradients)
        }
        let sums = parts[0].indices.map { parameter in
            parts[0][parameter].indices.map {
                (parts[0][parameter][$0] + parts[1][parameter][$0])
                    + (parts[2][parameter][$0] + parts[3][parameter][$0])
            }
        }
        #expect(try whole.gradients == sums)
        #expect(sums[0].contains { $0 != 0 })
        #expect(loss.weight == 64)
        try whole.expectLearns(from: 1, rate: 0.4)  // without momentum
    }

    @Test func oneMicroBatchCostsNothing() throws {
        let one = try Bench(microBatches: 1, profiling: true)
        try one.training.run(one.data, step: 0, learningRate: 0.1)
        let kernels = try one.device.profile?.collect().map(\.kernel) ?? []
        #expect(
            kernels.contains("sgd_momentum") && !kernels.contains("gradient_add")
                && !kernels.contains("sum_of_squares"))
    }

    @Test(arguments: [1, 4]) func gradientsAreReadyOnceAndWhole(_ microBatches: Int) throws {
        let bench = try Bench(microBatches: microBatches)
        var order: [Int] = []
        var seen: [Int: [Float]] = [:]
        try bench.training.run(bench.data, step: 0, learningRate: 0.1) { parameter in
            order.append(parameter.index)
            seen[parameter.index] = try bench.training.gradients[parameter].read(parameter.storedCount)
        }
        // From the last layer to the first, each parameter once, and nothing was added after the call.
        let layers = order.map { $0 / 2 }
        #expect(layers == layers.sorted(by: >))
        #expect(order.sorted() == bench.network.parameters.map(\.index))
        for (parameter, gradient) in zip(bench.network.parameters, try bench.gradients) {
            #expect(seen[parameter.index] == gradient)
        }
    }

    @Test func clipping() throws {
        let free = try Bench(momentum: 0, weightDecay: 0)
        let before = try free.weights
        try free.training.run(free.data, step: 0, learningRate: 1)
        let gradients = try free.gradients.flatMap { $0 }
        let norm = gradients.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
        let change = zip(before.flatMap { $0 }, try free.weights.flatMap { $0 }).map { Double($0 - $1) }

        let clipped = try Bench(clipNorm: Float(norm / 4), momentum: 0, weightDecay: 0)
        try clipped.training.run(clipped.data, step: 0, learningRate: 1)
        let clippedChange = zip(before.flatMap { $0 }, try clipped.weights.flatMap { $0 }).map {
            Double($0 - $1)
        }
        // A float32 difference of weights of about 1: half a unit in the last place, 6e-8, on each side.
        for (full, quarter) in zip(change, clippedChange) {
            #expect(abs(quarter - full / 4) < 3e-7 + 1e-5 * abs(full))
        }
        #expect(norm > 0.1)

        // A norm below the limit leaves the bits alone.
        let loose = try Bench(clipNorm: Float(norm * 1.01), momentum: 0, weightDecay: 0)
        try loose.training.run(loose.data, step: 0, learningRate: 1)
        #expect(try loose.weights == free.weights)
        let start = try Bench()
        try start.expectLearns(from: 0)
    }

    @Test(arguments: [false, true]) func notFiniteStopsTheUpdates(_ clips: Bool) throws {
        let bench = try Bench(clipNorm: clips ? 1 : nil)
        var values = try bench.network.export(bench.network.parameters[2])
        let good = values
        values[5] = .infinity
        try bench.network.load(bench.network.parameters[2], values)
        let before = try bench.weights
        try bench.training.run(bench.data, step: 0, learningRate: 0.1)
        #expect(try bench.totals(0).loss.isNaN)
        #expect(try bench.weights == before)
        let place = try bench.training.firstNotFinite(bench.data, step: 0)
        #expect(place == "features.3.weight, weights of layer 3 (conv 16→16)")
        // Mended weights come too late: the run has to be stopped.
        try bench.network.load(bench.network.parameters[2], good)
        try bench.training.run(bench.data, step: 1, learningRate: 0.1)
        #expect(try bench.totals(1).loss.isNaN)
    }

    @Test func overflowNamesTheLayer() throws {
        let bench = try Bench()
        // Finite weights whose products are not.
        for index in [0, 2, 4] {
            let parameter = bench.network.parameters[index]
            try bench.network.load(parameter, [Float](repeating: 1e25, count: parameter.count))
        }
        let before = try bench.weights
        try bench.training.run(bench.data, step: 0, learningRate: 0.1)
        #expect(try bench.totals(0).loss.isNaN)
        #expect(try bench.weights == before)
        #expect(
            try bench.training.firstNotFinite(bench.data, step: 0) == "the output of layer 3 (conv 16→16)")
    }

    @Test func frozenFeatures() throws {
        let bench = try Bench(freezes: true, profiling: true)
        let before = try bench.weights
        try bench.training.run(bench.data, step: 0, learningRate: 0.1)
        let after = try bench.weights
        #expect(Array(before[..<4]) == Array(after[..<4]))
        for index in 4..<before.count { #expect(before[index] != after[index]) }
        let backward =
            try bench.device.profile?.collect().filter { $0.pass.contains("backward") }.map(\.label) ?? []
        #expect(backward.contains { $0.contains("fc") })
        #expect(!backward.contains { $0.contains("conv") })
        // What is learnt above frozen layers is what is learnt there without freezing, in the first step.
        let free = try Bench()
        try free.training.run(free.data, step: 0, learningRate: 0.1)
        #expect(try Array(free.weights[4...]) == Array(after[4...]))
        try free.expectLearns(from: 1)
    }
}
