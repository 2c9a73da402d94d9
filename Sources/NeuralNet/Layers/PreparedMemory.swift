import Compute

/// Holds memory that `prepare` gives to an operation, which traps if it runs before.
struct PreparedMemory {
    private let operation: String
    private var memory: Buffer?

    init(for operation: String) { self.operation = operation }

    mutating func give(_ memory: Buffer?) { self.memory = memory }

    var buffer: Buffer {
        guard let memory else { preconditionFailure("\(operation) runs before `prepare` gave it memory") }
        return memory
    }
}

extension FeatureShape {
    /// The map's size as kernels take it.
    var mapSize: MapSize { MapSize(height: height, width: width, channels: storedChannels) }
}
