import ArgumentParser
import Collectives
import Foundation
import Synchronization

/// The ranks that mpirun has started this process as one of.
enum Job {
    private static let joined = Mutex<MPICommunicator?>(nil)

    /// Joins them.
    ///
    /// - Returns: nil where this process was started alone
    static func join(peerTimeout: Double) throws -> MPICommunicator? {
        guard MPICommunicator.launchedRanks > 1 else { return nil }
        let communicator = try MPICommunicator(peerTimeout: peerTimeout)
        joined.withLock { $0 = communicator }
        // A launcher that is not Open MPI's may have started many jobs of one rank.
        guard communicator.size == MPICommunicator.launchedRanks else {
            throw CollectiveError(
                "this was started as one of \(MPICommunicator.launchedRanks) ranks, but MPI knows of "
                    + "\(communicator.size); start with the mpirun of the Open MPI whose library is "
                    + "installed, or with srun --mpi=pmix")
        }
        return communicator
    }

    static var isJoined: Bool { joined.withLock { $0 } != nil }

    /// Leaves in order, after success or after a stop that all ranks share.
    static func leave() throws {
        try joined.withLock { $0 }?.finish()
        joined.withLock { $0 = nil }
    }

    /// Ends the whole job where this rank has failed. Comes back where this process is alone.
    static func abort(status: Int32) {
        if joined.withLock({ $0 }) != nil { MPICommunicator.abort(status: status) }
    }

    /// Commands that are one process's work would be done by every rank.
    static func requireAlone(_ command: String) throws {
        guard MPICommunicator.launchedRanks <= 1 else {
            throw ValidationError("\(command) runs in one process; start it without mpirun")
        }
    }
}
