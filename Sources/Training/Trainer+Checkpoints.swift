import Foundation
import Models
import Runs

/// A run's checkpoints.
extension Trainer {
    /// Writes the checkpoint of a step, and removes those that exceed `keep`.
    func writeCheckpoint(step: Int) throws {
        try machinery.training.finishUpdate()
        try ranks?.verifyWeights(network, step: step)
        if machinery.training.optimizer.average != nil {
            try machinery.training.withAveragedWeights { try ranks?.verifyWeights(network, step: step) }
        }
        try gatherBadFiles()
        description.epoch = step / workload.stepsPerEpoch
        description.step = step
        var next = state
        next.step = step
        try measureProgress(&next)
        do {
            try output.folder?.writeCheckpoint(step: step) { path in
                let export = hybrid.map { $0.export } ?? exportWhole
                try machinery.training.withAveragedWeights {
                    try Checkpoint.write(
                        network, description, to: path + "/model.safetensors", export: export)
                }
                try TrainingState.writeOptimizer(
                    machinery.training.optimizer, network, path, export: export)
                try next.write(path)
            }
            if output.folder == nil { try sendSplitLayers() }
        } catch let error as Checkpoint.NotFinite {
            throw diverged("after step \(step) \(error.parameter) is not finite")
        }
        state = next
        try output.folder?.link("last", step: step)
        try output.folder?.prune(keep: options.keep, best: state.best?.step)
        try report(.checkpoint(step: step))
    }

    /// Sends what the first rank, in `writeCheckpoint`, collects for its files, in the same order.
    private func sendSplitLayers() throws {
        guard let hybrid else { return }
        try machinery.training.withAveragedWeights {
            for name in SafetensorsFile.order(network.parameters.map(\.name)) {
                for parameter in network.parameters where parameter.name == name {
                    try hybrid.export(parameter, network.weights[parameter]) { _ in }
                }
            }
        }
        let tensors = TrainingState.tensors(of: machinery.training.optimizer, network)
        for name in SafetensorsFile.order(tensors.map(\.name)) {
            for tensor in tensors where tensor.name == name {
                try hybrid.export(tensor.parameter, tensor.values) { _ in }
            }
        }
    }

    /// Notes the time, and the log's length once it is on the disk.
    func measureProgress(_ state: inout TrainingState) throws {
        state.metricsByteCount = try output.metrics?.synchronize() ?? 0
        state.seconds = secondsSinceStart
    }
}
