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

/// An algorithm for each pass.
public struct ConvolutionAlgorithms: Sendable, Equatable, CustomStringConvertible {
    public var forward: ConvolutionAlgorithm
    public var backwardData: ConvolutionAlgorithm
    public var backwardWeights: ConvolutionAlgorithm

    public init(
        forward: ConvolutionAlgorithm, backwardData: ConvolutionAlgorithm,
        backwardWeights: ConvolutionAlgorithm
    ) {
        self.forward = forward
        self.backwardData = backwardData
        self.backwardWeights = backwardWeights
    }

    /// One for all passes.
    public init(_ algorithm: ConvolutionAlgorithm) {
        self.init(forward: algorithm, backwardData: algorithm, backwardWeights: algorithm)
    }

    subscript(pass: LayerPass) -> ConvolutionAlgorithm {
        switch pass {
        case .forward: forward
        case .backwardData: backwardData
        case .backwardWeights: backwardWeights
        }
    }

    /// Each that occurs, once.
    var distinct: [ConvolutionAlgorithm] {
        ConvolutionAlgorithm.allCases.filter { [forward, backwardData, backwardWeights].contains($0) }
    }

    /// `winograd4`, or `winograd4/direct/winograd2` for forward, backward-data and backward-weights.
    public var description: String {
        distinct.count == 1
            ? forward.rawValue
            : [forward, backwardData, backwardWeights].map(\.rawValue).joined(separator: "/")
    }
}

/// Algorithms for all convolutions, or each layer's default.
public enum ConvolutionChoice: Sendable, Equatable {
    case auto
    case all(ConvolutionAlgorithms)

    /// The algorithms named; nil for `auto`.
    public var algorithms: ConvolutionAlgorithms? {
        if case .all(let algorithms) = self { return algorithms }
        return nil
    }
}

/// `auto`, an algorithm's name, or three of them with slashes between, for forward, backward-data and
/// backward-weights.
extension ConvolutionChoice: RawRepresentable {
    public init?(rawValue: String) {
        if rawValue == "auto" {
            self = .auto
            return
        }
        let names = rawValue.split(separator: "/", omittingEmptySubsequences: false).map {
            ConvolutionAlgorithm(rawValue: String($0))
        }
        let found = names.compactMap(\.self)
        guard found.count == names.count, [1, 3].contains(found.count) else { return nil }
        self = .all(
            found.count == 1
                ? ConvolutionAlgorithms(found[0])
                : ConvolutionAlgorithms(forward: found[0], backwardData: found[1], backwardWeights: found[2]))
    }

    public var rawValue: String { algorithms?.description ?? "auto" }
}

/// One algorithm for one layer. All tensors are float32 as `Layer` and `Parameter` lay them out.
protocol ConvolutionMethod: AnyObject {
    /// Bytes of scratch memory; alive only during a call.
    func workspaceByteCount(maximumBatch: Int) -> Int

    func prepare(workspace: Buffer?, maximumBatch: Int) throws

    /// Takes maps of another height and width from now on; `prepare` follows. Transformed weights stay.
    func reshape(input: FeatureShape, output: FeatureShape)

    /// output ← max(0, input ∗ weights + bias)
    func forward(input: Buffer, weights: Buffer, bias: Buffer, output: Buffer, batch: Int) throws

    /// inputGradient ← outputGradient ∗ turned weights; where `mask` is given, only where it is positive.
    func backwardData(
        outputGradient: Buffer, mask: Buffer?, weights: Buffer, inputGradient: Buffer, batch: Int) throws

    /// weightGradient ← Σ input · outputGradient; where `mask` is given, only where it is positive, and
    /// `biasGradient` is made too.
    func backwardWeights(
        input: Buffer, outputGradient: Buffer, mask: Buffer?,
        weightGradient: Buffer, biasGradient: Buffer, batch: Int) throws

    /// Whether the backward calls take a mask; the caller applies it otherwise.
    var takesMask: Bool { get }

    func weightsChanged()
}

/// 3×3 convolution, stride 1, padding 1, with bias and ReLU.
public final class Convolution: ReshapableLayer {
    public private(set) var inputShape: FeatureShape
    public private(set) var outputShape: FeatureShape
    public let parameters: [Parameter]
    /// The algorithms in use.
    public let algorithms: ConvolutionAlgorithms
    /// One for each algorithm in use.
    private let methods: [ConvolutionAlgorithm: any ConvolutionMethod]
    private let forwardMethod: any ConvolutionMethod
    private let dataMethod: any ConvolutionMethod
    private let weightsMethod: any ConvolutionMethod
    private let mask: ReLUBackward
    private let device: Device
    private var weights: [Buffer] = []

    public var name: String { Convolution.name(input: inputShape, output: outputShape) }

    static func name(input: FeatureShape, output: FeatureShape) -> String {
        "conv \(input.channels)→\(output.channels)"
    }

    init(
        input: FeatureShape, filters: Int, weight: Parameter, bias: Parameter,
        algorithms: ConvolutionAlgorithms?, keepsTransformedWeights: Bool, device: Device
    ) throws {
        inputShape = input
        outputShape = FeatureShape(height: input.height, width: input.width, channels: filters)
        parameters = [weight, bias]
        self.device = device
        let chosen = Convolution.algorithms(wanted: algorithms, input: input)
        let output = outputShape
        func method(_ algorithm: ConvolutionAlgorithm) throws -> any ConvolutionMethod {
            switch algorithm {
            case .direct: try DirectConvolution(input: input, output: output, device: device)
            case .im2col: try Im2colConvolution(input: input, output: output, device: device)
            case .winograd2, .winograd4:
                try WinogradConvolution(
                    input: input, output: output, outputTile: algorithm == .winograd2 ? 2 : 4,
                    keepsTransformedWeights: keepsTransformedWeights && algorithm == chosen.forward,
                    device: device)
            }
        }
        var made: [ConvolutionAlgorithm: any ConvolutionMethod] = [:]
        func shared(_ algorithm: ConvolutionAlgorithm) throws -> any ConvolutionMethod {
            if let method = made[algorithm] { return method }
            let new = try method(algorithm)
            made[algorithm] = new
            return new
        }
        forwardMethod = try shared(chosen.forward)
        dataMethod = try shared(chosen.backwardData)
        weightsMethod = try shared(chosen.backwardWeights)
        methods = made
        self.algorithms = chosen
        mask = try ReLUBackward(shape: outputShape, device: device)
    }

    /// The algorithm wanted where it takes the shape, else `direct`, which takes all. By default F(4×4), but
    /// F(2×2) on maps smaller than 3, where most of a tile of four would fall outside.
    static func algorithm(wanted: ConvolutionAlgorithm?, input: FeatureShape) -> ConvolutionAlgorithm {
        let winogradFits = input.storedChannels % 16 == 0
        let automatic: ConvolutionAlgorithm = min(input.height, input.width) < 3 ? .winograd2 : .winograd4
        switch wanted ?? automatic {
        case .direct: return .direct
        case .im2col: return .im2col
        case let winograd: return winogradFits ? winograd : .direct
        }
    }

    /// `algorithm` for each pass.
    static func algorithms(wanted: ConvolutionAlgorithms?, input: FeatureShape) -> ConvolutionAlgorithms {
        ConvolutionAlgorithms(
            forward: algorithm(wanted: wanted?.forward, input: input),
            backwardData: algorithm(wanted: wanted?.backwardData, input: input),
            backwardWeights: algorithm(wanted: wanted?.backwardWeights, input: input))
    }

    public func reshape(height: Int, width: Int) {
        inputShape = inputShape.with(height: height, width: width)
        outputShape = outputShape.with(height: height, width: width)
        for method in methods.values { method.reshape(input: inputShape, output: outputShape) }
    }

    public func workspaceByteCount(maximumBatch: Int) -> Int {
        methods.values.map { $0.workspaceByteCount(maximumBatch: maximumBatch) }.reduce(
            mask.workspaceByteCount(maximumBatch: maximumBatch), max)
    }

    public func prepare(weights: [Buffer], workspace: Buffer?, maximumBatch: Int) throws {
        self.weights = weights
        for method in methods.values { try method.prepare(workspace: workspace, maximumBatch: maximumBatch) }
        try mask.prepare(workspace: workspace, maximumBatch: maximumBatch)
    }

    public func weightsChanged() { forwardMethod.weightsChanged() }

    public func forward(input: Buffer, output: Buffer, pass: Pass) throws {
        try forwardMethod.forward(
            input: input, weights: weights[0], bias: weights[1], output: output, batch: pass.batch)
    }

    public func backward(
        input: Buffer, output: Buffer, outputGradient: Buffer, inputGradient: Buffer?,
        parameterGradients: [Buffer], pass: Pass
    ) throws {
        // A method that takes the mask of a gradient that has it already changes nothing.
        if !weightsMethod.takesMask || (inputGradient != nil && !dataMethod.takesMask) {
            try mask.apply(
                output: output, outputGradient: outputGradient,
                biasGradient: parameterGradients[1], batch: pass.batch)
        }
        try weightsMethod.backwardWeights(
            input: input, outputGradient: outputGradient, mask: weightsMethod.takesMask ? output : nil,
            weightGradient: parameterGradients[0], biasGradient: parameterGradients[1], batch: pass.batch)
        if let inputGradient {
            device.profile?.pass = LayerPass.backwardData.rawValue
            try dataMethod.backwardData(
                outputGradient: outputGradient, mask: dataMethod.takesMask ? output : nil,
                weights: weights[0], inputGradient: inputGradient, batch: pass.batch)
        }
    }
}
