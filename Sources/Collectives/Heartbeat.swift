import Basics
import CMPI
import Foundation
import Synchronization

/// Sends the other ranks a sign of life every half second, and ends the job if one is silent for too long.
///
/// It runs on a separate thread, so a long compilation, a validation or a checkpoint does not silence it. A
/// stopped process or a lost node does. Therefore no other code that waits for a rank needs a deadline.
final class Heartbeat: Sendable {
    private static let interval = 0.5
    private let isStopping = Atomic(false)
    private let isStopped = Atomic(false)

    /// Starts the thread.
    ///
    /// - Parameter timeout: seconds of silence after which a rank counts as lost
    /// - Throws: `ThreadLimit`
    init(rank: Int, size: Int, comm: cmpi_comm?, timeout: Double) throws {
        nonisolated(unsafe) let comm = comm
        try SystemThread.start("heartbeat") { [self] in
            run(rank: rank, size: size, comm: comm, timeout: timeout)
            isStopped.store(true, ordering: .releasing)
        }
    }

    func stop() {
        isStopping.store(true, ordering: .releasing)
        while !isStopped.load(ordering: .acquiring) { usleep(1000) }
    }

    private func run(rank: Int, size: Int, comm: cmpi_comm?, timeout: Double) {
        let peers = (0..<size).filter { $0 != rank }
        var outgoing = [cmpi_request?](repeating: nil, count: size)
        var incoming = [cmpi_request?](repeating: nil, count: size)
        let beat = UnsafeMutablePointer<UInt8>.allocate(capacity: size + 1)
        beat.initialize(repeating: 0, count: size + 1)
        defer { beat.deallocate() }
        // Silence is counted in rounds of this thread, so that time in which this process itself was stopped
        // does not count.
        var silence = [Double](repeating: 0, count: size)
        for peer in peers { _ = cmpi_receive(beat + peer, 1, Int32(peer), 1, comm, &incoming[peer]) }
        while !isStopping.load(ordering: .acquiring) {
            for peer in peers {
                if outgoing[peer] != nil {
                    var done: Int32 = 0
                    if cmpi_test(&outgoing[peer], &done) != 0 || done == 0 { continue }
                    outgoing[peer] = nil
                }
                _ = cmpi_send(beat + size, 1, Int32(peer), 1, comm, &outgoing[peer])
            }
            for peer in peers {
                silence[peer] += Heartbeat.interval
                var done: Int32 = 1
                while cmpi_test(&incoming[peer], &done) == 0, done != 0 {
                    silence[peer] = 0
                    _ = cmpi_receive(beat + peer, 1, Int32(peer), 1, comm, &incoming[peer])
                }
            }
            let lost = peers.filter { silence[$0] >= timeout }
            if !lost.isEmpty { giveUp(rank: rank, lost: lost, timeout: timeout) }
            // Short naps, so that the end of the job does not wait for this thread.
            for _ in 0..<10 where !isStopping.load(ordering: .acquiring) {
                usleep(UInt32(Heartbeat.interval * 1e5))
            }
        }
        for peer in peers { _ = cmpi_cancel(&incoming[peer]) }
    }

    private func giveUp(rank: Int, lost: [Int], timeout: Double) -> Never {
        let names = lost.map(String.init).joined(separator: ", ")
        RankReport(.lostRanks, "no sign of life from rank \(names)").write()
        StandardStreams.writeError(
            "rank \(rank): error: no sign of life from rank \(names) for \(String(format: "%g", timeout)) "
                + "seconds: its process is stopped, or its node or network is gone. The job ends; a run can "
                + "be resumed from its newest checkpoint, on any number of ranks\n")
        // All ranks notice within one round, and each reports it before the first of them ends the job.
        usleep(1_500_000)
        MPICommunicator.abort(status: RankReport.lostStatus)
    }
}

/// Ends the job if MPI waits too long for a rank at its start or end, when there is no heartbeat.
final class Watchdog: Sendable {
    private let isCancelled = Atomic(false)

    /// - Parameter hint: what else may be the cause
    /// - Throws: `ThreadLimit`
    init(_ what: String, seconds: Double, hint: String = "") throws {
        let end = Clock.seconds + seconds
        try SystemThread.start("watchdog", stackSize: 1 << 18) { [self] in
            while Clock.seconds < end {
                if isCancelled.load(ordering: .acquiring) { return }
                usleep(20_000)
            }
            if isCancelled.load(ordering: .acquiring) { return }
            RankReport(.lostRanks, what).write()
            StandardStreams.writeError(
                "rank \(MPICommunicator.launchedRank): error: \(what) within "
                    + "\(String(format: "%g", seconds)) seconds: the process of one of them is stopped, or "
                    + "its node or network is gone\(hint)\n")
            MPICommunicator.unlinkSharedFiles()
            _exit(RankReport.lostStatus)
        }
    }

    func cancel() { isCancelled.store(true, ordering: .releasing) }
}
