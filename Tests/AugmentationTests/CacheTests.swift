@testable import DemoScenes
@testable import DeviceInput
import Compute
import Foundation
import Photographs
import NeuralNet
import TestSupport
import Testing

extension OnDevices {
    /// The cache of decoded photographs, through the loader and the kernel.
    @Suite struct ImageCacheTests {
        private static let size = 24
        private let folder: TemporaryFolder
        private let set: ImageSet

        init() throws {
            folder = try TemporaryFolder()
            var paths: [String] = []
            for index in 0..<13 {
                let picture = Scenes.draw(label: index % 10, index: index, size: 40 + index, seed: 1)
                // File 4 is empty.
                paths.append(try folder.write(index == 4 ? [] : encodeJPEG(picture), "\(index).jpg"))
            }
            set = ImageSet(paths: paths, classes: ["all"])
        }

        /// The network's input of three epochs, batch by batch, and how many photographs were read in each
        /// epoch.
        private func inputs(_ cache: ImageCache, on device: Device) throws -> (
            values: [[UInt32]], read: [Int]
        ) {
            let batch = 5
            let stepsPerEpoch = 3
            let input = try ImageInput(
                device: device, size: Self.size,
                normalization: Normalization(mean: [0.5, 0.4, 0.3], deviation: [0.2, 0.3, 0.25]))
            let output = try Buffer(device, floatCount: batch * Self.size * Self.size * 4)
            let batches = try (0..<2).map { _ in try DeviceBatch(device: device, capacity: batch) }
            let index = cache.index
            let count = set.count
            // one batch ahead at most, so that the number read is known
            let loader = BatchLoader(
                set: set, shortSide: 28, workers: 2, readAhead: .batches(1), isCached: { index.contains($0) },
                memory: device.batchMemory
            ) { step in
                let start = step % stepsPerEpoch * batch
                return step < 3 * stepsPerEpoch
                    ? (start..<min(count, start + batch)).map { (7 * $0 + step / stepsPerEpoch) % count }
                    : nil
            }
            var values: [[UInt32]] = []
            var read = [0, 0, 0]
            while let host = try loader.next() {
                let epoch = host.index / stepsPerEpoch
                read[epoch] += host.images.filter { $0.width > 0 }.count
                let target = batches[host.index % 2]
                try target.upload(host, size: Self.size, cache: cache) { width, height, sample in
                    .draw(
                        .paper, width: width, height: height, size: Self.size,
                        seed: 1, epoch: epoch, sample: sample)
                }
                try input.load(
                    bytes: target.bytes, cache: target.cache, records: target.records, output: output,
                    pass: Pass(batch: host.count, training: true))
                values.append(try output.read(host.count * Self.size * Self.size * 4, as: UInt32.self))
            }
            return (values, read)
        }

        /// Nothing, a part, several buffers' worth or all of it: the same bits; what is cached is not read
        /// again, and a bad file is not cached.
        @Test func sameBitsWithAndWithout() throws {
            for description in deviceKinds {
                let device = try Device(description)
                let without = try inputs(
                    ImageCache(device: device, capacity: 0, count: set.count), on: device)
                #expect(without.read == [13, 13, 13])

                let whole = ImageCache(device: device, capacity: 1_000_000, count: set.count)
                let cached = try inputs(whole, on: device)
                #expect(cached.values == without.values)
                #expect(whole.cachedCount == 12)
                // the second epoch's first batch is planned before the first one's last is cached
                #expect(cached.read[0] == 13 && cached.read[1] <= 1 + 5 + 3 && cached.read[2] == 1)
                #expect(whole.usedBytes <= whole.allocatedBytes && whole.allocatedBytes <= whole.capacity)

                let oneBytes = 3 * 28 * 28 + 16
                let part = ImageCache(device: device, capacity: 5 * oneBytes, count: set.count)
                #expect(try inputs(part, on: device).values == without.values)
                #expect(part.cachedCount == 5 && part.allocatedBytes <= part.capacity)
            }
        }

        /// Buffers are made one after the other, and the kernel reads each of them.
        @Test func buffersFollowEachOther() throws {
            for description in presentDevices {
                let device = try Device(description)
                // The first photograph is tiny, so the first buffers are made too small.
                let pictures = (0..<12).map {
                    Scenes.draw(label: $0 % 10, index: $0, size: $0 < 3 ? 16 : 24 + 8 * ($0 / 3), seed: 2)
                }
                let cache = ImageCache(device: device, capacity: 10_000_000, count: pictures.count)
                for (sample, picture) in pictures.enumerated() {
                    let bytes = try Buffer(device, picture.pixels)
                    try cache.insert(
                        sample, from: bytes, byteOffset: 0, width: Int32(picture.width),
                        height: Int32(picture.height))
                }
                #expect(cache.cachedCount == 12 && cache.buffers.count > 1, "\(cache.buffers.count) buffers")
                let input = try ImageInput(
                    device: device, size: 16,
                    normalization: Normalization(mean: [0, 0, 0], deviation: [1, 1, 1]))
                let output = try Buffer(device, floatCount: 16 * 16 * 4)
                for (sample, picture) in pictures.enumerated() {
                    let entry = try #require(cache[sample])
                    let record = CropRecord(
                        AugmentationParameters(x: 0, y: 0), byteOffset: entry.byteOffset, width: entry.width,
                        height: entry.height, source: entry.source, size: 16)
                    try input.load(
                        bytes: Buffer(device, byteCount: 4), cache: cache.buffers,
                        records: Buffer(device, [record]), output: output,
                        pass: Pass(batch: 1, training: true))
                    let values: [Float] = try output.read(16 * 16 * 4)
                    let wanted = (0..<16).flatMap { y in
                        (0..<16).flatMap { x in
                            (0..<3).map { picture.pixels[3 * (y * picture.width + x) + $0] }
                        }
                    }
                    // a byte times 1/255, rounded once
                    let got = (0..<16 * 16 * 3).map { UInt8((values[$0 / 3 * 4 + $0 % 3] * 255).rounded()) }
                    #expect(got == wanted)
                }
            }
        }
    }
}
