import Compute

/// Describes a 3×3 convolution with stride 1, padding 1, bias and ReLU.
public struct ConvolutionSpec: LayerSpec {
    static let token = LayerToken(syntax: "n (3×3 convolution with n filters and ReLU)", sample: "20") {
        LayerToken.count($0).map { [ConvolutionSpec(filters: $0)] }
    }

    public let kind = "convolution"
    public let isClassifier = false
    public let hasWeights = true
    public let moduleCount = 2
    let filters: Int
    let algorithms: ConvolutionAlgorithms

    /// - Parameter algorithms: `configured` replaces them by those that the network's options ask for
    public init(filters: Int, algorithms: ConvolutionAlgorithms = .init(.direct)) {
        self.filters = filters
        self.algorithms = algorithms
    }

    public func configured(by options: Network.Options, input: FeatureShape) -> any LayerSpec {
        func chosen(_ pass: LayerPass) -> ConvolutionAlgorithm {
            ConvolutionSpec.algorithm(wanted: options.convolution?[pass], input: input)
        }
        return ConvolutionSpec(
            filters: filters,
            algorithms: ConvolutionAlgorithms(
                forward: chosen(.forward), backwardData: chosen(.backwardData),
                backwardWeights: chosen(.backwardWeights)))
    }

    /// Returns the algorithm wanted if it takes the shape, else `direct`, which takes all.
    ///
    /// The default is F(4×4), but F(2×2) on maps smaller than 3, where most of a tile of four would fall
    /// outside.
    static func algorithm(wanted: ConvolutionAlgorithm?, input: FeatureShape) -> ConvolutionAlgorithm {
        let automatic: ConvolutionAlgorithm = min(input.height, input.width) < 3 ? .winograd2 : .winograd4
        let algorithm = wanted ?? automatic
        return algorithm.takes(input) ? algorithm : .direct
    }

    public func output(for input: FeatureShape) -> FeatureShape {
        FeatureShape(height: input.height, width: input.width, channels: filters)
    }

    public func parameters(input: FeatureShape, module: String, firstIndex: Int) -> [Parameter] {
        Parameter.weightAndBias(
            .convolution(filters: filters, input: input), module: module, firstIndex: firstIndex)
    }

    public func name(_ plan: LayerPlan) -> String { "conv \(plan.input.channels)→\(filters)" }
    public func algorithm(_ pass: LayerPass) -> String { algorithms[pass].rawValue }
    public var chosenAlgorithms: String? { algorithms.description }

    public func operationsPerImage(_ plan: LayerPlan) -> Double {
        18 * Double(plan.input.channels) * Double(plan.output.count)
    }

    public func tensors(_ pass: LayerPass) -> (input: Double, output: Double) {
        pass == .forward ? (1, 1) : (1, 2)
    }

    public func work(_ pass: LayerPass, _ plan: LayerPlan, batch: Int) -> [Work] {
        let plain = plan.plainWork(pass, batch: batch)
        switch algorithms[pass] {
        case .direct: return [plain]
        case .im2col: return im2col(plan).work(pass, plain, batch: batch)
        case .winograd2, .winograd4:
            return winograd(plan, algorithms[pass]).work(pass, plain, batch: batch)
        }
    }

    public func memory(_ plan: LayerPlan, maximumBatch: Int) -> (workspace: Int, own: Int) {
        let parts = algorithms.distinct.map { algorithm -> (workspace: Int, own: Int) in
            switch algorithm {
            case .direct where isProduct(plan):
                return (im2col(plan).workspaceByteCount(maximumBatch: maximumBatch), 0)
            case .direct:
                let sizes = direct(plan)
                return (sizes.workspaceByteCount(maximumBatch: maximumBatch), 4 * sizes.zerosCount)
            case .im2col:
                return (im2col(plan).workspaceByteCount(maximumBatch: maximumBatch), 0)
            case .winograd2, .winograd4:
                let sizes = winograd(plan, algorithm)
                let kept = keepsTransformedWeights(algorithm, plan) ? 4 * sizes.transformedWeightCount : 0
                return (sizes.workspaceByteCount(maximumBatch: maximumBatch), kept)
            }
        }
        let mask = ReLUBackward.workspaceByteCount(
            plan.output, maximumBatch: maximumBatch, tuning: plan.tuning)
        return (parts.map(\.workspace).reduce(mask, max), parts.map(\.own).reduce(0, +))
    }

    /// Whether `direct` is the implicit matrix product of GPUs, which does not take images.
    private func isProduct(_ plan: LayerPlan) -> Bool {
        plan.tuning.sharesGroups && !direct(plan).isImage
    }

    private func direct(_ plan: LayerPlan) -> ConvolutionFamily.Direct {
        .init(input: plan.input.mapSize, outputs: plan.output.storedChannels, tuning: plan.tuning)
    }

    private func im2col(_ plan: LayerPlan) -> ConvolutionFamily.Im2col {
        .init(input: plan.input.mapSize, outputs: plan.output.storedChannels, tuning: plan.tuning)
    }

    private func winograd(_ plan: LayerPlan, _ algorithm: ConvolutionAlgorithm) -> WinogradFamily.Geometry {
        .init(
            input: plan.input.mapSize, filters: plan.output.storedChannels,
            outputTile: algorithm == .winograd2 ? 2 : 4, tuning: plan.tuning)
    }

    private func keepsTransformedWeights(_ algorithm: ConvolutionAlgorithm, _ plan: LayerPlan) -> Bool {
        !plan.training && algorithm == algorithms.forward
    }

    fileprivate func makeMethod(_ algorithm: ConvolutionAlgorithm, _ plan: LayerPlan, device: Device) throws
        -> any ConvolutionMethod
    {
        switch algorithm {
        case .direct where isProduct(plan): try GroupConvolution(im2col(plan), device: device)
        case .direct: try DirectConvolution(direct(plan), device: device)
        case .im2col: try Im2colConvolution(im2col(plan), device: device)
        case .winograd2, .winograd4:
            try WinogradConvolution(
                winograd(plan, algorithm),
                keepsTransformedWeights: keepsTransformedWeights(algorithm, plan), device: device)
        }
    }

    public func makeLayer(_ plan: LayerPlan, device: Device) throws -> any Layer {
        try Convolution(self, plan, device: device)
    }
}

/// 3×3 convolution by the algorithm chosen for each pass.
public final class Convolution: Layer {
    public private(set) var plan: LayerPlan
    /// The algorithms in use.
    public let algorithms: ConvolutionAlgorithms
    private let methods: [any ConvolutionMethod]
    private let forwardMethod: any ConvolutionMethod
    private let dataMethod: any ConvolutionMethod
    private let weightsMethod: any ConvolutionMethod
    private let reluBackward: ReLUBackward
    private let device: Device
    private var memory: (weights: Buffer, bias: Buffer)?

    fileprivate init(_ spec: ConvolutionSpec, _ plan: LayerPlan, device: Device) throws {
        self.plan = plan
        self.device = device
        algorithms = spec.algorithms
        // Passes with the same algorithm share its object.
        var methods: [ConvolutionAlgorithm: any ConvolutionMethod] = [:]
        func method(_ algorithm: ConvolutionAlgorithm) throws -> any ConvolutionMethod {
            if let method = methods[algorithm] { return method }
            let method = try spec.makeMethod(algorithm, plan, device: device)
            methods[algorithm] = method
            return method
        }
        forwardMethod = try method(algorithms.forward)
        dataMethod = try method(algorithms.backwardData)
        weightsMethod = try method(algorithms.backwardWeights)
        self.methods = Array(methods.values)
        reluBackward = try ReLUBackward(shape: plan.output, device: device)
    }

    public func reshape(input: FeatureShape) {
        plan.reshape(input: input)
        for method in methods { method.reshape(input: inputShape) }
    }

    public func prepare(weights: [Buffer], workspace: Buffer, maximumBatch: Int) throws {
        memory = (weights[0], weights[1])
        for method in methods { try method.prepare(workspace: workspace, maximumBatch: maximumBatch) }
        try reluBackward.prepare(workspace: workspace, maximumBatch: maximumBatch)
    }

    public func weightsChanged() { forwardMethod.weightsChanged() }

    public func forward(input: Buffer, output: Buffer, pass: Pass) throws {
        try forward(input: input, output: output, pooled: nil, pass: pass)
    }

    /// As `forward`, and `pooled` ← the output's 2×2 maxima, if there is such a buffer.
    func forward(input: Buffer, output: Buffer, pooled: Buffer?, pass: Pass) throws {
        let memory = prepared(memory)
        try forwardMethod.forward(
            input: input, weights: memory.weights, bias: memory.bias,
            output: output, pooled: pooled, batch: pass.batch)
    }

    public func backward(
        input: Buffer, output: Buffer, outputGradient: Buffer, inputGradient: Buffer?,
        parameterGradients: [Buffer], pass: Pass
    ) throws {
        var needed: FusedWork = .masksWeights
        if inputGradient != nil { needed.insert(.masksData) }
        // A method that takes the mask changes nothing if the gradient is masked already.
        if !fusedWork.isSuperset(of: needed) {
            try reluBackward.apply(
                output: output, outputGradient: outputGradient,
                biasGradient: parameterGradients[1], batch: pass.batch)
        }
        func mask(_ method: any ConvolutionMethod, _ work: FusedWork) -> Buffer? {
            method.fusedWork.contains(work) ? output : nil
        }
        try backward(
            input: input, ConvolvedMap(values: outputGradient, mask: mask(weightsMethod, .masksWeights)),
            dataGradient: ConvolvedMap(values: outputGradient, mask: mask(dataMethod, .masksData)),
            inputGradient: inputGradient, inputMask: nil, parameterGradients: parameterGradients, pass: pass)
    }

    /// What the layer's algorithms do in their launches, each in its own pass.
    var fusedWork: FusedWork {
        forwardMethod.fusedWork.intersection(.pooling)
            .union(weightsMethod.fusedWork.intersection([.masksWeights, .unpoolsWeights]))
            .union(dataMethod.fusedWork.intersection([.masksData, .unpoolsData, .masksResult]))
    }

    /// Queues the backward pass for a gradient that is masked already or that the algorithms mask.
    ///
    /// - Parameter inputMask: the input, if its gradient is to be masked by it
    func backward(
        input: Buffer, _ gradient: ConvolvedMap, inputGradient: Buffer?, inputMask: Buffer?,
        parameterGradients: [Buffer], pass: Pass
    ) throws {
        // An algorithm that does not mask does not add the bias' gradient either.
        if !weightsMethod.fusedWork.contains(.masksWeights), !gradient.isBehindPooling {
            try reluBackward.apply(
                output: gradient.mask, outputGradient: gradient.values,
                biasGradient: parameterGradients[1], batch: pass.batch)
        }
        try backward(
            input: input, gradient, dataGradient: gradient, inputGradient: inputGradient,
            inputMask: inputMask, parameterGradients: parameterGradients, pass: pass)
    }

    private func backward(
        input: Buffer, _ gradient: ConvolvedMap, dataGradient: ConvolvedMap, inputGradient: Buffer?,
        inputMask: Buffer?, parameterGradients: [Buffer], pass: Pass
    ) throws {
        try weightsMethod.backwardWeights(
            input: input, gradient, weightGradient: parameterGradients[0],
            biasGradient: parameterGradients[1], batch: pass.batch)
        if let inputGradient {
            device.profile?.pass = LayerPass.backwardData.rawValue
            try dataMethod.backwardData(
                dataGradient, weights: prepared(memory).weights, inputGradient: inputGradient,
                resultMask: inputMask, batch: pass.batch)
        }
    }
}
