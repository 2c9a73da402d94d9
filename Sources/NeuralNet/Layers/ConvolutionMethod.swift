import Compute

/// One algorithm for one layer, with float32 tensors as `Layer` and `Parameter` store them.
protocol ConvolutionMethod: AnyObject {
    func prepare(workspace: Buffer?, maximumBatch: Int) throws

    /// Takes maps of another height and width; a call of `prepare` must follow. Transformed weights stay.
    func reshape(input: FeatureShape)

    /// output ← max(0, input ∗ weights + bias)
    func forward(input: Buffer, weights: Buffer, bias: Buffer, output: Buffer, batch: Int) throws

    /// inputGradient ← outputGradient ∗ turned weights; with a `mask` only where it is positive.
    func backwardData(
        outputGradient: Buffer, mask: Buffer?, weights: Buffer, inputGradient: Buffer, batch: Int) throws

    /// weightGradient ← Σ input · outputGradient; with a `mask` only where it is positive, and with
    /// `biasGradient` as well.
    func backwardWeights(
        input: Buffer, outputGradient: Buffer, mask: Buffer?,
        weightGradient: Buffer, biasGradient: Buffer, batch: Int) throws

    /// Whether the backward calls take a mask; the caller applies it otherwise.
    var takesMask: Bool { get }

    func weightsChanged()
}
