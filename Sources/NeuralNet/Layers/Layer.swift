import Compute

/// Describes one pass through the network apart from its activations.
public struct Pass: Sendable {
    /// Images in this pass, at most the network's `maximumBatch`.
    public let batch: Int
    /// Whether dropout acts.
    public let training: Bool
    /// Keys dropout's masks, together with the image's index in its mini-batch.
    public let seed: UInt64
    public let step: UInt64
    /// The index of this pass's first image in the whole mini-batch.
    public let firstImage: Int
    /// The index of this pass's first image in the device's arrays of crops, labels and weights, which hold
    /// this rank's part of the mini-batch.
    public let firstRecord: Int

    /// - Parameter firstRecord: nil if the device has the whole mini-batch
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

/// What a layer computes in a step, by the names that profiles show.
public enum LayerPass: String, CaseIterable, Sendable {
    case forward
    case backwardWeights = "backward-weights"
    case backwardData = "backward-data"
}

/// A layer on a device: forward, and the backward that mirrors it.
///
/// Networks are sequences, so there is no graph. Activations are float32 NHWC
/// `[batch][height][width][storedChannels]`.
public protocol Layer: AnyObject {
    /// The layer's shapes, parameters, costs and memory.
    var plan: LayerPlan { get }

    /// Gives the layer its memory. `weights` holds a buffer for each of the parameters.
    func prepare(weights: [Buffer], workspace: Buffer, maximumBatch: Int) throws

    /// Takes maps of another height and width; a call of `prepare` must follow. Only for layers that are not
    /// part of the classifier.
    func reshape(input: FeatureShape)

    /// output ← layer(input)
    func forward(input: Buffer, output: Buffer, pass: Pass) throws

    /// Computes the gradients of the input and of the parameters from the gradient of the output.
    ///
    /// - Parameters:
    ///   - outputGradient: may be overwritten
    ///   - inputGradient: nil if it is not needed
    ///   - parameterGradients: are overwritten
    func backward(
        input: Buffer, output: Buffer, outputGradient: Buffer, inputGradient: Buffer?,
        parameterGradients: [Buffer], pass: Pass) throws

    /// Called when the weights have changed: transformed copies are out of date.
    func weightsChanged()
}

extension Layer {
    public func prepare(weights: [Buffer], workspace: Buffer, maximumBatch: Int) throws {}
    public func reshape(input: FeatureShape) {
        preconditionFailure("\(name) works on whole images and has one shape")
    }
    public func weightsChanged() {}

    public var name: String { plan.name }
    public var inputShape: FeatureShape { plan.input }
    public var outputShape: FeatureShape { plan.output }
    public var parameters: [Parameter] { plan.parameters }
    public var isInPlace: Bool { plan.spec.isInPlace }
    public func workspaceByteCount(maximumBatch: Int) -> Int {
        plan.memory(maximumBatch: maximumBatch).workspace
    }

    /// Returns the memory that `prepare` has stored.
    func prepared<Memory>(_ memory: Memory?) -> Memory {
        guard let memory else { preconditionFailure("\(name) runs before it was prepared") }
        return memory
    }
}
