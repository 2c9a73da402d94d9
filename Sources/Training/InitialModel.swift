import Configuration
import Models
import NeuralNet

/// Another model, from whose weights a run starts.
struct InitialModel {
    let checkpoint: Checkpoint

    /// Opens a .safetensors file or a run.
    init(_ fileOrRun: String) throws { checkpoint = try Checkpoint(fileOrRun) }

    /// Loads what fits by name and shape into an initialised network; the last layer only if the classes are
    /// the same.
    ///
    /// - Parameter freezesFeatures: whether the convolutions are not trained, so that all of them must fit
    /// - Returns: the names of the parameters that were taken, and of those that stay as they were drawn.
    /// - Throws: `TrainingError` if nothing fits.
    func load(into network: Network, classes: [String], freezesFeatures: Bool) throws
        -> (taken: [String], drawn: [String])
    {
        let last = classes == checkpoint.description.classes ? nil : network.layers.last
        var taken: [String] = []
        var drawn: [String] = []
        for parameter in network.parameters {
            let isLast = last?.parameters.contains { $0 === parameter } ?? false
            if !isLast, try checkpoint.loadWhereItFits(parameter, into: network) {
                taken.append(parameter.name)
            } else {
                drawn.append(parameter.name)
            }
        }
        guard !taken.isEmpty else {
            throw TrainingError(
                "--init \(checkpoint.path): no layer of '\(checkpoint.description.architecture)' fits "
                    + "'\(network.architecture)' by name and shape; give the --model that the checkpoint has")
        }
        if freezesFeatures, let missing = drawn.first(where: { $0.hasPrefix("features.") }) {
            throw TrainingError(
                "--freeze features: \(missing) of '\(network.architecture)' is not in --init "
                    + "\(checkpoint.path), a '\(checkpoint.description.architecture)', and would stay as it "
                    + "was drawn; give the --model that the checkpoint has")
        }
        return (taken, drawn)
    }
}
