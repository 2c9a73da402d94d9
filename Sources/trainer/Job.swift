import ArgumentParser
import Collectives
import Configuration
import Foundation
import Runs
import Synchronization

/// The job of several ranks to which this process may belong.
enum Job {
    private static let joined = Mutex<MPICommunicator?>(nil)

    /// Seconds after which a silent rank ends a job without the option --peer-timeout.
    static let usualPeerTimeout = TrainingOptions().peerTimeout

    /// Joins the job.
    ///
    /// - Returns: nil if this process was started without a launcher
    static func join(peerTimeout: Double = usualPeerTimeout) throws -> MPICommunicator? {
        guard MPICommunicator.launchedRanks > 1 else { return nil }
        let communicator = try MPICommunicator(
            peerTimeout: peerTimeout,
            startHint: ". If the machines have several networks, name theirs: trainer launch --interface "
                + "eth0, or mpirun --mca btl_tcp_if_include eth0 --mca oob_tcp_if_include eth0")
        joined.withLock { $0 = communicator }
        // A launcher of another MPI may have started many jobs of one rank.
        guard communicator.size == MPICommunicator.launchedRanks else {
            throw CollectiveError(
                "this was started as one of \(MPICommunicator.launchedRanks) ranks, but MPI knows of "
                    + "\(communicator.size); start with the mpirun of the Open MPI whose library is "
                    + "installed, or with srun --mpi=pmix")
        }
        return communicator
    }

    /// The options of mpirun that lines for the user may have.
    static let mpirunFlags = ["allow-run-as-root", "oversubscribe"]

    /// Returns the command line that starts this job with other options of `train`.
    static func line(_ options: String) -> String {
        if let launch = ProcessInfo.processInfo.environment[RunFolder.launchVariable], !launch.isEmpty {
            return "\(launch) -- train \(options)"
        }
        let ranks = MPICommunicator.launchedRanks
        guard ranks > 1 else { return "trainer \(options)" }
        var words = ["mpirun", "-n", "\(ranks)"] + mpirunFlags.map { "--" + $0 }
        if geteuid() != 0 { words.removeAll { $0.hasSuffix("root") } }
        if ranks <= ProcessInfo.processInfo.activeProcessorCount {
            words.removeAll { $0.hasSuffix("scribe") }
        }
        return (words + ["trainer", options]).joined(separator: " ")
    }

    /// Whether this process prints and writes: rank 0, or the only one.
    static var isFirst: Bool { joined.withLock { $0 }?.rank ?? 0 == 0 }

    static var isJoined: Bool { joined.withLock { $0 } != nil }

    /// Leaves the job after success, or after a stop of all ranks.
    static func leave() throws {
        try joined.withLock { $0 }?.finish()
        joined.withLock { $0 = nil }
    }

    /// Ends the whole job after this rank has failed, or returns if this process has no job.
    static func abort(status: Int32) {
        if joined.withLock({ $0 }) != nil { MPICommunicator.abort(status: status) }
    }

    /// Refuses a launcher for a command that every rank would repeat.
    static func requireAlone(_ command: String) throws {
        guard MPICommunicator.launchedRanks <= 1 else {
            throw ValidationError("\(command) runs in one process; start it without mpirun")
        }
    }
}
