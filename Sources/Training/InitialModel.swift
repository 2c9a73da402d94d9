import Configuration
import Models
import NeuralNet

extension Checkpoint {
    /// Loads what fits by name and shape into an initialised network that is to be trained.
    ///
    /// The last layer fits only if the classes are the same.
    ///
    /// - Parameter freezesFeatures: whether the convolutions are not trained, so that all of them must fit
    /// - Returns: the names of the parameters that were taken, and of those that stay as they were drawn.
    /// - Throws: `TrainingError` if nothing fits.
    func loadInitial(into network: Network, classes: [String], freezesFeatures: Bool) throws
        -> (taken: [String], drawn: [String])
    {
        let last = classes == description.classes ? nil : network.layers.last
        var taken: [String] = []
        var drawn: [String] = []
        for parameter in network.parameters {
            let isLast = last?.parameters.contains { $0 === parameter } ?? false
            if !isLast, try loadWhereItFits(parameter, into: network) {
                taken.append(parameter.name)
            } else {
                drawn.append(parameter.name)
            }
        }
        guard !taken.isEmpty else {
            throw TrainingError(
                "\(path): no layer of '\(description.architecture)' fits '\(network.architecture)' by name "
                    + "and shape", kind: .initialModelDoesNotFit)
        }
        if freezesFeatures, let missing = drawn.first(where: { $0.hasPrefix("features.") }) {
            throw TrainingError(
                "\(path): '\(description.architecture)' has no \(missing) that fits "
                    + "'\(network.architecture)', where it would be frozen as it was drawn",
                kind: .initialModelDoesNotFit)
        }
        return (taken, drawn)
    }
}
