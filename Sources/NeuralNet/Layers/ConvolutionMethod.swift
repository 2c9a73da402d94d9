import Compute

/// Holds what a pass convolves: the input, or the output's gradient.
struct ConvolvedMap {
    let values: Buffer
    /// The output, if the gradient has not passed its ReLU yet.
    var mask: Buffer?
    /// Whether `values` is the gradient of the pooled output, `mask` being the output.
    var isBehindPooling = false
}

/// Names what an algorithm does in the launches of a pass that would else take launches of their own.
struct FusedWork: OptionSet {
    let rawValue: Int
    /// Forward also pools.
    static let pooling = FusedWork(rawValue: 1)
    /// Backward-weights takes a gradient with a mask.
    static let masksWeights = FusedWork(rawValue: 2)
    /// Backward-data takes a gradient with a mask.
    static let masksData = FusedWork(rawValue: 4)
    /// Backward-weights takes the gradient behind a pooling.
    static let unpoolsWeights = FusedWork(rawValue: 8)
    /// Backward-data takes the gradient behind a pooling.
    static let unpoolsData = FusedWork(rawValue: 16)
    /// Backward-data masks the gradient that it writes.
    static let masksResult = FusedWork(rawValue: 32)
}

/// One algorithm for one layer, with float32 tensors as `Layer` and `Parameter` store them.
protocol ConvolutionMethod: AnyObject {
    func prepare(workspace: Buffer?, maximumBatch: Int) throws

    /// Takes maps of another height and width; a call of `prepare` must follow. Transformed weights stay.
    func reshape(input: FeatureShape)

    /// output ← max(0, input ∗ weights + bias); `pooled`, for methods that pool, its 2×2 maxima.
    func forward(
        input: Buffer, weights: Buffer, bias: Buffer, output: Buffer, pooled: Buffer?, batch: Int) throws

    /// inputGradient ← gradient ∗ turned weights, where `resultMask`, if there is one, is positive.
    func backwardData(
        _ gradient: ConvolvedMap, weights: Buffer, inputGradient: Buffer, resultMask: Buffer?, batch: Int)
        throws

    /// weightGradient ← Σ input · gradient; methods that take masks or poolings also sum `biasGradient`.
    func backwardWeights(
        input: Buffer, _ gradient: ConvolvedMap, weightGradient: Buffer, biasGradient: Buffer, batch: Int)
        throws

    /// What the calls take, at the present shape. The caller does the rest.
    var fusedWork: FusedWork { get }

    func weightsChanged()
}
