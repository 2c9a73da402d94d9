import Basics
import Collectives
import Evaluation
import Foundation
import Photographs

extension Ensemble {
    /// Calls `run` with a progress bar, which the first of several ranks draws.
    func runShowingProgress(
        _ set: ImageSet, batch: Int, workers: Int, ranks: (any Communicator)?, heat: HeatRequest? = nil
    ) throws -> Answer {
        let bar = ProgressBar()
        defer { bar.clear() }
        let start = ContinuousClock.now
        return try run(set, batch: batch, workers: workers, ranks: ranks, heat: heat) { share in
            guard Job.isFirst else { return }
            let seconds = (ContinuousClock.now - start).seconds
            let left = ProgressBar.duration(seconds * (1 - share) / share)
            bar.draw(
                done: Int(1000 * share), of: 1000,
                String(format: "%.0f %% of \(set.count) images, ", 100 * share) + left + " left")
        }
    }
}
