import Configuration
import DeviceInput
import Basics
import Training
import Compute
import Foundation
import Models
import NeuralNet
import Randomness

/// Timings of the parts of a training step, on random data.
public enum Benchmark {
    /// A training step's speed.
    public struct Step: Sendable {
        /// Of the median step.
        public let imagesPerSecond: Double
        /// Seconds of each step that was timed.
        public let seconds: [Double]
        public let parameterCount: Int
        /// The last step's mean loss: random data, so only a sign of life. Nil for inference.
        public let loss: Double?
    }

    /// Times the very step function of `train`: input, forward with dropout, loss, backward, momentum and
    /// decay. One step warms up.
    public static func step(
        _ architecture: Architecture, imageSize: Int, classes: Int, batch: Int, microBatches: Int, steps: Int,
        convolution: ConvolutionAlgorithms?, learningRate: Float = Benchmark.learningRate, device: Device
    ) throws -> Step {
        let training = try trainingStep(
            architecture, imageSize: imageSize, classes: classes, batch: batch, microBatches: microBatches,
            convolution: convolution, device: device)
        let data = try DeviceBatch(device: device, capacity: batch)
        try upload(to: data, imageSize: imageSize, classes: classes, batch: batch)
        var loss = 0.0
        var seconds: [Double] = []
        for step in 0...steps {
            let start = ContinuousClock.now
            try training.run(data, step: step, learningRate: learningRate)
            loss = try finiteLoss(of: step, training)
            if step > 0 { seconds.append((ContinuousClock.now - start).seconds) }
        }
        return Step(
            imagesPerSecond: Double(batch) / median(seconds), seconds: seconds,
            parameterCount: training.network.parameters.reduce(0) { $0 + $1.count }, loss: loss)
    }

    /// Low enough for every network to stay finite on random data: a step whose loss is not finite skips the
    /// update, and is faster for it.
    public static let learningRate: Float = 1e-4

    /// Waits for a step, and returns its mean loss.
    ///
    /// - Throws: `TrainingError` if the loss is not finite: such a step's time means nothing.
    static func finiteLoss(of step: Int, _ training: TrainingStep) throws -> Double {
        let totals = try training.takeTotals(of: step)
        let loss = Double(totals.loss / totals.weight)
        guard loss.isFinite else {
            throw TrainingError(
                "the loss of step \(step + 1) is \(loss): a benchmark of it would be too fast")
        }
        return loss
    }

    /// A network with random weights and its step function.
    static func trainingStep(
        _ architecture: Architecture, imageSize: Int, classes: Int, batch: Int, microBatches: Int,
        convolution: ConvolutionAlgorithms?, device: Device
    ) throws -> TrainingStep {
        let network = try Network(
            architecture, imageSize: imageSize, classes: classes,
            options: Network.Options(
                maximumBatch: batch / microBatches, training: true, convolution: convolution),
            device: device)
        try network.initialize(seed: 1)
        return try TrainingStep(
            network: network,
            normalization: Normalization(mean: [0.5, 0.5, 0.5], deviation: [0.25, 0.25, 0.25]),
            batch: batch, microBatches: microBatches, momentum: 0.9, weightDecay: 5e-4, seed: 1)
    }

    /// Seconds of steps on photographs from the cache, each pair one step with `none` and one with
    /// `augmentation`. One pair warms up.
    ///
    /// The photographs are random bytes, 3/4 as high as wide, eight mini-batches of them; what happens to
    /// each is drawn anew in every step, as `train` does.
    public static func augmentedSteps(
        _ architecture: Architecture, imageSize: Int, classes: Int, batch: Int, augmentation: Augmentation,
        pairs: Int, convolution: ConvolutionAlgorithms?, device: Device
    ) throws -> [(plain: Double, augmented: Double)] {
        let training = try trainingStep(
            architecture, imageSize: imageSize, classes: classes, batch: batch, microBatches: 1,
            convolution: convolution, device: device)
        let height = ModelDescription.usualShortSide(imageSize: imageSize)
        let width = height * 4 / 3
        let count = 8 * batch
        var random = Philox(seed: 1, purpose: .benchmark)
        let pixels = RandomBytes(count: 3 * width * height, using: &random)
        let photograph = try Buffer(device, byteCount: pixels.bytes.count)
        try photograph.write(UnsafeRawBufferPointer(pixels.bytes)).wait()
        let cache = ImageCache(device: device, capacity: count * (pixels.bytes.count + 32), count: count)
        for sample in 0..<count {
            try cache.insert(
                sample, from: photograph, byteOffset: 0, width: Int32(width), height: Int32(height))
        }
        let data = try DeviceBatch(device: device, capacity: batch)
        data.cache = cache.slabs

        func seconds(_ augmentation: Augmentation, step: Int) throws -> Double {
            let start = ContinuousClock.now
            let records = try (0..<batch).map { slot in
                let sample = (step * batch + slot) % count
                guard let entry = cache[sample] else {
                    throw TrainingError("the cache has no photograph \(sample) of \(count)")
                }
                let parameters = AugmentationParameters.draw(
                    augmentation, width: width, height: height,
                    size: imageSize, seed: 1, epoch: step, sample: sample)
                return CropRecord(
                    parameters, byteOffset: entry.byteOffset, width: entry.width, height: entry.height,
                    source: entry.source, size: imageSize)
            }
            try data.upload(
                pixels: UnsafeRawBufferPointer(start: nil, count: 0), owner: pixels, records: records,
                labels: (0..<batch).map { Int32($0 % classes) }, weights: [Float](repeating: 1, count: batch))
            try training.run(data, step: step, learningRate: learningRate)
            _ = try finiteLoss(of: step, training)
            return (ContinuousClock.now - start).seconds
        }
        var result: [(plain: Double, augmented: Double)] = []
        for pair in 0...pairs {
            // The photographs of a pair are the same; which of the two comes first alternates.
            let plainFirst = pair % 2 == 0
            let first = try seconds(plainFirst ? .none : augmentation, step: pair)
            let second = try seconds(plainFirst ? augmentation : .none, step: pair)
            if pair > 0 { result.append(plainFirst ? (first, second) : (second, first)) }
        }
        return result
    }

    /// Times forward passes of a network made for inference, the images' way from bytes to input included.
    /// One pass warms up.
    public static func inference(
        _ architecture: Architecture, imageSize: Int, classes: Int, batch: Int, runs: Int,
        convolution: ConvolutionAlgorithms?, device: Device
    ) throws -> Step {
        let network = try Network(
            architecture, imageSize: imageSize, classes: classes,
            options: Network.Options(maximumBatch: batch, training: false, convolution: convolution),
            device: device)
        try network.initialize(seed: 1)
        let input = try ImageInput(
            device: device, size: imageSize,
            normalization: Normalization(mean: [0.5, 0.5, 0.5], deviation: [0.25, 0.25, 0.25]))
        let data = try DeviceBatch(device: device, capacity: batch)
        try upload(to: data, imageSize: imageSize, classes: classes, batch: batch)
        let pass = Pass(batch: batch, training: false)
        var seconds: [Double] = []
        for run in 0...runs {
            let start = ContinuousClock.now
            try input.load(bytes: data.bytes, records: data.records, output: network.input, pass: pass)
            try network.forward(pass)
            _ = try network.logits.read(batch * network.logitsStride, as: Float.self)
            if run > 0 { seconds.append((ContinuousClock.now - start).seconds) }
        }
        return Step(
            imagesPerSecond: Double(batch) / median(seconds), seconds: seconds,
            parameterCount: network.parameters.reduce(0) { $0 + $1.count }, loss: nil)
    }

    /// Seconds of each pass of one fully connected layer, run by run, by the device's clock; backward-weights
    /// includes the bias. One run warms up.
    ///
    /// - Parameter device: opened for profiling
    public static func fullyConnected(inputs: Int, outputs: Int, batch: Int, runs: Int, device: Device) throws
        -> [(pass: LayerPass, seconds: [Double])]
    {
        guard let profile = device.profile else {
            throw TrainingError("a layer's times need a device that was opened for profiling")
        }
        let plan = LayerPlan(
            FullyConnectedSpec(units: outputs),
            input: FeatureShape(height: 1, width: 1, channels: inputs), device: device.description)
        let layer = try plan.spec.makeLayer(plan, device: device)
        var random = Philox(seed: 1, purpose: .benchmark)
        func buffer(_ count: Int) throws -> Buffer {
            try Buffer(device, (0..<count).map { _ in random.uniform(in: -1...1) })
        }
        let input = try buffer(batch * layer.inputShape.storedCount)
        let output = try buffer(batch * layer.outputShape.storedCount)
        let outputGradient = try buffer(batch * layer.outputShape.storedCount)
        let inputGradient = try buffer(batch * layer.inputShape.storedCount)
        let weights = try layer.parameters.map { try buffer($0.storedCount) }
        let gradients = try layer.parameters.map { try buffer($0.storedCount) }
        let workspace = try Buffer(device, byteCount: layer.workspaceByteCount(maximumBatch: batch))
        try layer.prepare(weights: weights, workspace: workspace, maximumBatch: batch)
        var seconds: [LayerPass: [Double]] = [:]
        let pass = Pass(batch: batch, training: true)
        for run in 0...runs {
            profile.begin("", pass: LayerPass.forward.rawValue)
            try layer.forward(input: input, output: output, pass: pass)
            profile.begin("", pass: LayerPass.backwardWeights.rawValue)
            try layer.backward(
                input: input, output: output, outputGradient: outputGradient, inputGradient: inputGradient,
                parameterGradients: gradients, pass: pass)
            var sums: [String: Double] = [:]
            for entry in try profile.collect() { sums[entry.pass, default: 0] += entry.seconds }
            for pass in LayerPass.allCases where run > 0 {
                seconds[pass, default: []].append(sums[pass.rawValue] ?? 0)
            }
        }
        return LayerPass.allCases.map { ($0, seconds[$0] ?? []) }
    }

    static func upload(to data: DeviceBatch, imageSize: Int, classes: Int, batch: Int) throws {
        var random = Philox(seed: 1, purpose: .benchmark)
        let imageBytes = imageSize * imageSize * 3
        let pixels = RandomBytes(count: batch * imageBytes, using: &random)
        let records = (0..<batch).map {
            CropRecord(
                byteOffset: UInt64($0 * imageBytes), width: Int32(imageSize), height: Int32(imageSize), x: 0,
                y: 0, mirror: $0 % 2 == 1)
        }
        try data.upload(
            pixels: UnsafeRawBufferPointer(pixels.bytes), owner: pixels, records: records,
            labels: (0..<batch).map { _ in Int32(random.integer(below: classes)) },
            weights: [Float](repeating: 1, count: batch))
        try data.wait()
    }

    /// A matrix product's speed.
    public struct Product: Sendable {
        /// 10⁹ multiplications and additions a second, of the median run.
        public let gflops: Double
        public let seconds: [Double]
    }

    /// Times C = A · B of `size`³ from row-major matrices, B's packing included.
    public static func product(size: Int, runs: Int, device: Device) throws -> Product {
        let product = try MatrixProduct(device: device)
        let columns = (size + 15) / 16 * 16
        var random = Philox(seed: 1, purpose: .benchmark)
        let values = (0..<size * size).map { _ in random.uniform(in: -1...1) }
        let a = try Buffer(device, values)
        let b = try Buffer(device, values)
        let panels = try Buffer(device, floatCount: columns * size)
        let c = try Buffer(device, floatCount: size * columns)
        var seconds: [Double] = []
        for run in 0...runs {
            let start = ContinuousClock.now
            try product.pack(b, into: panels, k: size, n: size)
            try product.multiply(
                .init(a, columns: size), .panels(panels, rows: size), into: .rowMajor(c, columns: columns),
                size: .init(m: size, n: columns, k: size))
            try device.finish()
            if run > 0 { seconds.append((ContinuousClock.now - start).seconds) }
        }
        let operations = 2 * Double(size) * Double(size) * Double(size)
        return Product(gflops: operations / median(seconds) * 1e-9, seconds: seconds)
    }

    /// Bytes a second, in 10⁹, of a pass that reads two arrays and writes one, each of `floatCount` floats.
    public static func bandwidth(floatCount: Int, runs: Int, device: Device) throws -> Double {
        let sum = try Buffer(device, floatCount: floatCount)
        let addend = try Buffer(device, floatCount: floatCount)
        try sum.clear()
        try addend.clear()
        let kernel = try device.kernel("optimizer", "gradient_add")
        var seconds: [Double] = []
        for run in 0...runs {
            let start = ContinuousClock.now
            try kernel.launch([floatCount], local: [256], sum, addend, UInt64(floatCount))
            try device.finish()
            if run > 0 { seconds.append((ContinuousClock.now - start).seconds) }
        }
        return 12 * Double(floatCount) / median(seconds) * 1e-9
    }

    /// The middle of the values, or the mean of the two in the middle.
    public static func median(_ values: [Double]) -> Double {
        let sorted = values.sorted()
        return sorted.count % 2 == 1
            ? sorted[sorted.count / 2] : (sorted[sorted.count / 2 - 1] + sorted[sorted.count / 2]) / 2
    }
}

/// Random pixels that live as long as an upload needs them.
private final class RandomBytes {
    let bytes: UnsafeMutableRawBufferPointer

    init(count: Int, using random: inout Philox) {
        bytes = .allocate(byteCount: count, alignment: 4096)
        for index in bytes.indices { bytes[index] = UInt8(truncatingIfNeeded: random.nextWord() >> 24) }
    }

    deinit { bytes.deallocate() }
}
