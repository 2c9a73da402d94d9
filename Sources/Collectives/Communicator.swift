import Foundation

/// Connects one rank of a job to the others.
public protocol Communicator: AnyObject {
    var rank: Int { get }
    var size: Int { get }
    /// The ranks of each node; those of a node share memory.
    var nodes: [[Int]] { get }

    /// Returns the bytes of all ranks, in their order. Every rank calls it at the same point.
    func gather(_ bytes: [UInt8]) throws -> [[UInt8]]

    /// Opens memory to the ranks of `group`, which contains this rank.
    ///
    /// Every rank of the job calls it at the same point, with its own group.
    ///
    /// - Parameter byteCount: bytes of each rank's block
    func transport(_ kind: TransportKind, group: [Int], byteCount: Int, channels: Int) throws -> any Transport
}

extension Communicator {
    /// The ranks of this rank's node.
    public var node: [Int] { nodes.first { $0.contains(rank) } ?? [rank] }

    /// Returns this rank's index in a group that contains it.
    func member(of group: [Int]) -> Int {
        guard let member = group.firstIndex(of: rank) else {
            preconditionFailure("rank \(rank) is not in its own group \(group)")
        }
        return member
    }

    /// Returns the values of all ranks, in their order.
    public func gather<Value: BitwiseCopyable>(_ values: [Value]) throws -> [[Value]] {
        try gather(bytesOf(values)).map { (bytes: [UInt8]) in valuesOf(bytes) }
    }

    /// Waits until all ranks have called it.
    public func barrier() throws { _ = try gather([]) }
}

func bytesOf<Value: BitwiseCopyable>(_ values: [Value]) -> [UInt8] { values.withUnsafeBytes { Array($0) } }

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
    public enum Kind: Sendable {
        /// This rank cannot do what the job asks of it; it would fail again.
        case own
        /// This was started as a rank, but Open MPI cannot be used.
        case noMPI
        /// MPI failed while ranks were connected, as when one of them is lost.
        case lostConnection
        /// Another rank of this process failed, and has its own error.
        case otherRank
    }

    public let kind: Kind
    public let description: String

    public init(_ description: String, kind: Kind = .own) {
        self.kind = kind
        self.description = description
    }
}

/// Pauses longer the longer a wait lasts, because the rank that it waits for may share its core.
public struct Backoff {
    private var count = 0

    public init() {}

    /// Pauses unless there was work, after which the next pause is short.
    public mutating func pause(unless worked: Bool = false) {
        count = worked ? 0 : count + 1
        if worked { return }
        if count < 50 { sched_yield() } else { usleep(count < 2000 ? 20 : 200) }
    }
}
