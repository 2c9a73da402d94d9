/// Says which convolutions do the work of the layers beside them in their own launches.
///
/// The numbers are the same to the last bit, except the image layer's gradients, which are added in another
/// order, fixed by the shape. `Network` runs what this says.
struct FusedPasses {
    /// Indices of the convolutions whose forward pass also runs the pooling behind them.
    private(set) var pooling: Set<Int> = []
    /// Indices of those whose backward pass takes the gradient behind the pooling.
    private(set) var unpooling: Set<Int> = []
    /// Indices of those whose backward pass masks the gradient that it writes, by the ReLU before them.
    private(set) var maskingResult: Set<Int> = []

    /// Returns none: every layer does its own work.
    init() {}

    /// - Parameter lowestTrained: the first layer that backward reaches; it writes no gradient of its input
    init(_ layers: [any Layer], lowestTrained: Int, training: Bool) {
        guard training else { return }
        for (index, layer) in layers.enumerated() {
            guard let layer = layer as? Convolution else { continue }
            let work = layer.fusedWork
            let writesInput = index > lowestTrained
            if index + 1 < layers.count, layers[index + 1] is MaxPooling {
                if work.contains(.pooling) { pooling.insert(index) }
                let needed: FusedWork = writesInput ? [.unpoolsWeights, .unpoolsData] : .unpoolsWeights
                if index >= lowestTrained, work.isSuperset(of: needed) { unpooling.insert(index) }
            }
            let masks: FusedWork = [.masksWeights, .masksData]
            if writesInput, work.isSuperset(of: masks.union(.masksResult)),
                let below = layers[index - 1] as? Convolution, below.fusedWork.isSuperset(of: masks)
            {
                maskingResult.insert(index)
            }
        }
    }
}
