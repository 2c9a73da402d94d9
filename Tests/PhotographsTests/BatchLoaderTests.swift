import Foundation
import Synchronization
import TestSupport
import Testing

@testable import Photographs

@Suite struct BatchLoaderTests {
    private let folder: TemporaryFolder
    private let set: ImageSet

    init() throws {
        folder = try TemporaryFolder()
        var files: [ImageFile] = []
        for number in 0..<60 {
            // Sizes and decoding times differ, so that threads overtake each other.
            let picture = smoothPicture(
                width: 20 + number % 7 * 90, height: 24 + number % 5 * 60, phase: Double(number))
            try folder.write(encodeJPEG(picture), "\(number).jpg")
            files.append(ImageFile(path: "\(number).jpg", label: number % 3))
        }
        set = ImageSet(root: folder.path, classes: ["a", "b", "c"], files: files)
    }

    private func bytes(_ batch: HostBatch) -> [UInt8] {
        Array(UnsafeRawBufferPointer(start: batch.pixels, count: batch.byteCount))
    }

    private func image(_ batch: HostBatch, _ position: Int) -> [UInt8] {
        let packed = batch.images[position]
        return Array(bytes(batch)[packed.offset..<packed.offset + 3 * packed.width * packed.height])
    }

    /// Whatever the number of threads, every batch holds what its plan says, in the plan's order.
    @Test(arguments: [1, 2, 5]) func batchesFollowThePlan(workers: Int) throws {
        let plan = try EpochPlan(count: set.count, batchSize: 7, seed: 5, epoch: 0)
        let loader = BatchLoader(
            set: set, shortSide: 20, workers: workers, readAhead: .batches(3), batches: { plan.batch($0) })
        for index in 0..<plan.batchCount {
            let batch = try #require(try loader.next())
            #expect(batch.index == index && batch.samples == plan.batch(index))
            #expect(Int(bitPattern: batch.pixels) % 4096 == 0)
            for (position, sample) in batch.samples.enumerated() {
                let expected = try loadImage(path: set.location(sample), shortSide: 20)
                let packed = batch.images[position]
                #expect((packed.width, packed.height) == (expected.width, expected.height))
                #expect(packed.offset % 16 == 0 && image(batch, position) == expected.pixels)
                #expect(batch.labels[position] == Int32(sample % 3) && batch.weights[position] == 1)
            }
            #expect(batch.failures.isEmpty)
            if index % 2 == 0 { batch.release() }
        }
        #expect(try loader.next() == nil)
        #expect(try loader.next() == nil)
        #expect(loader.workerSeconds > 0 && loader.waitSeconds > 0)
    }

    /// A bad file keeps its place, with weight 0 and a grey square; its neighbours do not notice.
    @Test func badFilesKeepTheirPlace() throws {
        let good = try encodeJPEG(smoothPicture(width: 40, height: 30))
        try folder.write(Array(good[0..<good.count / 2]), "3.jpg")
        try folder.write([], "4.jpg")
        try FileManager.default.removeItem(atPath: folder.file("5.jpg"))
        let loader = BatchLoader(
            set: set, shortSide: 16, workers: 3, batches: { $0 == 0 ? [2, 3, 4, 5, 6] : nil })
        let batch = try #require(try loader.next())
        #expect(batch.weights == [1, 0, 0, 0, 1])
        #expect(batch.labels == [2, 0, 1, 2, 0])
        #expect(batch.failures.map(\.position) == [1, 2, 3] && batch.failures.map(\.sample) == [3, 4, 5])
        #expect(batch.failures.map(\.error.kind) == [.truncated, .empty, .missing])
        #expect(batch.failures[1].error.file == folder.file("4.jpg"))
        #expect(batch.images[1].width == 16 && batch.images[1].height == 16)
        #expect(image(batch, 1).allSatisfy { $0 == 128 })
        #expect(image(batch, 4) == (try loadImage(path: set.location(6), shortSide: 16)).pixels)
    }

    /// No more batches than the read-ahead says are asked for before one is taken.
    @Test func prefetchIsBounded() throws {
        let asked = Mutex(0)
        let loader = BatchLoader(set: set, shortSide: 16, workers: 2, readAhead: .batches(2)) { index in
            asked.withLock { $0 = max($0, index + 1) }
            return [0, 1]
        }
        _ = try loader.next()
        Thread.sleep(forTimeInterval: 0.2)
        #expect(asked.withLock { $0 } == 3)
        loader.stop()
        #expect(try loader.next() == nil)
    }

    /// As many batches are read ahead as fit into the memory, within limits.
    @Test func readAheadByMemory() throws {
        #expect(BatchLoader.ReadAhead.bytes(1000).count(batchBytes: 100) == 10)
        #expect(BatchLoader.ReadAhead.bytes(1000).count(batchBytes: 999) == 3)
        #expect(BatchLoader.ReadAhead.bytes(1000).count(batchBytes: 0) == 32)
        #expect(BatchLoader.ReadAhead.batches(2).count(batchBytes: 1) == 2)
        let asked = Mutex(0)
        // Two photographs of 16 × 19 pixels take 1,824 bytes.
        let loader = BatchLoader(set: set, shortSide: 16, workers: 2, readAhead: .bytes(12_000)) { index in
            asked.withLock { $0 = max($0, index + 1) }
            return [0, 35]
        }
        let size = try #require(try loader.next()).byteCount
        Thread.sleep(forTimeInterval: 0.3)
        #expect(asked.withLock { $0 } == 12_000 / size + 1 && 12_000 / size > 3)
        loader.stop()
    }

    /// A disk that stalls now and then does not stop the reader of batches that were read ahead.
    @Test(.timeLimit(.minutes(1))) func slowDisk() throws {
        let file = try encodeJPEG(smoothPicture(width: 24, height: 16))
        func waited(_ readAhead: BatchLoader.ReadAhead) throws -> Double {
            // One read in 40 takes 0.2 s, all others 1 ms: half of the batches' time for two threads.
            let source = SlowPhotographs(content: file, seconds: { $0 % 40 == 39 ? 0.2 : 0.001 })
            let loader = BatchLoader(
                set: ImageSet(source), shortSide: 16, workers: 2, readAhead: readAhead
            ) { $0 < 40 ? ($0 * 8..<$0 * 8 + 8).map { $0 % 320 } : nil }
            defer { loader.stop() }
            var count = 0
            // The first batches are read before training begins.
            Thread.sleep(forTimeInterval: 0.5)
            while let batch = try loader.next() {
                #expect(
                    batch.samples == Array(batch.index * 8..<batch.index * 8 + 8) && batch.failures.isEmpty)
                count += 1
                Thread.sleep(forTimeInterval: 0.03)
            }
            #expect(count == 40)
            return loader.waitSeconds
        }
        let (short, long) = (try waited(.batches(1)), try waited(.bytes(1 << 20)))
        #expect(short > 0.4 && long < short / 2, "\(short) s with one batch ahead, \(long) s with more")
    }

    /// Memory that was given back is filled again, and a batch that is held keeps its bytes meanwhile.
    @Test func memoryIsReused() throws {
        let loader = BatchLoader(set: set, shortSide: 16, workers: 2, readAhead: .batches(2)) {
            [$0 % 60, ($0 + 1) % 60, 7]
        }
        let held = try #require(try loader.next())
        let before = bytes(held)
        var seen = Swift.Set<Int>()
        for _ in 0..<40 {
            let batch = try #require(try loader.next())
            seen.insert(Int(bitPattern: batch.pixels))
            batch.release()
            batch.release()
        }
        #expect(bytes(held) == before)
        #expect(seen.count < 20, "\(seen.count) buffers for 40 batches")
    }

    /// Stopped or dropped at any moment, the threads end; a hang would be caught by the time limit.
    @Test(.timeLimit(.minutes(1))) func endsAtAnyMoment() throws {
        for round in 0..<60 {
            let loader = BatchLoader(
                set: set, shortSide: 30, workers: 1 + round % 4, readAhead: .batches(1 + round % 3)
            ) { [$0 % 60, 1, 2, 3, 4, 5] }
            for _ in 0..<round % 4 { _ = try loader.next() }
            if round % 2 == 0 {
                loader.stop()
                loader.stop()
            }
        }
        // Another thread stops the loader while this one waits.
        let loader = BatchLoader(set: set, shortSide: 30, workers: 1, readAhead: .batches(1)) { _ in
            Thread.sleep(forTimeInterval: 0.3)
            return [0]
        }
        Thread { loader.stop() }.start()
        #expect(try loader.next() == nil)
    }

    @Test func wrongPlanIsAnError() throws {
        let loader = BatchLoader(set: set, shortSide: 16, workers: 2) { $0 == 0 ? [1] : [60] }
        let error = #expect(throws: DatasetError.self) { for _ in 0..<3 { _ = try loader.next() } }
        #expect(error?.kind == .badOption)
        #expect(error?.description.contains("image 60") == true)
    }

    /// The loader, the statistics and the errors need only the protocol, not files.
    @Test func photographsInMemory() throws {
        let files = try (0..<3).map {
            try encodeJPEG(smoothPicture(width: 24, height: 16, phase: Double($0)))
        }
        let set = ImageSet(MemoryPhotographs(files: files + [[]]))
        let loader = BatchLoader(set: set, shortSide: 16, workers: 2) { $0 == 0 ? [3, 2, 1, 0] : nil }
        let batch = try #require(try loader.next())
        #expect(batch.labels == [1, 0, 1, 0] && batch.weights == [0, 1, 1, 1])
        #expect(batch.failures.map(\.error) == [ImageError(.empty, file: "memory, photograph 3")])
        for position in 1..<4 {
            #expect(try image(batch, position) == decodeJPEG(files[3 - position]).pixels)
        }
        #expect(set.channelStatistics(shortSide: 16, workers: 2).imageCount == 3)
        #expect(try set.relabelled(classes: ["b", "a"]).label(0) == 1)
    }
}

/// Holds encoded photographs in memory, as a source that reads an archive may do.
private struct MemoryPhotographs: PhotographSource {
    let path = "memory"
    let classes = ["a", "b"]
    let files: [[UInt8]]

    var count: Int { files.count }
    func label(_ index: Int) -> Int { index % 2 }
    func name(_ index: Int) -> String { "photograph \(index)" }
    func location(_ index: Int) -> String { "memory, \(name(index))" }
    func byteCount(_ index: Int) -> Int { files[index].count }

    func bytes(_ index: Int, buffer: ByteBuffer) -> UnsafeRawBufferPointer {
        buffer.reserve(byteCount(index))
        buffer.bytes.update(from: files[index], count: byteCount(index))
        return UnsafeRawBufferPointer(start: buffer.bytes, count: byteCount(index))
    }
}

/// Holds one photograph many times, and lets each read take some time, as a slow disk does.
private struct SlowPhotographs: PhotographSource {
    let path = "disk"
    let classes = ["a"]
    let content: [UInt8]
    /// The time of each photograph's read.
    let seconds: @Sendable (Int) -> Double

    var count: Int { 320 }
    func label(_ index: Int) -> Int { 0 }
    func name(_ index: Int) -> String { "photograph \(index)" }
    func location(_ index: Int) -> String { name(index) }
    func byteCount(_ index: Int) -> Int { content.count }

    func bytes(_ index: Int, buffer: ByteBuffer) -> UnsafeRawBufferPointer {
        Thread.sleep(forTimeInterval: seconds(index))
        buffer.reserve(content.count)
        buffer.bytes.update(from: content, count: content.count)
        return UnsafeRawBufferPointer(start: buffer.bytes, count: content.count)
    }
}
