import Compute
import Configuration
import DeviceInput
import Models
import Randomness
import Training

/// Times training steps on cached photographs with and without augmentation.
///
/// The photographs are eight mini-batches of random bytes, 3/4 as high as wide. Each step draws the
/// augmentation anew, as `train` does.
public struct AugmentationBenchmark {
    private let step: BenchmarkedStep
    private let training: TrainingStep
    private let data: DeviceBatch
    private let cache: ImageCache
    private let photograph: (pixels: RandomBytes, width: Int, height: Int)
    private var count: Int { 8 * step.batch }

    public init(_ step: BenchmarkedStep, device: Device) throws {
        self.step = step
        training = try step.trainingStep(on: device)
        let height = ModelDescription.usualShortSide(imageSize: step.imageSize)
        let width = height * 4 / 3
        var random = Philox(seed: 1, purpose: .benchmark)
        let pixels = RandomBytes(count: 3 * width * height, using: &random)
        photograph = (pixels, width, height)
        let source = try Buffer(device, byteCount: pixels.bytes.count)
        try source.write(UnsafeRawBufferPointer(pixels.bytes)).wait()
        let count = 8 * step.batch
        cache = ImageCache(device: device, capacity: count * (pixels.bytes.count + 32), count: count)
        for sample in 0..<count {
            try cache.insert(sample, from: source, byteOffset: 0, width: Int32(width), height: Int32(height))
        }
        data = try DeviceBatch(device: device, capacity: step.batch)
        data.cache = cache.buffers
    }

    /// Returns the seconds of pairs of steps, without and with augmentation, after one that warms up.
    public func pairs(_ augmentation: Augmentation, count: Int) throws -> [(plain: Double, augmented: Double)]
    {
        let all = try (0...count).map { pair in
            // Both steps of a pair take the same photographs; which one comes first alternates.
            let plainFirst = pair % 2 == 0
            let first = try seconds(plainFirst ? .none : augmentation, step: pair)
            let second = try seconds(plainFirst ? augmentation : .none, step: pair)
            return plainFirst ? (plain: first, augmented: second) : (plain: second, augmented: first)
        }
        return Array(all.dropFirst())
    }

    private func seconds(_ augmentation: Augmentation, step number: Int) throws -> Double {
        try Benchmark.time {
            let records = try (0..<step.batch).map { position in
                let sample = (number * step.batch + position) % count
                guard let entry = cache[sample] else {
                    throw TrainingError("the cache has no photograph \(sample) of \(count)")
                }
                let parameters = AugmentationParameters.draw(
                    augmentation, width: photograph.width, height: photograph.height, size: step.imageSize,
                    seed: 1, epoch: number, sample: sample)
                return CropRecord(
                    parameters, byteOffset: entry.byteOffset, width: entry.width, height: entry.height,
                    source: entry.source, size: step.imageSize)
            }
            try data.upload(
                pixels: UnsafeRawBufferPointer(start: nil, count: 0), owner: photograph.pixels,
                records: records, labels: (0..<step.batch).map { Int32($0 % step.classes) },
                weights: [Float](repeating: 1, count: step.batch))
            try training.run(data, step: number, learningRate: Benchmark.learningRate)
            _ = try Benchmark.finiteLoss(of: number, training)
        }
    }
}
