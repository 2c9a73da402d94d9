/// Holds how fast a device computes and moves.
public struct DeviceSpeed: Sendable {
    /// 10⁹ operations per second.
    public let gflops: Double
    /// 10⁹ bytes per second.
    public let gigabytesPerSecond: Double

    public init(gflops: Double, gigabytesPerSecond: Double) {
        self.gflops = gflops
        self.gigabytesPerSecond = gigabytesPerSecond
    }
}

/// Counts what launches of one kind compute and move, for the roofline model (Williams, Waterman and
/// Patterson, 2009).
public struct Work: Sendable {
    /// Multiplications and additions that the algorithm needs.
    public let operations: Double
    /// Bytes read from and written to the device's memory, each tensor once.
    public let bytes: Double

    public init(operations: Double = 0, bytes: Double) {
        self.operations = operations
        self.bytes = bytes
    }

    /// Returns the seconds that arithmetic or memory needs, whichever is longer.
    public func seconds(at speed: DeviceSpeed) -> Double {
        max(operations / speed.gflops, bytes / speed.gigabytesPerSecond) * 1e-9
    }
}

extension Sequence<Work> {
    /// Returns the seconds of launches that run one after the other.
    public func seconds(at speed: DeviceSpeed) -> Double { reduce(0) { $0 + $1.seconds(at: speed) } }
}
