import Runs
import ArgumentParser
import Collectives
import Basics
import Foundation

StandardStreams.openClosed()
useLineBuffering()
reportFullFiles()
do {
    var command = try TrainerCommand.parseAsRoot()
    if !(command is any RunsOnRanks) { try Job.requireAlone(type(of: command)._commandName) }
    try command.run()
    try Job.leave()
    if outputHasFailed() {
        StandardStreams.writeError("error: the standard output could not be written\n")
        exit(1)
    }
} catch let stop as TrainingInterrupted {
    if MPICommunicator.launchedRank == 0 { _ = Failure.report(stop) }
    try? Job.leave()
    exit(128 + stop.signal)
} catch {
    // What all ranks find the first one says for all: before they have joined nothing but the command line
    // can be wrong.
    if MPICommunicator.launchedRank > 0 {
        if !Job.isJoined { exit(Failure.status(error)) }
        usleep(500_000)
    }
    let status = Failure.report(error)
    Job.abort(status: status)
    exit(status)
}
