import Configuration
import DeviceInput
import Basics
import Compute
import Models
import Foundation
import NeuralNet

/// Plans the device memory of training, with the functions that also size the allocations.
public struct TrainingMemory {
    /// The mini-batches that are on the device at once.
    public enum Input: Sendable {
        /// One, of images that have the size of the network's input.
        case benchmark
        /// Two for training and two for validation, of photographs with this shorter side and an aspect of
        /// 4:3.
        case photographs(shortSide: Int)
    }

    public let architecture: Architecture
    public let imageSize: Int
    public let classes: Int
    public let microBatches: Int
    public let convolution: ConvolutionAlgorithms?
    public let freezesFeatures: Bool
    public let input: Input
    public let device: DeviceDescription
    /// The size of the cache of decoded photographs.
    public private(set) var cache: CacheSize
    /// Whether gradients go to other ranks. A device that does not work in the host's memory then has a
    /// second copy of them.
    public private(set) var exchanges = false

    public init(
        _ architecture: Architecture, imageSize: Int, classes: Int, microBatches: Int = 1,
        convolution: ConvolutionAlgorithms? = nil, freezesFeatures: Bool = false, input: Input,
        cache: CacheSize = .off, device: DeviceDescription
    ) {
        self.architecture = architecture
        self.imageSize = imageSize
        self.classes = classes
        self.microBatches = microBatches
        self.convolution = convolution
        self.freezesFeatures = freezesFeatures
        self.input = input
        self.cache = cache
        self.device = device
    }

    /// Describes a run with these options.
    ///
    /// - Parameters:
    ///   - microBatches: the number of this rank's micro-batches; nil for all
    ///   - exchanges: whether there are other ranks
    public init(
        _ options: TrainingOptions, classes: Int, microBatches: Int? = nil, exchanges: Bool = false,
        device: DeviceDescription
    ) throws {
        let shortSide = options.shortSide ?? ModelDescription.usualShortSide(imageSize: options.imageSize)
        try self.init(
            Architecture(parsing: options.model), imageSize: options.imageSize, classes: classes,
            microBatches: microBatches ?? options.microBatches, convolution: options.convolution.algorithms,
            freezesFeatures: options.freeze == .features, input: .photographs(shortSide: shortSide),
            cache: options.cache, device: device)
        self.exchanges = exchanges
    }

    /// Returns the layers and buffers of a network that trains in batches of `batch`.
    public func network(batch: Int) throws -> NetworkPlan {
        try NetworkPlan(
            architecture, imageSize: imageSize, classes: classes,
            options: Network.Options(
                maximumBatch: batch / microBatches, training: true, convolution: convolution,
                freezesFeatures: freezesFeatures), device: device)
    }

    /// Returns the memory of a step over `batch` images.
    ///
    /// - Throws: `NetworkError` if the image is too small for the poolings.
    public func plan(batch: Int) throws -> MemoryPlan {
        let microBatch = batch / microBatches
        let network = try network(batch: batch)
        var plan = MemoryPlan(device: device)
        plan.add(network, device: device)
        let arena = ParameterArena.bufferSizes(network.trainedParameters, device: device)
        for _ in 0..<TrainingStep.gradientArenas(microBatches: microBatches) { plan.add(.gradients, arena) }
        if exchanges, device.kind != .cpu { plan.add(.gradients, arena) }
        plan.add(.momentum, arena)
        plan.add(.workspace, SoftmaxCrossEntropy.byteCounts(maximumBatch: microBatch))
        switch input {
        case .benchmark:
            plan.add(
                .batches,
                DeviceBatch.byteCounts(capacity: batch, pixelBytes: batch * imageSize * imageSize * 3))
        case .photographs(let shortSide):
            let photograph = shortSide * (shortSide * 4 / 3) * 3
            for capacity in [batch, batch, microBatch, microBatch] {
                plan.add(
                    .batches, DeviceBatch.byteCounts(capacity: capacity, pixelBytes: capacity * photograph))
            }
            plan.add(.workspace, SoftmaxCrossEntropy.byteCounts(maximumBatch: microBatch))
        }
        // Last, because `auto` takes a share of the memory that is left. The cache consists of at most as
        // many slabs as the kernel accepts, each at most the largest buffer.
        var rest = cache.capacity(on: device, allocated: plan.total)
        for _ in 0..<ImageInput.cacheSlabs where rest > 0 {
            plan.add(.cachedData, [min(rest, device.largestBuffer)])
            rest -= device.largestBuffer
        }
        return plan
    }

    /// Returns the largest batch that fits the device, a multiple of `microBatches` up to 65 536; nil if not
    /// even the smallest does.
    public func largestBatch() throws -> Int? {
        // No buffer shrinks when the batch grows, so the batches that fit are a range that starts at 1.
        var fitting = 0
        var tooLarge = 65_536 / microBatches + 1
        while tooLarge - fitting > 1 {
            let middle = (fitting + tooLarge) / 2
            if try plan(batch: middle * microBatches).fits { fitting = middle } else { tooLarge = middle }
        }
        return fitting > 0 ? fitting * microBatches : nil
    }

    /// Returns the table of all memory, with the largest batch that fits.
    public func table(batch: Int) throws -> String {
        let plan = try plan(batch: batch)
        var lines = [
            "device memory of \(architecture), \(imageSize)×\(imageSize), batch \(batch), \(microBatches) "
                + "micro-batch\(microBatches == 1 ? "" : "es")"
        ]
        func row(_ name: String, _ bytes: Int, _ note: String = "") {
            let amount = MemorySize.text(bytes)
            let padding = { (text: String, width: Int) in
                String(repeating: " ", count: max(1, width - text.count))
            }
            lines.append("  " + name + padding(name, 28) + padding(amount, 10) + amount + note)
        }
        for kind in MemoryPlan.Kind.allCases {
            row(
                kind.rawValue, plan[kind],
                kind == .cachedData && cache == .auto && plan[kind] > 0
                    ? " at most; a small set takes less" : "")
        }
        row(
            "total", plan.total,
            " of \(MemorySize.text(plan.deviceMemory))\(plan.total > plan.deviceMemory ? ": too much" : "")")
        row(
            "largest buffer", plan.largest.byteCount,
            " (\(plan.largest.kind.rawValue)) of \(MemorySize.text(plan.deviceLargestBuffer))"
                + (plan.largest.byteCount > plan.deviceLargestBuffer ? ": too much" : ""))
        lines.append((plan.fits ? "fits " : "does not fit ") + plan.deviceName)
        if let largest = try largestBatch() {
            lines.append(
                "largest batch that fits: \(largest)"
                    + (largest == 65_536 / microBatches * microBatches ? " or more" : ""))
        } else {
            let remedy =
                try withoutCache.largestBatch() != nil
                ? " beside this cache"
                : microBatches > 1 ? "; fewer micro-batches need less memory for gradients" : ""
            lines.append("no batch fits" + remedy)
        }
        return lines.joined(separator: "\n")
    }

    /// Returns what is wrong if a step over `batch` images fits the device, but not beside the requested
    /// cache; nil otherwise.
    public func cacheProblem(batch: Int) throws -> String? {
        guard case .amount(let asked) = cache, try !plan(batch: batch).fits else { return nil }
        let rest = try withoutCache.plan(batch: batch)
        guard rest.fits else { return nil }
        let advice =
            MemorySize.option(atMost: rest.deviceMemory - rest.total).map { "--cache \($0) or less, or " }
            ?? ""
        return
            "--cache \(asked.text) (\(MemorySize.text(asked.bytes))): the device has "
            + "\(MemorySize.text(rest.deviceMemory)), of which training with batches of \(batch) takes "
            + "\(MemorySize.text(rest.total)); give \(advice)--cache auto"
    }

    private var withoutCache: TrainingMemory {
        var memory = self
        memory.cache = .off
        return memory
    }

    /// Checks that a step over `batch` images fits the device.
    ///
    /// - Throws: `TrainingError` with the table.
    func requireFit(batch: Int) throws {
        guard try !plan(batch: batch).fits else { return }
        if let problem = try cacheProblem(batch: batch) {
            throw TrainingError("\(problem)\n" + (try table(batch: batch)))
        }
        let advice =
            try withoutCache.largestBatch() == nil
            ? "a smaller --model or --image-size" : "a smaller --batch, or more --micro-batches"
        throw TrainingError(
            "the network does not fit the device; try \(advice)\n" + (try table(batch: batch)))
    }
}

extension CacheSize {
    /// Returns the cache's bytes on a device on which `allocated` bytes are taken.
    func capacity(on device: DeviceDescription, allocated: Int) -> Int {
        switch self {
        case .auto: ImageCache.automaticCapacity(of: device, allocated: allocated)
        case .off: 0
        case .amount(let size): size.bytes
        }
    }
}
