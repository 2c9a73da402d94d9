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

    /// The convolutions by their index.
    private var convolutions: [Int: Convolution] = [:]

    /// Returns none: every layer does its own work.
    init() {}

    /// - Parameter lowestTrained: the first layer that backward reaches; it writes no gradient of its input
    init(_ layers: [any Layer], lowestTrained: Int, training: Bool) {
        guard training else { return }
        for (index, layer) in layers.enumerated() {
            guard let layer = layer as? Convolution else { continue }
            convolutions[index] = layer
            let work = layer.fusedWork
            let writesInput = index > lowestTrained
            if index + 1 < layers.count, layers[index + 1] is MaxPooling {
                if work.contains(.pooling) { pooling.insert(index) }
                let needed: FusedWork = writesInput ? [.unpoolsWeights, .unpoolsData] : .unpoolsWeights
                if index >= lowestTrained, work.isSuperset(of: needed) { unpooling.insert(index) }
            }
            if writesInput, work.isSuperset(of: [.masksWeights, .masksData, .masksResult]),
                layers[index - 1] is Convolution
            {
                maskingResult.insert(index)
            }
        }
    }

    /// Returns the convolution at an index if its forward pass also runs the pooling behind it.
    func forward(_ index: Int) -> Convolution? { pooling.contains(index) ? convolutions[index] : nil }

    /// Returns the convolution at an index, with what its backward pass does, if it does work of other layers
    /// or they do some of its own.
    func backward(_ index: Int) -> Backward? {
        guard let convolution = convolutions[index] else { return nil }
        let backward = Backward(
            convolution: convolution, isBehindPooling: unpooling.contains(index),
            isMasked: maskingResult.contains(index + 1), masksResult: maskingResult.contains(index))
        return backward.isBehindPooling || backward.isMasked || backward.masksResult ? backward : nil
    }

    /// A convolution whose backward pass is not the plain one.
    struct Backward {
        let convolution: Convolution
        /// Whether the gradient is the one behind the pooling.
        let isBehindPooling: Bool
        /// Whether the gradient is masked already.
        let isMasked: Bool
        /// Whether the gradient of the input is masked for the layer before.
        let masksResult: Bool
    }
}
