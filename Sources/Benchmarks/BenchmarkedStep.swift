import Compute
import Configuration
import DeviceInput
import NeuralNet
import Randomness
import Training

/// Describes the training step, or the forward pass, that a benchmark times.
public struct BenchmarkedStep: Sendable {
    public var architecture: Architecture
    public var imageSize, classes, batch, microBatches: Int
    public var slices = Slices.standard
    public var optimizer: UpdateRule.Method
    public var convolution: ConvolutionAlgorithms?

    public init(
        _ architecture: Architecture, imageSize: Int, classes: Int, batch: Int, microBatches: Int = 1,
        optimizer: UpdateRule.Method = .sgd, convolution: ConvolutionAlgorithms? = nil
    ) {
        (self.architecture, self.convolution) = (architecture, convolution)
        (self.imageSize, self.classes) = (imageSize, classes)
        (self.batch, self.microBatches) = (batch, microBatches)
        self.optimizer = optimizer
    }

    static let normalization = Normalization(mean: [0.5, 0.5, 0.5], deviation: [0.25, 0.25, 0.25])

    func options(training: Bool, split: LayerSplit? = nil) -> Network.Options {
        Network.Options(
            maximumBatch: batch / microBatches, training: training,
            convolution: convolution, slices: slices, split: split)
    }

    /// Returns the network with random weights.
    func network(training: Bool, split: LayerSplit? = nil, on device: Device) throws -> Network {
        let network = try Network(
            architecture, imageSize: imageSize, classes: classes,
            options: options(training: training, split: split), device: device)
        try network.initialize(seed: 1)
        return network
    }

    /// Returns the step function of `train` for the network.
    ///
    /// - Parameters:
    ///   - split: how hidden fully connected layers are split over the ranks; nil if they are not
    ///   - connect: makes the exchange with other ranks for a network; nil if there are none
    func trainingStep(
        on device: Device, policy: ExchangePolicy = .lazy, split: LayerSplit? = nil,
        connect: ((Network) throws -> (GradientExchange, HybridLayers?))? = nil
    ) throws -> TrainingStep {
        let network = try network(training: true, split: split, on: device)
        let connection = try connect?(network)
        return try TrainingStep(
            network: network, normalization: BenchmarkedStep.normalization,
            batch: batch, microBatches: microBatches,
            rule: UpdateRule(optimizer, weightDecay: 5e-4), seed: 1,
            exchange: connection?.0, hybrid: connection?.1, policy: policy)
    }

    /// Returns a mini-batch of random images and labels on the device.
    func randomBatch(on device: Device) throws -> DeviceBatch {
        let data = try DeviceBatch(device: device, capacity: batch)
        var random = Philox(seed: 1, purpose: .benchmark)
        let imageBytes = imageSize * imageSize * 3
        let pixels = RandomBytes(count: batch * imageBytes, using: &random)
        let records = (0..<batch).map {
            CropRecord(
                byteOffset: UInt64($0 * imageBytes), width: Int32(imageSize), height: Int32(imageSize),
                x: 0, y: 0, mirror: $0 % 2 == 1)
        }
        try data.upload(
            pixels: UnsafeRawBufferPointer(pixels.bytes), owner: pixels, records: records,
            labels: (0..<batch).map { _ in Int32(random.integer(below: classes)) },
            weights: [Float](repeating: 1, count: batch))
        try data.wait()
        return data
    }
}

/// Owns random bytes for as long as an upload needs them.
final class RandomBytes {
    let bytes: UnsafeMutableRawBufferPointer

    init(count: Int, using random: inout Philox) {
        bytes = .allocate(byteCount: count, alignment: 4096)
        for index in bytes.indices { bytes[index] = UInt8(truncatingIfNeeded: random.nextWord() >> 24) }
    }

    deinit { bytes.deallocate() }
}
