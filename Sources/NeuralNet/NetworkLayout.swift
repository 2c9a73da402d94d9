import Compute

/// One layer's shapes and sizes: known before anything is allocated or compiled.
public struct LayerLayout {
    enum Kind {
        case convolution(ConvolutionAlgorithms)
        case maxPooling
        case fullyConnected(relu: Bool)
        case dropout
    }

    let kind: Kind
    public let input: FeatureShape
    public let output: FeatureShape
    public let parameters: [Parameter]

    /// For people: `conv 32→64`, `pool`, …
    public var name: String {
        switch kind {
        case .convolution: Convolution.name(input: input, output: output)
        case .maxPooling: "pool"
        case .fullyConnected: FullyConnected.name(input: input, output: output)
        case .dropout: "dropout"
        }
    }

    var isConvolution: Bool {
        if case .convolution = kind { return true }
        return false
    }

    /// Whether output and input are the same memory.
    var isInPlace: Bool {
        if case .dropout = kind { return true }
        return false
    }

    /// How a pass is computed, for people.
    public func algorithm(_ pass: LayerPass) -> String {
        switch kind {
        case .convolution(let algorithms): algorithms[pass].rawValue
        case .fullyConnected: "gemm"
        case .maxPooling, .dropout: ""
        }
    }

    /// Multiplications and additions of any one pass, as the plain sums have them, whatever the algorithm
    /// saves.
    public func operations(batch: Int) -> Double {
        let perImage =
            switch kind {
            case .convolution: 18.0 * Double(input.channels) * Double(output.count)
            case .fullyConnected: 2.0 * Double(input.count) * Double(output.count)
            case .maxPooling, .dropout: 0.0
            }
        return perImage * Double(batch)
    }

    /// Bytes of the tensors that a pass reads and writes, each counted once.
    public func bytes(_ pass: LayerPass, batch: Int) -> Double {
        let inputs = Double(input.storedCount * batch)
        let outputs = Double(output.storedCount * batch)
        let weights = parameters.reduce(0) { $0 + Double($1.storedCount) }
        let floats =
            switch (kind, pass) {
            case (.dropout, _): 2 * inputs
            case (.maxPooling, .backwardData): 2 * inputs + 2 * outputs
            case (.convolution, .backwardData), (.convolution, .backwardWeights):
                inputs + 2 * outputs + weights
            default: inputs + outputs + weights
            }
        return 4 * floats
    }

    /// Bytes of scratch memory, shared with the other layers.
    func workspaceByteCount(maximumBatch: Int, tuning: Tuning) -> Int {
        switch kind {
        case .convolution(let algorithms):
            let methods = algorithms.distinct.map { algorithm in
                switch algorithm {
                case .direct:
                    DirectConvolution.Sizes(input: input, output: output, tuning: tuning)
                        .workspaceByteCount(maximumBatch: maximumBatch)
                case .im2col:
                    Im2colConvolution.Sizes(input: input, output: output, tuning: tuning)
                        .workspaceByteCount(maximumBatch: maximumBatch)
                case .winograd2, .winograd4:
                    winograd(algorithm, tuning).workspaceByteCount(maximumBatch: maximumBatch)
                }
            }
            return methods.reduce(ReLUBackward.workspaceByteCount(output, maximumBatch: maximumBatch), max)
        case .fullyConnected:
            return FullyConnected.workspaceByteCount(input: input, output: output, maximumBatch: maximumBatch)
        case .maxPooling, .dropout: return 0
        }
    }

    /// Bytes of the buffers that the layer allocates for itself when it is made.
    func ownByteCount(training: Bool, tuning: Tuning) -> Int {
        guard case .convolution(let algorithms) = kind else { return 0 }
        return algorithms.distinct.reduce(0) { sum, algorithm in
            switch algorithm {
            case .direct:
                sum + 4
                    * DirectConvolution.Sizes(input: input, output: output, tuning: tuning)
                    .zerosCount
            case .im2col: sum
            case .winograd2, .winograd4:
                sum
                    + (training || algorithm != algorithms.forward
                        ? 0 : 4 * winograd(algorithm, tuning).transformedWeightCount)
            }
        }
    }

    private func winograd(_ algorithm: ConvolutionAlgorithm, _ tuning: Tuning) -> WinogradConvolution.Sizes {
        WinogradConvolution.Sizes(
            input: input, output: output, outputTile: algorithm == .winograd2 ? 2 : 4, tuning: tuning)
    }
}

/// The layers of a network and the sizes of all its buffers, from the architecture alone: `Network` allocates
/// by it, and `MemoryPlan` adds it up.
public struct NetworkLayout {
    public let input: FeatureShape
    public let classes: Int
    public let layers: [LayerLayout]
    public let parameters: [Parameter]
    /// The parameters that backward makes gradients for: all, or those behind frozen layers.
    public let trainedParameters: [Parameter]
    /// The first layer with parameters to learn: below it nobody needs a gradient.
    let lowestTrained: Int
    let options: Network.Options
    private let tuning: Tuning

    /// - Parameter tuning: that of an open device; nil for a device's own values
    /// - Throws: `NetworkError` where the image is too small for the poolings.
    public init(
        _ architecture: Architecture, imageSize: Int, classes: Int, options: Network.Options,
        device: DeviceDescription, tuning: Tuning? = nil
    ) throws {
        input = .image(size: imageSize)
        self.classes = classes
        self.options = options
        self.tuning = tuning ?? Tuning(for: device)
        layers = try NetworkLayout.layers(architecture, input: input, classes: classes, options: options)
        parameters = layers.flatMap(\.parameters)
        lowestTrained =
            layers.firstIndex { !$0.parameters.isEmpty && !(options.freezesFeatures && $0.isConvolution) }
            ?? 0
        trainedParameters = layers[lowestTrained...].flatMap(\.parameters)
    }

    private static func layers(
        _ architecture: Architecture, input: FeatureShape, classes: Int, options: Network.Options
    ) throws -> [LayerLayout] {
        var layers: [LayerLayout] = []
        var shape = input
        var parameterCount = 0
        // Indices as torchvision counts: each ReLU and each dropout is a module of its own there.
        var feature = 0
        var classifier = 0
        func append(_ kind: LayerLayout.Kind, output: FeatureShape, parameters: [Parameter] = []) {
            layers.append(LayerLayout(kind: kind, input: shape, output: output, parameters: parameters))
            shape = output
        }
        func parameters(
            _ prefix: String, _ weight: Parameter.Layout, bias: Int, initialDeviation: Float? = nil
        ) -> [Parameter] {
            defer { parameterCount += 2 }
            return [
                Parameter(
                    name: prefix + ".weight", layout: weight, index: parameterCount,
                    initialDeviation: initialDeviation),
                Parameter(name: prefix + ".bias", layout: .bias(count: bias), index: parameterCount + 1),
            ]
        }
        func appendFullyConnected(_ units: Int, relu: Bool) {
            append(
                .fullyConnected(relu: relu), output: FeatureShape(height: 1, width: 1, channels: units),
                parameters: parameters(
                    "classifier.\(classifier)", .fullyConnected(units: units, input: shape), bias: units,
                    // A last layer with He's deviation begins with confident nonsense: a loss far above
                    // ln(classes), whose gradient kills ReLUs.
                    initialDeviation: relu ? nil : 0.01))
        }
        for token in architecture.tokens {
            switch token {
            case .convolution(let filters):
                append(
                    .convolution(Convolution.algorithms(wanted: options.convolution, input: shape)),
                    output: FeatureShape(height: shape.height, width: shape.width, channels: filters),
                    parameters: parameters(
                        "features.\(feature)", .convolution(filters: filters, input: shape), bias: filters))
                feature += 2
            case .maxPooling:
                guard shape.height >= 2, shape.width >= 2 else {
                    throw NetworkError(
                        "'\(architecture)' has more poolings (M) than an image of \(input.height)×\(input.width) allows; "
                            + "a larger --image-size or fewer M would do")
                }
                append(.maxPooling, output: shape.pooled)
                feature += 1
            case .fullyConnected(let units):
                appendFullyConnected(units, relu: true)
                append(.dropout, output: shape)
                classifier += 3
            }
        }
        appendFullyConnected(classes, relu: false)
        return layers
    }

    // MARK: - Buffers

    private var batch: Int { options.maximumBatch }

    private var largestOutput: Int { layers.map(\.output.storedCount).max() ?? 0 }

    /// Floats of each buffer of activations; the first is the network's input.
    var activationCounts: [Int] {
        // Without backward an activation is dead once the next layer has run: two buffers are enough.
        let outputs =
            options.training
            ? layers.filter { !$0.isInPlace }.map(\.output.storedCount) : [largestOutput, largestOutput]
        return ([input.storedCount] + outputs).map { batch * $0 }
    }

    /// For the network's input and for each layer's output, its place in `activationCounts`.
    var activationPlaces: [Int] {
        var places = [0]
        for layer in layers {
            let previous = places[places.count - 1]
            places.append(
                layer.isInPlace ? previous : options.training ? previous + 1 : previous == 1 ? 2 : 1)
        }
        return places
    }

    /// Floats of each buffer for gradients of activations: one is read while the other is written.
    var activationGradientCounts: [Int] {
        options.training ? [batch * largestOutput, batch * largestOutput] : []
    }

    /// Bytes of the scratch memory that all layers share.
    var workspaceByteCount: Int {
        layers.map { $0.workspaceByteCount(maximumBatch: batch, tuning: tuning) }.max() ?? 0
    }

    /// Bytes of the buffers that layers allocate for themselves, one number for each.
    var layerByteCounts: [Int] {
        layers.map { $0.ownByteCount(training: options.training, tuning: tuning) }.filter { $0 > 0 }
    }
}
