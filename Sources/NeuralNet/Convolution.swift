import Compute

/// How a convolution is computed.
public enum ConvolutionAlgorithm: String, CaseIterable, Sendable {
    /// Sums over the 3×3 window where the pixels lie; takes every shape.
    case direct
    /// Lays each window out as a row and multiplies matrices; takes every shape.
    case im2col
    /// Winograd's F(2×2, 3×3): 2.25 times fewer multiplications; channels in multiples of 16.
    case winograd2
    /// Winograd's F(4×4, 3×3): 4 times fewer multiplications; channels in multiples of 16.
    case winograd4
}

/// An algorithm for all convolutions, or each layer's default.
public enum ConvolutionChoice: String, CaseIterable, Sendable {
    case auto, direct, im2col, winograd2, winograd4

    /// The algorithm named; nil for `auto`.
    public var algorithm: ConvolutionAlgorithm? { ConvolutionAlgorithm(rawValue: rawValue) }
}

/// One algorithm for one layer. All tensors are float32 as `Layer` and `Parameter` lay them out.
protocol ConvolutionMethod: AnyObject {
    /// Bytes of scratch memory; alive only during a call.
    func workspaceByteCount(maximumBatch: Int) -> Int

    func prepare(workspace: Buffer?, maximumBatch: Int) throws

    /// output ← max(0, input ∗ weights + bias)
    func forward(input: Buffer, weights: Buffer, bias: Buffer, output: Buffer, batch: Int) throws

    /// inputGradient ← outputGradient ∗ turned weights; where `mask` is given, only where it is positive.
    func backwardData(outputGradient: Buffer, mask: Buffer?, weights: Buffer, inputGradient: Buffer, batch: Int) throws

    /// weightGradient ← Σ input · outputGradient; where `mask` is given, only where it is positive, and `biasGradient` is made too.
    func backwardWeights(
        input: Buffer, outputGradient: Buffer, mask: Buffer?, weightGradient: Buffer, biasGradient: Buffer, batch: Int) throws

    /// Whether the backward calls take a mask; the caller applies it otherwise.
    var takesMask: Bool { get }

    func weightsChanged()
}

/// 3×3 convolution, stride 1, padding 1, with bias and ReLU. One algorithm serves all of its passes.
public final class Convolution: Layer {
    public let inputShape: FeatureShape
    public let outputShape: FeatureShape
    public let parameters: [Parameter]
    /// The algorithm in use.
    public let algorithm: ConvolutionAlgorithm
    private let method: any ConvolutionMethod
    private let mask: ReLUBackward
    private let device: Device
    private var weights: [Buffer] = []

    public var name: String { Convolution.name(input: inputShape, output: outputShape) }

    static func name(input: FeatureShape, output: FeatureShape) -> String { "conv \(input.channels)→\(output.channels)" }

    init(
        input: FeatureShape, filters: Int, weight: Parameter, bias: Parameter, algorithm: ConvolutionAlgorithm?,
        keepsTransformedWeights: Bool,
        device: Device
    ) throws {
        inputShape = input
        outputShape = FeatureShape(height: input.height, width: input.width, channels: filters)
        parameters = [weight, bias]
        self.device = device
        let chosen = Convolution.algorithm(wanted: algorithm, input: input)
        self.algorithm = chosen
        switch chosen {
        case .direct: method = try DirectConvolution(input: input, output: outputShape, device: device)
        case .im2col: method = try Im2colConvolution(input: input, output: outputShape, device: device)
        case .winograd2, .winograd4:
            method = try WinogradConvolution(
                input: input, output: outputShape, outputTile: chosen == .winograd2 ? 2 : 4,
                keepsTransformedWeights: keepsTransformedWeights,
                device: device)
        }
        mask = try ReLUBackward(shape: outputShape, device: device)
    }

    /// The algorithm wanted where it takes the shape, else `direct`, which takes all. By default F(4×4), but F(2×2) on maps smaller than 3,
    /// where most of a tile of four would fall outside.
    static func algorithm(wanted: ConvolutionAlgorithm?, input: FeatureShape) -> ConvolutionAlgorithm {
        let winogradFits = input.storedChannels % 16 == 0
        let automatic: ConvolutionAlgorithm = min(input.height, input.width) < 3 ? .winograd2 : .winograd4
        switch wanted ?? automatic {
        case .direct: return .direct
        case .im2col: return .im2col
        case let winograd: return winogradFits ? winograd : .direct
        }
    }

    public func workspaceByteCount(maximumBatch: Int) -> Int {
        max(method.workspaceByteCount(maximumBatch: maximumBatch), mask.workspaceByteCount(maximumBatch: maximumBatch))
    }

    public func prepare(weights: [Buffer], workspace: Buffer?, maximumBatch: Int) throws {
        self.weights = weights
        try method.prepare(workspace: workspace, maximumBatch: maximumBatch)
        try mask.prepare(workspace: workspace, maximumBatch: maximumBatch)
    }

    public func weightsChanged() { method.weightsChanged() }

    public func forward(input: Buffer, output: Buffer, pass: Pass) throws {
        try method.forward(input: input, weights: weights[0], bias: weights[1], output: output, batch: pass.batch)
    }

    public func backward(
        input: Buffer, output: Buffer, outputGradient: Buffer, inputGradient: Buffer?, parameterGradients: [Buffer], pass: Pass
    ) throws {
        if !method.takesMask {
            try mask.apply(output: output, outputGradient: outputGradient, biasGradient: parameterGradients[1], batch: pass.batch)
        }
        let fused = method.takesMask ? output : nil
        try method.backwardWeights(
            input: input, outputGradient: outputGradient, mask: fused, weightGradient: parameterGradients[0],
            biasGradient: parameterGradients[1], batch: pass.batch)
        if let inputGradient {
            device.profile?.pass = LayerPass.backwardData.rawValue
            try method.backwardData(
                outputGradient: outputGradient, mask: fused, weights: weights[0], inputGradient: inputGradient, batch: pass.batch)
        }
    }
}
