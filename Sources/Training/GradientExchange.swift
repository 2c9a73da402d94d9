import Basics
import Collectives
import Compute
import Foundation
import NeuralNet

/// The gradients of all ranks, added: begun for a layer as soon as backward has made its gradient, waited for
/// when it is needed.
///
/// Gradients lie in memory that the ranks' transport reaches. A CPU device works in it in place; from any
/// other device each bucket is copied there and back. Buckets follow the layers: neighbours are joined up to
/// 1 MiB, what is larger than 16 MiB is cut, and those of the first layers, which are made last and needed
/// first, overtake the others.
///
/// With a CPU device, whose cores have nothing to spare, the calling thread does the exchange's work, at the
/// layers' borders; for any other device a thread of its own does it while the device computes.
public final class GradientExchange {
    /// The own micro-batches' gradient, and once `settle` has come back all micro-batches'.
    public let gradients: ParameterArena
    /// The micro-batches of this rank.
    public let span: MicroBatchSpan
    let communicator: any Communicator
    private let device: Device
    private let butterfly: Butterfly
    private let driver: ExchangeDriver
    private let trace: Trace?
    /// For each of the arena's slabs the buffer over the memory that the ranks share; the slab itself where
    /// the device works in place.
    private let hostSlabs: [Buffer]
    private let isInPlace: Bool
    private let totals: Buffer
    /// The first is the step's totals.
    private let buckets: [GradientBuckets.Bucket]
    private let bucketsOf: [[Int]]
    private let firstParameter: Int
    /// Parameters of each bucket whose gradients are not made yet.
    private var missing: [Int]
    /// Where buckets are that the host has; nil for those that are the device's.
    private var mapped: [UnsafeMutableRawPointer?]
    private var awaited = 0.0

    /// Seconds so far in which an exchange was under way, and which it took of the calling thread's time:
    /// waiting, and work at the layers' borders.
    public var seconds: (underWay: Double, exposed: Double) {
        let seconds = driver.seconds
        return (seconds.underWay, awaited + seconds.work)
    }

    /// Bytes up to which neighbours are joined, and above which a bucket is cut; multiples of 4096.
    public struct BucketSizes: Sendable {
        public var joined = 1 << 20
        public var cut = 16 << 20

        public init() {}
    }

    /// Floats in front of the first slab: the totals of a step, on a page of their own.
    private static let totalsFloats = 1024

    /// - Parameters:
    ///   - parameters: those that are learnt
    ///   - threaded: whether a thread of its own does the work; nil decides by the device
    ///   - inPlace: whether the device works in the ranks' memory; nil decides by the device
    public init(
        _ parameters: [Parameter], device: Device, communicator: any Communicator,
        topology: Topology, trace: Trace? = nil, sizes bucketSizes: BucketSizes = BucketSizes(),
        threaded: Bool? = nil, inPlace: Bool? = nil
    ) throws {
        self.communicator = communicator
        self.device = device
        self.trace = trace
        span = topology.spans[communicator.rank]
        isInPlace = inPlace ?? (device.description.kind == .cpu)
        // The same places on every rank, whatever each device's limits are.
        let limits = try communicator.gather([
            device.description.largestBuffer, device.description.baseAlignment,
        ])
        let layout = device.description.limited(
            toLargestBuffer: limits.map { $0[0] }.min() ?? 0, baseAlignment: limits.map { $0[1] }.max() ?? 0)
        let sizes = ParameterArena.bufferSizes(parameters, device: layout).map { ($0 + 4095) / 4096 * 4096 }
        var starts = [GradientExchange.totalsFloats]
        for size in sizes { starts.append(starts[starts.count - 1] + size / 4) }

        let places = zip(ParameterArena.starts(parameters, device: layout), parameters).map {
            place, parameter in
            (slab: place.buffer, bytes: place.byteOffset..<(place.byteOffset + parameter.storedCount * 4))
        }
        let cut = GradientBuckets(
            places, sizes: bucketSizes, first: .init(slab: -1, bytes: 0..<64, parameters: []))
        let buckets = cut.buckets
        bucketsOf = cut.ofParameter
        self.buckets = buckets
        firstParameter = parameters.first?.index ?? 0
        missing = buckets.map(\.parameters.count)
        mapped = buckets.map { _ in nil }

        let ranges = buckets.map { bucket in
            let start = bucket.slab < 0 ? 0 : starts[bucket.slab]
            return (start + bucket.bytes.lowerBound / 4)..<(start + bucket.bytes.upperBound / 4)
        }
        let butterfly = try Butterfly(
            communicator, topology: topology, buckets: ranges, floatCount: starts[starts.count - 1])
        self.butterfly = butterfly
        butterfly.observer = trace.map { trace in
            { bucket, work, start, end in
                trace.add("\(work), bucket \(bucket)", .exchange, start: start, end: end)
            }
        }
        let values = UnsafeMutableRawPointer(butterfly.values)
        totals = try Buffer(device, hostMemory: values, byteCount: 4096)
        let hostSlabs = try sizes.indices.map {
            try Buffer(device, hostMemory: values + starts[$0] * 4, byteCount: sizes[$0])
        }
        self.hostSlabs = hostSlabs
        var next = 0
        let inPlace = isInPlace
        gradients = try ParameterArena(parameters, device: device, limits: layout) { byteCount in
            defer { next += 1 }
            return inPlace ? hostSlabs[next] : try Buffer(device, byteCount: byteCount)
        }
        driver = ExchangeDriver(butterfly, threaded: threaded ?? (device.description.kind != .cpu))
    }

    deinit { driver.stop() }

    /// "12 buckets of 0.1 to 16.0 MiB"
    public var description: String {
        let sizes = buckets.dropFirst().map { Double($0.bytes.count) / 1_048_576 }
        return "\(sizes.count) buckets of "
            + String(format: "%.1f to %.1f MiB", sizes.min() ?? 0, sizes.max() ?? 0)
    }

    // MARK: - A step

    /// To be called once the totals of this rank's images are queued.
    ///
    /// - Parameter flag: added over all ranks beside the totals
    func startTotals(_ loss: SoftmaxCrossEntropy, step: Int, flag: Bool) throws {
        try loss.copyTotals(step: step, to: totals)
        let (pointer, event) = try totals.map(byteOffset: 0, byteCount: 64)
        mapped[0] = pointer
        driver.queue(0, event) { [pointer = SharedPointer(pointer)] in
            pointer.raw.storeBytes(of: flag ? 1 : 0, toByteOffset: 16, as: Float.self)
        }
    }

    /// To be called once a parameter's gradient is queued, from the last layer to the first.
    func start(_ parameter: Parameter) throws {
        for index in bucketsOf[parameter.index - firstParameter] {
            missing[index] -= 1
            guard missing[index] == 0 else { continue }
            missing[index] = buckets[index].parameters.count
            let (slab, bytes) = (buckets[index].slab, buckets[index].bytes)
            if !isInPlace {
                try hostSlabs[slab].copy(
                    from: gradients.buffers[slab], sourceOffset: bytes.lowerBound,
                    byteCount: bytes.count, to: bytes.lowerBound)
            }
            let (pointer, event) = try hostSlabs[slab].map(
                byteOffset: bytes.lowerBound, byteCount: bytes.count)
            mapped[index] = pointer
            driver.queue(index, event) {}
        }
    }

    /// To be called when a step's backward is queued: with a CPU device, whose layers' borders come now, does
    /// what can be done at them.
    func drain() throws {
        try device.flush()
        try driver.drain()
    }

    /// Waits until the totals of all ranks are there, and puts them in the place of this rank's.
    ///
    /// - Returns: whether any rank gave the flag
    func settleTotals(_ loss: SoftmaxCrossEntropy, step: Int) throws -> Bool {
        let pointer = try wait(0)
        let flag = butterfly.values[4] > 0
        if let pointer { try totals.unmap(pointer) }
        try loss.setTotals(step: step, from: totals)
        return flag
    }

    /// Waits until all ranks' gradients of a parameter are added, and gives them back to the device.
    func settle(_ parameter: Parameter) throws {
        for index in bucketsOf[parameter.index - firstParameter] {
            guard let pointer = try wait(index) else { continue }
            let (slab, bytes) = (buckets[index].slab, buckets[index].bytes)
            try hostSlabs[slab].unmap(pointer)
            if !isInPlace {
                try gradients.buffers[slab].copy(
                    from: hostSlabs[slab], sourceOffset: bytes.lowerBound,
                    byteCount: bytes.count, to: bytes.lowerBound)
            }
        }
    }

    /// - Returns: where the bucket was mapped; nil where it had been waited for before
    private func wait(_ index: Int) throws -> UnsafeMutableRawPointer? {
        guard let pointer = mapped[index] else { return nil }
        let start = Clock.seconds
        try driver.wait(index)
        let end = Clock.seconds
        awaited += end - start
        trace?.add("wait, bucket \(index)", .wait, start: start, end: end)
        mapped[index] = nil
        return pointer
    }
}
