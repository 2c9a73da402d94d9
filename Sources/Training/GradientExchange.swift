import Basics
import Collectives
import Compute
import Foundation
import NeuralNet

/// Adds the gradients of all ranks (all-reduce).
///
/// A layer's exchange starts when backward has computed its gradient, and the step waits for it when it
/// needs the sum. Gradients are in memory that the ranks' transport reaches. A CPU device works in it in
/// place; from any other device each bucket is copied there and back. Buckets follow the layers: small
/// neighbours are joined, and large gradients are cut (`GradientBuckets.Sizes`). Buckets of the first layers,
/// which are ready last and needed first, overtake the others.
///
/// A separate thread does the exchange's work while the device computes. A CPU device uses all cores, so
/// that the calling thread does the work between layers, unless messages go to other machines.
public final class GradientExchange {
    /// The gradients of this rank's micro-batches; after `settle`, those of all micro-batches.
    public let gradients: ParameterArena
    /// The micro-batches of this rank.
    public let span: MicroBatchSpan
    private let device: Device
    private let butterfly: Butterfly
    private let driver: ExchangeDriver
    private let trace: Trace?
    /// Each slab's buffer over the memory that the ranks share; the slab itself if the device works in place.
    private let hostSlabs: [Buffer]
    private let isInPlace: Bool
    private let totals: Buffer
    /// The first holds the step's totals.
    package let buckets: [GradientBuckets.Bucket]
    /// Each parameter's buckets, by its index in the network.
    private let bucketsOf: [Int: [Int]]
    /// The number of parameters of each bucket whose gradients are not ready yet.
    private var missing: [Int]
    /// Where the buckets are mapped for the host; nil for those that belong to the device.
    private var mapped: [UnsafeMutableRawPointer?]
    private var awaited = 0.0

    /// Seconds in which an exchange was under way, and those that it took of the calling thread's time.
    public var seconds: (underWay: Double, exposed: Double) {
        let seconds = driver.seconds
        return (seconds.underWay, awaited + seconds.work)
    }

    /// Opens the memory that the ranks share; every rank calls it.
    ///
    /// - Parameters:
    ///   - parameters: those that are trained on all ranks
    ///   - bucketSizes: nil for those that suit the topology
    ///   - threaded: whether a separate thread does the work; nil decides by the device and the topology
    ///   - inPlace: whether the device works in the ranks' memory; nil decides by the device
    package init(
        _ parameters: [Parameter], device: Device, communicator: any Communicator,
        topology: Topology, trace: Trace? = nil, sizes bucketSizes: GradientBuckets.Sizes? = nil,
        threaded: Bool? = nil, inPlace: Bool? = nil
    ) throws {
        self.device = device
        self.trace = trace
        span = topology.spans[communicator.rank]
        isInPlace = inPlace ?? (device.description.kind == .cpu)
        // The layout must be the same on every rank, so it follows the tightest limits of all devices.
        let limits = try communicator.gather([
            device.description.largestBuffer, device.description.baseAlignment,
        ])
        let limited = device.description.limited(
            toLargestBuffer: limits.map { $0[0] }.min() ?? 0, baseAlignment: limits.map { $0[1] }.max() ?? 0)
        let layout = GradientLayout(
            parameters, device: limited, sizes: bucketSizes ?? GradientBuckets.Sizes(for: topology))
        buckets = layout.buckets
        bucketsOf = Dictionary(uniqueKeysWithValues: zip(parameters.map(\.index), layout.bucketsOf))
        missing = buckets.map(\.parameters.count)
        mapped = buckets.map { _ in nil }

        let butterfly = try Butterfly(
            communicator, topology: topology, buckets: layout.ranges, floatCount: layout.floatCount)
        self.butterfly = butterfly
        butterfly.observer = trace.map { trace in
            { bucket, work, start, end in
                trace.add("\(work), bucket \(bucket)", .exchange, start: start, end: end)
            }
        }
        let values = UnsafeMutableRawPointer(butterfly.values)
        totals = try Buffer(device, hostMemory: values, byteCount: GradientLayout.totalsPage)
        let hostSlabs = try layout.slabs.indices.map {
            try Buffer(device, hostMemory: values + layout.starts[$0] * 4, byteCount: layout.slabs[$0])
        }
        self.hostSlabs = hostSlabs
        var next = 0
        let inPlace = isInPlace
        gradients = try ParameterArena(parameters, device: device, limits: limited) { byteCount in
            defer { next += 1 }
            return inPlace ? hostSlabs[next] : try Buffer(device, byteCount: byteCount)
        }
        driver = ExchangeDriver(
            butterfly,
            threaded: threaded ?? GradientExchange.needsThread(device.description.kind, topology))
    }

    /// Whether a separate thread is faster.
    ///
    /// Messages between machines move only while MPI is called, also with a CPU device (measured:
    /// docs/distributed.md).
    static func needsThread(_ kind: DeviceDescription.Kind, _ topology: Topology) -> Bool {
        kind != .cpu || topology.sendsBetweenMachines
    }

    deinit {
        driver.stop()
        // Updates that are still queued read gradients in memory that the transport frees.
        try? device.finish()
    }

    /// The number of buckets and their sizes, such as "12 buckets of 0.1 to 16.0 MiB".
    public var description: String {
        let sizes = buckets.dropFirst().map { Double($0.bytes.count) / 1_048_576 }
        return "\(sizes.count) bucket\(sizes.count == 1 ? "" : "s") of "
            + String(format: "%.1f to %.1f MiB", sizes.min() ?? 0, sizes.max() ?? 0)
    }

    // MARK: - A step

    /// Starts the exchange of a step's totals; called when those of this rank's images are enqueued.
    ///
    /// - Parameter asksToStop: whether this rank asks all ranks to stop
    func startTotals(_ loss: SoftmaxCrossEntropy, step: Int, asksToStop: Bool) throws {
        try loss.copyTotals(step: step, to: totals)
        let (pointer, event) = try totals.map(byteOffset: 0, byteCount: GradientLayout.totals.count)
        mapped[0] = pointer
        nonisolated(unsafe) let shared = pointer.assumingMemoryBound(to: SharedTotals.self)
        driver.queue(0, event) { shared.pointee.stopRequests = asksToStop ? 1 : 0 }
    }

    /// Starts the exchange of a parameter's gradient; called in the order of backward.
    func start(_ parameter: Parameter) throws {
        for index in bucketsOf[parameter.index] ?? [] {
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

    /// Does the exchange's work once a step's backward is enqueued, unless a separate thread does it.
    ///
    /// It follows the device from bucket to bucket, and works in between.
    func drain() throws {
        try device.flush()
        try driver.drain()
    }

    /// Waits for the totals of all ranks, and replaces this rank's totals by them.
    ///
    /// - Returns: whether any rank asks to stop
    func settleTotals(_ loss: SoftmaxCrossEntropy, step: Int) throws -> Bool {
        let pointer = try wait(0)
        let shared = UnsafeRawPointer(butterfly.values).assumingMemoryBound(to: SharedTotals.self)
        let stops = shared.pointee.stopRequests > 0
        if let pointer { try totals.unmap(pointer) }
        try loss.setTotals(step: step, from: totals)
        return stops
    }

    /// Waits for the sum of all ranks' gradients of a parameter, and returns it to the device.
    func settle(_ parameter: Parameter) throws {
        for index in bucketsOf[parameter.index] ?? [] {
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

    /// Waits for a bucket's all-reduce and returns where it is mapped; nil if that has happened before.
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
