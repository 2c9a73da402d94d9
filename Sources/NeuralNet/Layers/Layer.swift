import Compute

/// What one pass through the network needs to know besides the activations.
public struct Pass: Sendable {
    /// Images in this pass, at most the network's `maximumBatch`.
    public let batch: Int
    /// Whether dropout acts.
    public let training: Bool
    /// Keys dropout's masks, with the image's place in its mini-batch.
    public let seed: UInt64
    public let step: UInt64
    /// The place of this pass's first image in the whole mini-batch.
    public let firstImage: Int
    /// The place of the first image's record, label and weight in the arrays on the device: those of this
    /// rank's part of the mini-batch.
    public let firstRecord: Int

    /// - Parameter firstRecord: nil where the device has the whole mini-batch
    public init(
        batch: Int, training: Bool, seed: UInt64 = 0,
        step: UInt64 = 0, firstImage: Int = 0, firstRecord: Int? = nil
    ) {
        self.batch = batch
        self.training = training
        self.seed = seed
        self.step = step
        self.firstImage = firstImage
        self.firstRecord = firstRecord ?? firstImage
    }
}

/// What a layer does in a step; the names stand in profiles.
public enum LayerPass: String, CaseIterable, Sendable {
    case forward
    case backwardWeights = "backward-weights"
    case backwardData = "backward-data"
}

/// One layer: a forward and the backward that mirrors it, written out. Networks are sequences, so there is no
/// graph.
///
/// Activations are float32 NHWC `[batch][height][width][storedChannels]`.
public protocol Layer: AnyObject {
    /// For people: `conv 32→64`, `pool`, …
    var name: String { get }
    var inputShape: FeatureShape { get }
    var outputShape: FeatureShape { get }
    var parameters: [Parameter] { get }
    /// Whether output and input are the same memory.
    var isInPlace: Bool { get }
    /// Bytes of scratch memory, shared with the other layers, for batches of `maximumBatch`.
    func workspaceByteCount(maximumBatch: Int) -> Int

    /// Gives the layer its memory. `weights` holds a buffer for each of `parameters`.
    func prepare(weights: [Buffer], workspace: Buffer?, maximumBatch: Int) throws

    /// output ← layer(input)
    func forward(input: Buffer, output: Buffer, pass: Pass) throws

    /// From the gradient of the output to those of the input (nil where nobody needs it) and of the
    /// parameters, which are overwritten. `outputGradient` may be overwritten as well.
    func backward(
        input: Buffer, output: Buffer, outputGradient: Buffer, inputGradient: Buffer?,
        parameterGradients: [Buffer], pass: Pass) throws

    /// The weights are not what they were: transformed copies are out of date.
    func weightsChanged()
}

/// A layer whose map may have any height and width: it can be run over images of another size than it was
/// made for.
public protocol ReshapableLayer: Layer {
    /// Takes maps of this height and width from now on; `prepare` follows.
    func reshape(height: Int, width: Int)
}

extension Layer {
    public var parameters: [Parameter] { [] }
    public var isInPlace: Bool { false }
    public func workspaceByteCount(maximumBatch: Int) -> Int { 0 }
    public func prepare(weights: [Buffer], workspace: Buffer?, maximumBatch: Int) throws {}
    public func weightsChanged() {}
}
