import Compute

/// Adds up the device memory that some work takes, by kind, without allocating anything.
public struct MemoryPlan: Sendable, Equatable {
    /// What memory is used for.
    public enum Kind: String, CaseIterable, Sendable {
        case weights, gradients
        case optimizerState = "optimiser state"
        case averagedWeights = "averaged weights"
        case activations
        case activationGradients = "gradients of activations"
        case gatheredActivations = "gathered activations"
        case workspace
        case batches = "mini-batches"
        case cachedData = "cached data"
    }

    /// Bytes of each buffer, by kind.
    public private(set) var buffers: [Kind: [Int]] = [:]
    /// The device that the plan is for.
    public let deviceName: String
    /// Bytes that the device has in total, and the most it allows in one buffer.
    public let deviceMemory: Int
    public let deviceLargestBuffer: Int

    /// Makes an empty plan.
    public init(device: DeviceDescription) {
        deviceName = device.name
        deviceMemory = device.globalMemory
        deviceLargestBuffer = device.largestBuffer
    }

    /// Adds buffers of these sizes.
    public mutating func add(_ kind: Kind, _ byteCounts: [Int]) {
        // An empty buffer still takes a byte.
        buffers[kind, default: []] += byteCounts.map { max($0, 1) }
    }

    /// Adds what `Network` allocates.
    public mutating func add(_ network: NetworkPlan, device: DeviceDescription) {
        add(.weights, ParameterArena.bufferSizes(network.parameters, device: device))
        add(.weights, network.layerByteCounts)
        add(.activations, network.activationCounts.map { 4 * $0 })
        add(.activationGradients, network.activationGradientCounts.map { 4 * $0 })
        add(.gatheredActivations, network.splitCounts.map { 4 * $0 })
        add(.workspace, [network.workspaceByteCount])
    }

    /// Returns the bytes of one kind.
    public subscript(kind: Kind) -> Int { (buffers[kind] ?? []).reduce(0, +) }

    public var total: Int { Kind.allCases.reduce(0) { $0 + self[$1] } }

    /// The largest single buffer and its kind.
    public var largest: (kind: Kind, byteCount: Int) {
        Kind.allCases.map { ($0, buffers[$0]?.max() ?? 0) }.max { $0.1 < $1.1 } ?? (.weights, 0)
    }

    public var fits: Bool { total <= deviceMemory && largest.byteCount <= deviceLargestBuffer }
}
