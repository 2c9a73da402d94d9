import Basics
import Foundation
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
    /// Returns the statistics that an earlier start has kept if no file was changed since, or measures them.
    public func channelStatistics(shortSide: Int, workers: Int, cache: StartCache) -> ChannelStatistics {
        var key = FNVHash()
        key.add(UInt64(shortSide))
        guard count >= cache.smallestSample, addStates(to: &key),
            let path = cache.path("statistics", "1 \(count) \(key.value)", "json")
        else { return channelStatistics(shortSide: shortSide, workers: workers) }
        if let kept = ChannelStatistics(path: path) { return kept }
        let measured = channelStatistics(shortSide: shortSide, workers: workers)
        if let folder = cache.folder {
            try? Folder.create(folder)
            try? AtomicFile.write(path, Array((measured.json.text + "\n").utf8))
        }
        return measured
    }

    /// Reads every photograph at `shortSide` and measures it.
    ///
    /// The sums are whole numbers, so the result does not depend on `workers`. A channel without any
    /// variation has deviation 1, because it is divided by; a set without any readable photograph has mean 0.
    public func channelStatistics(shortSide: Int, workers: Int) -> ChannelStatistics {
        struct Sums {
            var channels = ChannelSums()
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
                        sums.channels.add(buffer.bytes, width: size.width, height: size.height)
                    } catch { sums.failures.append((index, ImageError(error, file: location(index)))) }
                }
            } catch { sums.failures.append((item * run, ImageError(error, file: "libjpeg"))) }
            total.sums.withLock { all in
                all.channels.add(sums.channels)
                all.failures += sums.failures
            }
        }
        let sums = total.sums.withLock { $0 }
        let (mean, deviation) = sums.channels.statistics
        return ChannelStatistics(
            mean: mean, deviation: deviation, imageCount: sums.channels.images,
            failures: sums.failures.sorted { $0.index < $1.index }.map(\.error))
    }
}

extension ChannelStatistics {
    fileprivate var json: JSON {
        let failures = failures.map {
            ["kind": $0.kind.rawValue, "file": $0.file, "detail": $0.detail] as JSON
        }
        return ["mean": mean, "deviation": deviation, "images": imageCount, "failures": failures]
    }

    /// Reads what `json` gave; nil if the file does not exist or is something else.
    fileprivate init?(path: String) {
        guard let data = FileManager.default.contents(atPath: path),
            let json = try? JSON.parse([UInt8](data)),
            let mean = json["mean"]?.array?.compactMap(\.double), mean.count == 3,
            let deviation = json["deviation"]?.array?.compactMap(\.double), deviation.count == 3,
            let images = json["images"]?.integer, let list = json["failures"]?.array
        else { return nil }
        let failures = list.compactMap { entry -> ImageError? in
            guard let kind = entry["kind"]?.string.flatMap(ImageError.Kind.init),
                let file = entry["file"]?.string, let detail = entry["detail"]?.string
            else { return nil }
            return ImageError(kind, file: file, detail: detail)
        }
        guard failures.count == list.count, deviation.allSatisfy({ $0 > 0 }) else { return nil }
        self.init(mean: mean, deviation: deviation, imageCount: images, failures: failures)
    }
}

/// Adds up the pixels of photographs in whole numbers, so the order does not matter.
struct ChannelSums: Sendable, Equatable {
    private var sum = SIMD4<UInt64>()
    private var squares = SIMD4<UInt64>()
    private var pixels: UInt64 = 0
    private(set) var images = 0
    private var widths = 0
    private var heights = 0

    /// Adds a photograph of RGB bytes.
    mutating func add(_ bytes: UnsafePointer<UInt8>, width: Int, height: Int) {
        let count = width * height
        for channel in 0..<3 {
            var first: UInt64 = 0
            var second: UInt64 = 0
            for pixel in 0..<count {
                let value = UInt32(bytes[3 * pixel + channel])
                first &+= UInt64(value)
                second &+= UInt64(value &* value)
            }
            sum[channel] &+= first
            squares[channel] &+= second
        }
        pixels += UInt64(count)
        images += 1
        widths += width
        heights += height
    }

    mutating func add(_ other: ChannelSums) {
        sum &+= other.sum
        squares &+= other.squares
        pixels += other.pixels
        images += other.images
        widths += other.widths
        heights += other.heights
    }

    /// Mean and deviation of each channel on the scale 0…1; a channel without variation has deviation 1.
    var statistics: (mean: [Double], deviation: [Double]) {
        let count = Double(max(1, pixels))
        let mean = (0..<3).map { Double(sum[$0]) / count }
        let variance = (0..<3).map { max(0, Double(squares[$0]) / count - mean[$0] * mean[$0]) }
        return (mean.map { $0 / 255 }, variance.map { $0 > 0 ? $0.squareRoot() / 255 : 1 })
    }

    /// The sums as numbers, from which `init` makes the same sums.
    var numbers: [Int] {
        (0..<3).map { Int(sum[$0]) } + (0..<3).map { Int(squares[$0]) }
            + [Int(pixels), images, widths, heights]
    }

    init() {}

    init?(_ numbers: [Int]) {
        guard numbers.count == 10, numbers.allSatisfy({ $0 >= 0 }) else { return nil }
        for channel in 0..<3 {
            sum[channel] = UInt64(numbers[channel])
            squares[channel] = UInt64(numbers[3 + channel])
        }
        (pixels, images, widths, heights) = (UInt64(numbers[6]), numbers[7], numbers[8], numbers[9])
    }

    /// Mean, deviation and sizes for the manifest.
    var json: JSON {
        let (mean, deviation) = statistics
        let count = Double(max(1, images))
        return [
            "mean": mean, "deviation": deviation, "pixels": Int(pixels),
            "mean_width": Double(widths) / count, "mean_height": Double(heights) / count,
        ]
    }
}
