import Basics
import Synchronization

/// Holds mean and deviation of red, green and blue on the scale 0…1, over all pixels of resized photographs.
public struct ChannelStatistics: Sendable, Equatable {
    public let mean: [Double]
    public let deviation: [Double]
    public let imageCount: Int
    /// Why the other photographs could not be read, in the set's order.
    public let failures: [ImageError]
}

extension ImageSet {
    /// Reads every photograph at `shortSide` and measures it.
    ///
    /// The sums are whole numbers, so the result does not depend on `workers`. A channel without any
    /// variation has deviation 1, because it is divided by; a set without any readable photograph has mean 0.
    public func channelStatistics(shortSide: Int, workers: Int) -> ChannelStatistics {
        struct Sums {
            var sum = SIMD4<UInt64>()
            var squares = SIMD4<UInt64>()
            var pixels: UInt64 = 0
            var images = 0
            var failures: [(index: Int, error: ImageError)] = []
        }
        final class Total: Sendable { let sums = Mutex(Sums()) }
        let total = Total()
        // Each worker takes runs of files, which spreads the cost of a reader's buffers and of the lock.
        let run = 32
        runWorkers(workers, count: count.ceilDivided(by: run)) { _, item in
            var sums = Sums()
            let buffer = ByteBuffer()
            do {
                let reader = try ImageReader()
                for index in item * run..<min(count, (item + 1) * run) {
                    do {
                        let size = try reader.read(self, index, shortSide: shortSide, into: buffer)
                        let pixels = size.width * size.height
                        add(buffer.bytes, pixels: pixels, &sums.sum, &sums.squares)
                        sums.pixels += UInt64(pixels)
                        sums.images += 1
                    } catch { sums.failures.append((index, ImageError(error, file: location(index)))) }
                }
            } catch { sums.failures.append((item * run, ImageError(error, file: "libjpeg"))) }
            total.sums.withLock { all in
                all.sum &+= sums.sum
                all.squares &+= sums.squares
                all.pixels += sums.pixels
                all.images += sums.images
                all.failures += sums.failures
            }
        }
        let sums = total.sums.withLock { $0 }
        let pixels = Double(max(1, sums.pixels))
        let mean = (0..<3).map { Double(sums.sum[$0]) / pixels }
        let variance = (0..<3).map { max(0, Double(sums.squares[$0]) / pixels - mean[$0] * mean[$0]) }
        return ChannelStatistics(
            mean: mean.map { $0 / 255 }, deviation: variance.map { $0 > 0 ? $0.squareRoot() / 255 : 1 },
            imageCount: sums.images,
            failures: sums.failures.sorted { $0.index < $1.index }.map(\.error))
    }
}

private func add(
    _ bytes: UnsafePointer<UInt8>, pixels: Int, _ sum: inout SIMD4<UInt64>, _ squares: inout SIMD4<UInt64>
) {
    for channel in 0..<3 {
        var first: UInt64 = 0
        var second: UInt64 = 0
        for pixel in 0..<pixels {
            let value = UInt32(bytes[3 * pixel + channel])
            first &+= UInt64(value)
            second &+= UInt64(value &* value)
        }
        sum[channel] &+= first
        squares[channel] &+= second
    }
}
