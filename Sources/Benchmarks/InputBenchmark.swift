import DeviceInput
import Basics
import Compute
import Foundation
import Photographs
import NeuralNet

/// Times the way from files to the network's input.
public enum InputBenchmark {
    /// One way to get images, in images a second for each round.
    public struct Way: Sendable {
        public let name: String
        /// In JSON.
        public let key: String
        public fileprivate(set) var rates: [Double] = []
        public var median: Double { Benchmark.median(rates) }
    }

    /// Runs every pass once to warm up, then `rounds` times in turn.
    ///
    /// - Parameters:
    ///   - folder: has JPEG files at any depth.
    ///   - images: of a pass; files repeat where there are fewer.
    public static func run(
        folder: String, imageSize: Int, shortSide: Int, batch: Int, workers: Int, images: Int, rounds: Int,
        augmentation: Augmentation, device: Device
    ) throws -> [Way] {
        let set = try readableFiles(folder, shortSide: shortSide)
        let source = try Source(
            set: set, imageSize: imageSize, shortSide: shortSide, batch: batch, workers: workers,
            count: images, device: device)
        let everything = augmentation.with(probability: 1)
        let runs: [(Way, () throws -> Double)] = [
            (Way(name: "decode", key: "decode"), { try source.decode() }),
            (
                Way(name: "decode what crops read", key: "decode_needed"),
                { try source.decode(for: augmentation) }
            ),
            (
                Way(name: "decode, augment", key: "decode_augment"),
                { try source.load(augmentation, isCached: false) }
            ),
            (Way(name: "cached, augment", key: "cached"), { try source.load(augmentation, isCached: true) }),
            (Way(name: "augment alone, all kinds", key: "augment_all"), { try source.augment(everything) }),
            (
                Way(name: "augment alone, crop and mirror", key: "augment_standard"),
                { try source.augment(.standard) }
            ),
        ]
        var passes = runs.map(\.0)
        for round in 0...rounds {
            for (index, run) in runs.enumerated() {
                let seconds = try run.1()
                if round > 0 { passes[index].rates.append(Double(source.count) / seconds) }
            }
        }
        return passes
    }

    /// Files that decode; the others would be measured as grey squares.
    private static func readableFiles(_ folder: String, shortSide: Int) throws -> ImageSet {
        guard let names = FileManager.default.enumerator(atPath: folder) else {
            throw DatasetError(.missingFolder, "\(folder): cannot be listed; check the path")
        }
        let paths = names.compactMap { $0 as? String }.filter {
            [".jpg", ".jpeg"].contains(where: $0.lowercased().hasSuffix)
        }.sorted().map { folder + "/" + $0 }.filter {
            (try? loadImage(path: $0, shortSide: shortSide)) != nil
        }
        guard !paths.isEmpty else {
            throw DatasetError(.emptyClass, "\(folder): no .jpg or .jpeg file in it that can be read")
        }
        return ImageSet(paths: paths, classes: ["all"])
    }

    /// The images with what is needed to bring them to the device.
    private final class Source {
        let count: Int
        private let set: ImageSet
        private let imageSize: Int
        private let shortSide: Int
        private let batch: Int
        private let workers: Int
        private let device: Device
        private let input: ImageInput
        private let output: Buffer
        private let batches: [DeviceBatch]
        private let cache: ImageCache

        init(
            set: ImageSet, imageSize: Int, shortSide: Int,
            batch: Int, workers: Int, count: Int, device: Device
        ) throws {
            (self.set, self.imageSize, self.shortSide, self.batch) = (set, imageSize, shortSide, batch)
            (self.workers, self.count, self.device) = (workers, count, device)
            input = try ImageInput(
                device: device, size: imageSize,
                normalization: Normalization(mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225]))
            output = try Buffer(device, floatCount: batch * imageSize * imageSize * 4)
            batches = try (0..<2).map { _ in try DeviceBatch(device: device, capacity: batch) }
            cache = ImageCache(
                device: device,
                capacity: ImageCache.automaticCapacity(
                    of: device.description, allocated: device.allocatedBytes), count: set.count)
        }

        private func samples(_ index: Int) -> [Int]? {
            let start = index * batch
            return start < count
                ? (start..<min(count, start + batch)).map { [files = set.count] in $0 % files } : nil
        }

        /// - Parameter augmentation: what the photographs are decoded for; nil: whole.
        private func loader(isCached: Bool, for augmentation: Augmentation? = nil) -> BatchLoader {
            let plan = (0..<(count + batch - 1) / batch).compactMap { samples($0) }
            let index = cache.index
            return BatchLoader(
                set: set, shortSide: shortSide, workers: workers,
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
                }
            ) { plan.indices.contains($0) ? plan[$0] : nil }
        }

        private func timed(_ body: () throws -> Void) throws -> Double {
            let start = ContinuousClock.now
            try body()
            return (ContinuousClock.now - start).seconds
        }

        func decode(for augmentation: Augmentation? = nil) throws -> Double {
            try timed {
                let loader = loader(isCached: false, for: augmentation)
                while let host = try loader.next() { host.release() }
                loader.stop()
            }
        }

        func load(_ augmentation: Augmentation, isCached: Bool) throws -> Double {
            try timed {
                let loader = loader(isCached: isCached, for: isCached ? nil : augmentation)
                while let host = try loader.next() {
                    let target = batches[host.index % batches.count]
                    try target.upload(host, size: imageSize, cache: isCached ? cache : nil) {
                        [imageSize] width, height, sample in
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

        /// From the cache, which `load` has filled, without the loader.
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
            return try timed {
                for (index, records) in buffers.enumerated() {
                    try input.load(
                        bytes: batches[0].bytes, cache: cache.slabs, records: records, output: output,
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
