import Basics
import Runs
import Foundation
import Models

/// What a run can go on from.
extension Trainer {
    /// Writes the checkpoint of a step, from which on the run can go on, and removes those too many.
    func writeCheckpoint(step: Int) throws {
        try training.finishUpdate()
        try ranks?.verifyWeights(network, step: step)
        try gatherBadFiles()
        description.epoch = step / stepsPerEpoch
        description.step = step
        var next = state
        next.step = step
        try measureProgress(&next)
        do {
            try folder?.writeCheckpoint(step: step) { path in
                try Checkpoint.write(network, description, to: path + "/model.safetensors")
                try TrainingState.writeVelocities(training.optimizer, path)
                try next.write(path)
            }
        } catch let error as Checkpoint.NotFinite {
            throw diverged("after step \(step) \(error.parameter) is not finite")
        }
        state = next
        try folder?.link("last", step: step)
        try folder?.prune(keep: options.keep, best: state.best?.step)
    }

    /// Notes how long the log is, once it is on the disk, and the time.
    func measureProgress(_ state: inout TrainingState) throws {
        state.metricsByteCount = try metrics?.synchronize() ?? 0
        state.seconds = secondsSinceStart
    }

    /// Seconds that the run has taken, those before it was resumed too.
    var secondsSinceStart: Double { secondsBefore + (ContinuousClock.now - start).seconds }
}
