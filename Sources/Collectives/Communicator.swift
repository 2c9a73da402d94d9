import Foundation

/// The ranks of a job, seen from one of them.
public protocol Communicator: AnyObject {
    var rank: Int { get }
    var size: Int { get }
    /// The ranks that share memory, node by node.
    var nodes: [[Int]] { get }

    /// Everybody's bytes, in the ranks' order. Every rank calls it, in the same place.
    func gather(_ bytes: [UInt8]) throws -> [[UInt8]]

    /// Opens memory to the ranks of `group`, of which this rank is one. Every rank of the job calls it, in
    /// the same place, with its own group.
    ///
    /// - Parameters:
    ///   - byteCount: of each rank's block
    ///   - channels: numbers that its messages may have are 0 ..< `channels`
    func transport(_ kind: TransportKind, group: [Int], byteCount: Int, channels: Int) throws -> any Transport
}

extension Communicator {
    /// Everybody's values, in the ranks' order.
    public func gather<Value: BitwiseCopyable>(_ values: [Value]) throws -> [[Value]] {
        try gather(values.withUnsafeBytes { Array($0) }).map { (bytes: [UInt8]) in valuesOf(bytes) }
    }
}

/// The values whose memory `bytes` is.
func valuesOf<Value: BitwiseCopyable>(_ bytes: [UInt8]) -> [Value] {
    bytes.withUnsafeBytes { raw in
        stride(from: 0, to: raw.count, by: MemoryLayout<Value>.stride).map {
            raw.loadUnaligned(fromByteOffset: $0, as: Value.self)
        }
    }
}

/// How bytes get from rank to rank.
public enum TransportKind: String, Sendable, CaseIterable {
    /// MPI's one-sided windows: put, then a flag.
    case onesided
    /// Memory that the ranks of a node share.
    case shared
    /// Messages, where the fabric has no windows.
    case sendrecv
}

/// Memory of a group of ranks, and the ways from one rank's block to another's. Ranks are counted within the
/// group.
///
/// A message is some `write`s on one channel to one peer and then a `signal`; its receiver `expect`s the same
/// pieces and asks whether it `hasArrived`. A channel carries one message from each peer at a time, numbered
/// 1, 2, 3 ….
public protocol Transport: AnyObject {
    /// This rank's block, at a multiple of 4096 bytes.
    var memory: UnsafeMutableRawPointer { get }
    /// A peer's block, where it can be read in place.
    func memory(of peer: Int) -> UnsafeMutableRawPointer?
    /// Starts to copy bytes to `offset` in the peer's block; they must stay until `isQuiet`.
    func write(_ bytes: UnsafeRawBufferPointer, to peer: Int, at offset: Int, channel: Int) throws
    /// Ends a message.
    func signal(_ peer: Int, channel: Int, number: UInt64) throws
    /// Makes room for a piece of the next message.
    func expect(_ byteCount: Int, from peer: Int, at offset: Int, channel: Int) throws
    /// Whether the message of this number is here, whole. Does not wait.
    func hasArrived(from peer: Int, channel: Int, number: UInt64) throws -> Bool
    /// Whether what was written on a channel has left this rank's memory. Does not wait.
    func isQuiet(channel: Int) throws -> Bool
}

/// Why ranks cannot work together.
public struct CollectiveError: Error, CustomStringConvertible, Equatable {
    public let description: String

    public init(_ description: String) { self.description = description }
}

/// Waits a little, and longer the longer nothing has come: a rank that waits often shares its core with the
/// one that it waits for.
public struct Backoff {
    private var count = 0

    public init() {}

    public mutating func pause() {
        count += 1
        if count < 50 { sched_yield() } else { usleep(count < 2000 ? 20 : 200) }
    }
}
