import Foundation

/// Connects one rank of a job to the others.
public protocol Communicator: AnyObject {
    var rank: Int { get }
    var size: Int { get }
    /// The ranks of each node; those of a node share memory.
    var nodes: [[Int]] { get }

    /// Returns the bytes of all ranks, in their order. Every rank calls it at the same point.
    func gather(_ bytes: [UInt8]) throws -> [[UInt8]]

    /// Opens memory to the ranks of `group`, which contains this rank. Every rank of the job calls it at the
    /// same point, with its own group.
    ///
    /// - Parameters:
    ///   - byteCount: bytes of each rank's block
    ///   - channels: the number of channels
    func transport(_ kind: TransportKind, group: [Int], byteCount: Int, channels: Int) throws -> any Transport
}

extension Communicator {
    /// Returns the values of all ranks, in their order.
    public func gather<Value: BitwiseCopyable>(_ values: [Value]) throws -> [[Value]] {
        try gather(values.withUnsafeBytes { Array($0) }).map { (bytes: [UInt8]) in valuesOf(bytes) }
    }
}

/// Returns the values whose memory `bytes` is.
func valuesOf<Value: BitwiseCopyable>(_ bytes: [UInt8]) -> [Value] {
    bytes.withUnsafeBytes { raw in
        stride(from: 0, to: raw.count, by: MemoryLayout<Value>.stride).map {
            raw.loadUnaligned(fromByteOffset: $0, as: Value.self)
        }
    }
}

/// Says why ranks cannot work together.
public struct CollectiveError: Error, CustomStringConvertible, Equatable {
    public let description: String

    public init(_ description: String) { self.description = description }
}

/// Pauses longer the longer a wait lasts, because a waiting rank often shares its core with the one that it
/// waits for.
public struct Backoff {
    private var count = 0

    public init() {}

    public mutating func pause() {
        count += 1
        if count < 50 { sched_yield() } else { usleep(count < 2000 ? 20 : 200) }
    }
}
