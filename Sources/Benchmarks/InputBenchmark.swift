import Basics
import Compute
import DeviceInput
import NeuralNet
import Photographs

/// Times the way from photographs' files to the network's input.
public struct InputBenchmark {
    /// Archives, or a folder with photographs at any depth.
    public var folder: String
    public var imageSize, shortSide, batch, workers: Int
    /// The photographs of a pass, for which files repeat if there are fewer, and the timed passes.
    public var images, rounds: Int
    public var augmentation: Augmentation

    public init(
        folder: String, imageSize: Int, shortSide: Int, batch: Int, workers: Int, images: Int, rounds: Int,
        augmentation: Augmentation
    ) {
        (self.folder, self.imageSize, self.shortSide, self.batch) = (folder, imageSize, shortSide, batch)
        (self.workers, self.images, self.rounds) = (workers, images, rounds)
        self.augmentation = augmentation
    }

    /// Holds the photographs a second of each round of one pass.
    public struct Result: Sendable {
        public let name: String
        /// The pass's name in JSON.
        public let key: String
        public fileprivate(set) var rates: [Double] = []
        public var median: Double { Benchmark.median(rates) }
    }

    /// Runs every pass once to warm up, then `rounds` times in turn.
    public func run(on device: Device) throws -> [Result] {
        let set = try readableFiles()
        let passes = try Passes(self, set: set, device: device)
        let order = (0..<images).map { $0 % set.count }
        func read() -> Double { Benchmark.time { set.readFiles(order, workers: workers) } }
        func cold(_ run: () throws -> Double) throws -> Double {
            set.forgetFiles()
            return try run()
        }
        let everything = augmentation.with(probability: 1)
        let runs: [(name: String, key: String, run: () throws -> Double)] = [
            ("read", "read", read), ("read, cold files", "read_cold", { try cold(read) }),
            ("decode", "decode", { try passes.decode() }),
            ("decode what crops read", "decode_needed", { try passes.decode(for: augmentation) }),
            ("decode, augment", "decode_augment", { try passes.load(isCached: false) }),
            (
                "decode, augment, cold files", "decode_augment_cold",
                { try cold { try passes.load(isCached: false) } }
            ),
            ("cached, augment", "cached", { try passes.load(isCached: true) }),
            ("only augment, all kinds", "augment_all", { try passes.augment(everything) }),
            ("only augment, crop and mirror", "augment_standard", { try passes.augment(.standard) }),
        ]
        var results = runs.map { Result(name: $0.name, key: $0.key) }
        for round in 0...rounds {
            for (index, pass) in runs.enumerated() {
                let seconds = try pass.run()
                if round > 0 { results[index].rates.append(Double(images) / seconds) }
            }
        }
        return results
    }

    /// Returns the files that can be decoded; the others would be timed as grey squares.
    private func readableFiles() throws -> ImageSet {
        let set = try ImageSet.anywhere(in: folder).statisticsSample(limit: images).readable(
            shortSide: shortSide)
        guard set.count > 0 else {
            throw DatasetError(.emptyClass, "\(folder): no photograph in it that can be read")
        }
        return set
    }

    /// The photographs with what brings them to the device.
    private final class Passes {
        private let benchmark: InputBenchmark
        private let set: ImageSet
        private let device: Device
        private let input: ImageInput
        private let output: Buffer
        private let batches: [DeviceBatch]
        private let cache: ImageCache
        private var count: Int { benchmark.images }
        private var batch: Int { benchmark.batch }
        private var imageSize: Int { benchmark.imageSize }

        init(_ benchmark: InputBenchmark, set: ImageSet, device: Device) throws {
            (self.benchmark, self.set, self.device) = (benchmark, set, device)
            input = try ImageInput(
                device: device, size: benchmark.imageSize,
                normalization: Normalization(mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225]))
            output = try Buffer(
                device, floatCount: benchmark.batch * benchmark.imageSize * benchmark.imageSize * 4)
            batches = try (0..<2).map { _ in try DeviceBatch(device: device, capacity: benchmark.batch) }
            cache = ImageCache(
                device: device,
                capacity: ImageCache.automaticCapacity(
                    of: device.description, allocated: device.allocatedBytes), count: set.count)
        }

        /// - Parameter augmentation: the photographs are decoded for it; nil decodes all of each
        private func loader(isCached: Bool, for augmentation: Augmentation? = nil) -> BatchLoader {
            let (index, count, batch) = (cache.index, count, batch)
            return BatchLoader(
                set: set, shortSide: benchmark.shortSide, workers: benchmark.workers,
                isCached: { isCached && index.contains($0) },
                need: { [imageSize] batch, sample in
                    augmentation.map { augmentation in
                        { width, height in
                            let parameters = AugmentationParameters.draw(
                                augmentation, width: width, height: height, size: imageSize, seed: 1,
                                epoch: batch, sample: sample)
                            return CropRecord(
                                parameters, byteOffset: 0, width: Int32(width),
                                height: Int32(height), size: imageSize
                            ).pixelsRead(size: imageSize)
                        }
                    }
                }, memory: device.batchMemory
            ) { [files = set.count] number in
                let start = number * batch
                return start < count ? (start..<min(count, start + batch)).map { $0 % files } : nil
            }
        }

        func decode(for augmentation: Augmentation? = nil) throws -> Double {
            try Benchmark.time {
                let loader = loader(isCached: false, for: augmentation)
                while let host = try loader.next() { host.release() }
                loader.stop()
            }
        }

        func load(isCached: Bool) throws -> Double {
            let (augmentation, imageSize) = (benchmark.augmentation, imageSize)
            return try Benchmark.time {
                let loader = loader(isCached: isCached, for: isCached ? nil : augmentation)
                while let host = try loader.next() {
                    let target = batches[host.index % batches.count]
                    try target.upload(host, size: imageSize, cache: isCached ? cache : nil) {
                        width, height, sample in
                        .draw(
                            augmentation, width: width, height: height, size: imageSize, seed: 1,
                            epoch: host.index, sample: sample)
                    }
                    try make(target, count: host.count)
                    try device.flush()
                }
                try device.finish()
                loader.stop()
            }
        }

        /// Augments from the cache, which `load` has filled, without the loader.
        func augment(_ augmentation: Augmentation) throws -> Double {
            let seen = (0..<set.count).compactMap { sample in cache[sample].map { (sample, $0) } }
            guard !seen.isEmpty else { return .infinity }
            let buffers = try stride(from: 0, to: count, by: batch).map { start in
                try Buffer(
                    device,
                    (start..<min(count, start + batch)).map { number in
                        let (sample, entry) = seen[number % seen.count]
                        let parameters = AugmentationParameters.draw(
                            augmentation, width: Int(entry.width), height: Int(entry.height), size: imageSize,
                            seed: 1, epoch: number / seen.count, sample: sample)
                        return CropRecord(
                            parameters, byteOffset: entry.byteOffset, width: entry.width,
                            height: entry.height, source: entry.source, size: imageSize)
                    })
            }
            return try Benchmark.time {
                for (index, records) in buffers.enumerated() {
                    try input.load(
                        bytes: batches[0].bytes, cache: cache.buffers, records: records, output: output,
                        pass: Pass(batch: min(batch, count - index * batch), training: true))
                }
                try device.finish()
            }
        }

        private func make(_ batchOnDevice: DeviceBatch, count: Int) throws {
            try input.load(
                bytes: batchOnDevice.bytes, cache: batchOnDevice.cache, records: batchOnDevice.records,
                output: output, pass: Pass(batch: count, training: true))
        }
    }
}
