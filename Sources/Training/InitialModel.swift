import Configuration
import Models
import NeuralNet

/// Another model's weights as the beginning of a run (`--init`).
struct InitialModel {
    let checkpoint: Checkpoint

    /// - Parameter fileOrRun: as `Checkpoint` reads it
    init(_ fileOrRun: String) throws { checkpoint = try Checkpoint(fileOrRun) }

    /// Takes what fits by name and shape into a network that is initialised; the last layer only where the
    /// classes are the same.
    ///
    /// - Parameter freezesFeatures: whether the convolutions are left as they are, so that all of them must
    ///   fit
    /// - Returns: a line on what was taken and what was not.
    /// - Throws: `TrainingError` where nothing fits.
    func load(into network: Network, classes: [String], freezesFeatures: Bool) throws -> String {
        let last = classes == checkpoint.description.classes ? nil : network.layers.last
        var taken: [String] = []
        var left: [String] = []
        for parameter in network.parameters {
            let isLast = last?.parameters.contains { $0 === parameter } ?? false
            if !isLast, try checkpoint.loadWhereItFits(parameter, into: network) {
                taken.append(parameter.name)
            } else {
                left.append(parameter.name)
            }
        }
        guard !taken.isEmpty else {
            throw TrainingError(
                "--init \(checkpoint.path): no layer of '\(checkpoint.description.architecture)' fits '\(network.architecture)' by name and shape; "
                    + "give the --model that the checkpoint has")
        }
        if freezesFeatures, let missing = left.first(where: { $0.hasPrefix("features.") }) {
            throw TrainingError(
                "--freeze features: \(missing) of '\(network.architecture)' is not in --init \(checkpoint.path), a '\(checkpoint.description.architecture)', "
                    + "and would stay as it was drawn; give the --model that the checkpoint has")
        }
        return "from \(checkpoint.path): took \(taken.joined(separator: ", ")) and its normalisation"
            + (left.isEmpty ? "" : "; initialised \(left.joined(separator: ", "))")
    }
}
