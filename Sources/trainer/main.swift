import ArgumentParser
import Basics
import Collectives
import Foundation
import Runs

requireStack()
Interruption.noteIgnored()
StandardStreams.openClosed()
useLineBuffering()
reportFullFiles()
limitThreadStacks()
var status: Int32 = 0
var typed: (any ParsableCommand)?
do {
    var command = try TrainerCommand.parseAsRoot()
    typed = command
    // Help is for everyone.
    if type(of: command).name != "help", let launcher = ForeignLauncher() { throw launcher }
    if !(command is any RunsOnRanks) { try Job.requireAlone(type(of: command).name) }
    try command.run()
    try Job.leave()
} catch {
    let failure = Failure(error: error, command: typed)
    status = failure.status
    failure.end.map { RankReport($0, "\(error)").write() }
    let rank = MPICommunicator.launchedRank
    if error is TrainingInterrupted {
        // All ranks stop at the same step.
        if rank == 0 { failure.report() }
        try? Job.leave()
    } else {
        // Rank 0 reports what all ranks find. Before the ranks join, only the command line can be wrong.
        if rank > 0 {
            if !Job.isJoined { exit(status) }
            usleep(500_000)
        }
        failure.report()
        Job.abort(status: status)
    }
}
if status == 0, outputHasFailed() {
    StandardStreams.writeError("error: the standard output could not be written\n")
    status = 1
}
exit(status)
