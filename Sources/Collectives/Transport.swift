/// How bytes get from rank to rank.
public enum TransportKind: String, Sendable, CaseIterable {
    /// MPI's one-sided windows: put, then a flag.
    case onesided
    /// Memory that the ranks of a node share.
    case shared
    /// Messages, for fabrics without windows.
    case sendrecv
}

/// Carries bytes between the memory blocks of a group of ranks, which are numbered within the group.
///
/// A message consists of `write`s on one channel to one peer, and a `signal`. Its receiver `expect`s the same
/// pieces, and asks whether the message `hasArrived`. A channel carries one message from each peer at a time;
/// they are numbered 1, 2, 3 …. MPICommunicator.swift has the transports over MPI, ThreadCommunicator.swift
/// that between threads.
public protocol Transport: AnyObject {
    /// This rank's block, at a multiple of 4096 bytes.
    var memory: UnsafeMutableRawPointer { get }
    /// Returns a peer's block; nil if this rank cannot read it in place.
    func memory(of peer: Int) -> UnsafeMutableRawPointer?
    /// Starts to copy bytes to `offset` in the peer's block; they must not change until `isQuiet`.
    func write(_ bytes: UnsafeRawBufferPointer, to peer: Int, at offset: Int, channel: Int) throws
    /// Ends a message.
    func signal(_ peer: Int, channel: Int, number: UInt64) throws
    /// Prepares to receive a piece of the next message.
    func expect(_ byteCount: Int, from peer: Int, at offset: Int, channel: Int) throws
    /// Checks which messages have arrived and which have left. A loop that waits for them calls it in each
    /// iteration.
    func poll() throws
    /// Returns whether the message of this number has arrived completely. Does not wait.
    func hasArrived(from peer: Int, channel: Int, number: UInt64) throws -> Bool
    /// Returns whether everything written on a channel has left this rank's memory. Does not wait.
    func isQuiet(channel: Int) throws -> Bool
}

extension Transport {
    public func poll() throws {}
}
