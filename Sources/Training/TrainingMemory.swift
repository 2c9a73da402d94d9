import Basics
import Compute
import Configuration
import DeviceInput
import Foundation
import Models
import NeuralNet

/// Plans the device memory of training, with the functions that also size the allocations.
public struct TrainingMemory {
    public let architecture: Architecture
    private var options: TrainingOptions
    private let classes: Int
    private let microBatches: Int
    private let exchanges: Bool
    private let split: LayerSplit?
    private let device: DeviceDescription

    /// Describes a run with these options.
    ///
    /// - Parameters:
    ///   - microBatches: the number of this rank's micro-batches; nil for all
    ///   - exchanges: whether gradients go to other ranks
    ///   - split: how hidden fully connected layers are split over the ranks; nil if they are not
    public init(
        _ options: TrainingOptions, classes: Int, microBatches: Int? = nil, exchanges: Bool = false,
        split: LayerSplit? = nil, device: DeviceDescription
    ) throws {
        architecture = try Architecture(parsing: options.model)
        self.options = options
        self.classes = classes
        self.microBatches = microBatches ?? options.microBatches
        self.exchanges = exchanges
        self.split = split
        self.device = device
    }

    /// Returns the layers and buffers of a network that trains in batches of `batch`.
    public func network(batch: Int) throws -> NetworkPlan {
        let network = Network.Options(
            maximumBatch: batch / microBatches, training: true, convolution: options.convolution.algorithms,
            freezesFeatures: options.freeze == .features, slices: options.slices,
            split: split?.scaled(toMicroBatch: batch / microBatches))
        return try NetworkPlan(
            architecture, imageSize: options.imageSize, classes: classes, options: network, device: device)
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
        // The gradients that every rank has, and those of layers that are split.
        let common = ParameterArena.bufferSizes(
            network.trainedParameters.filter { !$0.isSplit }, device: device)
        for _ in 0..<TrainingStep.gradientArenas(microBatches: microBatches) { plan.add(.gradients, common) }
        let split = network.trainedParameters.filter(\.isSplit)
        if !split.isEmpty { plan.add(.gradients, ParameterArena.bufferSizes(split, device: device)) }
        // A device that does not work in the host's memory has a second copy of what it exchanges.
        if exchanges, device.kind != .cpu { plan.add(.gradients, common) }
        for _ in 0..<options.optimizer.momentCount { plan.add(.optimizerState, arena) }
        if options.averageDecay != nil { plan.add(.averagedWeights, arena) }
        // Two mini-batches are on the device for training and two for validation, of photographs with an
        // aspect of 4:3.
        let shortSide = options.shortSide ?? ModelDescription.usualShortSide(imageSize: options.imageSize)
        let photograph = shortSide * (shortSide * 4 / 3) * 3
        for capacity in [batch, batch, microBatch, microBatch] {
            plan.add(.batches, DeviceBatch.byteCounts(capacity: capacity, pixelBytes: capacity * photograph))
        }
        for _ in 0..<2 {
            plan.add(.workspace, SoftmaxCrossEntropy.byteCounts(maximumBatch: microBatch, classes: classes))
        }
        // Last, because `auto` takes a share of the memory that is left. The cache consists of at most as
        // many buffers as the kernel accepts, each at most the largest buffer.
        var rest = options.cache.capacity(on: device, allocated: plan.total)
        for _ in 0..<ImageInput.cacheBuffers where rest > 0 {
            plan.add(.cachedData, [min(rest, device.largestBuffer)])
            rest -= device.largestBuffer
        }
        return plan
    }

    /// Returns the largest batch that `train` takes and that fits the device; nil if none does.
    public func largestBatch() throws -> Int? {
        // No buffer shrinks when the batch grows, so the batches that fit are a range that starts at 1.
        var fitting = 0
        var tooLarge = TrainingOptions.largestBatch / microBatches + 1
        while tooLarge - fitting > 1 {
            let middle = (fitting + tooLarge) / 2
            if try plan(batch: middle * microBatches).fits { fitting = middle } else { tooLarge = middle }
        }
        return fitting > 0 ? fitting * microBatches : nil
    }

    /// Returns the table of all memory, with the largest batch that fits.
    public func table(batch: Int) throws -> String {
        let plan = try plan(batch: batch)
        var table = TextTable([.left, .right, .left])
        func row(_ name: String, _ bytes: Int, _ note: String = "", of limit: Int? = nil) {
            let bound = limit.map { "of \(MemorySize.text($0))\(bytes > $0 ? ": too much" : "")" }
            let notes = [note, bound ?? ""].filter { !$0.isEmpty }
            table.add(["  " + name, MemorySize.text(bytes), notes.joined(separator: " ")])
        }
        for kind in MemoryPlan.Kind.allCases {
            let mayTakeLess = kind == .cachedData && options.cache == .auto && plan[kind] > 0
            row(kind.rawValue, plan[kind], mayTakeLess ? "at most; a small set takes less" : "")
        }
        row("total", plan.total, of: plan.deviceMemory)
        let largest = plan.largest
        row("largest buffer", largest.byteCount, "(\(largest.kind.rawValue))", of: plan.deviceLargestBuffer)
        var lines = [
            "device memory of \(architecture), \(options.imageSize)×\(options.imageSize), batch \(batch), "
                + "\(microBatches) micro-batch\(microBatches == 1 ? "" : "es")"
        ]
        lines += table.lines
        lines.append((plan.fits ? "fits " : "does not fit ") + plan.deviceName)
        if let largest = try largestBatch() {
            let mayBeLarger = largest == TrainingOptions.largestBatch / microBatches * microBatches
            lines.append("largest batch that fits: \(largest)\(mayBeLarger ? " or more" : "")")
        } else if try withoutCache.largestBatch() != nil {
            lines.append("no batch fits beside this cache")
        } else {
            let remedy = microBatches > 1 ? "; fewer micro-batches need less memory for gradients" : ""
            lines.append("no batch fits" + remedy)
        }
        return lines.joined(separator: "\n")
    }

    /// Returns what is wrong if a step over `batch` images fits the device, but not beside the cache.
    public func cacheProblem(batch: Int) throws -> TrainingError? {
        guard case .amount(let asked) = options.cache, try !plan(batch: batch).fits else { return nil }
        let rest = try withoutCache.plan(batch: batch)
        guard rest.fits else { return nil }
        let room = MemorySize.option(atMost: rest.deviceMemory - rest.total)
        return TrainingError(
            "a cache of \(asked.text) (\(MemorySize.text(asked.bytes))) does not fit: the device has "
                + "\(MemorySize.text(rest.deviceMemory)), of which training with batches of \(batch) takes "
                + MemorySize.text(rest.total), kind: .cacheTooLarge(room: room))
    }

    private var withoutCache: TrainingMemory {
        var memory = self
        memory.options.cache = .off
        return memory
    }

    /// Says why a CPU has less memory than the machine.
    private var limitNote: String {
        guard device.isWithinLimit, let text = AddressSpace.limitText else { return "" }
        return ", because \(text) (ulimit -v)"
    }

    /// Checks that a step over `batch` images fits the device.
    ///
    /// - Throws: `TrainingError` with the table.
    func requireFit(batch: Int) throws {
        guard try !plan(batch: batch).fits else { return }
        let problem =
            try cacheProblem(batch: batch)
            ?? TrainingError(
                "the network does not fit the device" + limitNote,
                kind: .tooLittleMemory(anyBatch: withoutCache.largestBatch() != nil))
        throw TrainingError("\(problem)\n" + (try table(batch: batch)), kind: problem.kind)
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
