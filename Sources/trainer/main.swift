import ArgumentParser
import Collectives
import Foundation
import Training

useLineBuffering()
reportFullFiles()
do {
    var command = try TrainerCommand.parseAsRoot()
    if !(command is any RunsOnRanks) { try Job.requireAlone(type(of: command)._commandName) }
    try command.run()
    try Job.leave()
} catch let stop as TrainingInterrupted {
    if MPICommunicator.launchedRank == 0 { _ = Failure.report(stop) }
    try? Job.leave()
    exit(128 + stop.signal)
} catch {
    // What all ranks find, such as a mistake in the command line, the first one says for all.
    if MPICommunicator.launchedRank > 0 { usleep(500_000) }
    let status = Failure.report(error)
    Job.abort(status: status)
    exit(status)
}
