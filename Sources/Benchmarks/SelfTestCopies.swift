import Basics
import Compute
import Foundation
import Randomness

extension SelfTest {
    /// Copies between host and device: each counts what does not survive, and the last three are timed.
    static let copyChecks = [
        Check("exchange's copies", limit: 0, exchangeCopies),
        Check(measuring: "copy on the device") { device in
            try copy(device) { source, target, _ in try target.copy(from: source) }
        },
        Check(measuring: "upload") { device in
            try copy(device) { source, target, bytes in
                try target.write(UnsafeRawBufferPointer(bytes)).wait()
            }
        },
        Check(measuring: "download") { device in
            try copy(device) { source, _, bytes in
                try source.read(into: bytes, byteOffset: 0).wait()
            } thenUntimed: { target, bytes in
                try target.write(UnsafeRawBufferPointer(bytes)).wait()
            }
        },
    ]

    /// Times a copy of a large buffer or of the same bytes of the host, and counts those that differ.
    ///
    /// - Parameter thenUntimed: brings what was copied to `target`, if the copy does not
    private static func copy(
        _ device: Device,
        _ copy: (_ source: Buffer, _ target: Buffer, _ host: UnsafeMutableRawBufferPointer) throws -> Void,
        thenUntimed: (_ target: Buffer, _ host: UnsafeMutableRawBufferPointer) throws -> Void = { _, _ in }
    ) throws -> (error: Double, note: String) {
        let count = min(64 << 20, device.description.largestBuffer / 8) / 4
        var words = (0..<count).map { UInt32(truncatingIfNeeded: $0 &* 2_654_435_761) }
        let exact = words
        let (source, target) = (try Buffer(device, words), try Buffer(device, byteCount: 4 * count))
        try target.clear()
        let seconds = try words.withUnsafeMutableBytes { bytes in
            let seconds = try Benchmark.seconds(runs: 3) { _ in
                try copy(source, target, bytes)
                try device.finish()
            }
            try thenUntimed(target, bytes)
            return seconds
        }
        let wrong = zip(try target.read(count, as: UInt32.self), exact).count { $0 != $1 }
        let speed = 4e-9 * Double(count) / Benchmark.median(seconds)
        return (Double(wrong), String(format: "%.1f GB/s", speed))
    }

    /// Sends a bucket to memory that ranks share and back, from and to where the device lets a slice begin.
    private static func exchangeCopies(_ device: Device) throws -> Double {
        let alignment = max(128, device.description.baseAlignment)
        let byteCount = (3 * alignment + 1234 * 4).roundedUp(to: 4096)
        let bucket = alignment..<3 * alignment + 1234 * 4
        var random = Philox(seed: 9, purpose: .benchmark)
        let before = (0..<byteCount / 4).map { _ in random.nextWord() }
        let inBucket = { (word: Int) in bucket.contains(4 * word) }
        let after = before.enumerated().map { inBucket($0) ? ~$1 : $1 }

        let slab = try Buffer(device, before)
        let host = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount, alignment: 4096)
        defer { host.deallocate() }
        host.initializeMemory(as: UInt8.self, repeating: 0)
        guard let base = host.baseAddress else { return .infinity }
        let shared = try Buffer(device, hostMemory: base, byteCount: byteCount)
        try shared.copy(
            from: slab, sourceOffset: bucket.lowerBound, byteCount: bucket.count, to: bucket.lowerBound)
        let (pointer, event) = try shared.map(byteOffset: bucket.lowerBound, byteCount: bucket.count)
        try event.wait()
        var wrong = 0
        let words = pointer.assumingMemoryBound(to: UInt32.self)
        for word in 0..<bucket.count / 4 {
            if words[word] != before[word + bucket.lowerBound / 4] { wrong += 1 }
            words[word] = ~words[word]
        }
        try shared.unmap(pointer)
        try slab.copy(
            from: shared, sourceOffset: bucket.lowerBound, byteCount: bucket.count, to: bucket.lowerBound)
        wrong += zip(try slab.read(byteCount / 4, as: UInt32.self), after).count { $0 != $1 }
        let slice = try slab.slice(byteOffset: bucket.lowerBound, byteCount: bucket.count)
        let part: [UInt32] = try slice.read(bucket.count / 4)
        wrong += zip(part, after[(bucket.lowerBound / 4)...]).count { $0 != $1 }
        try device.finish()
        return Double(wrong)
    }
}
