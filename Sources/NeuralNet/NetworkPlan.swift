import Compute

/// Describes a network's layers and its buffers' sizes, which `Network` allocates by.
public struct NetworkPlan {
    public let input: FeatureShape
    public let classes: Int
    public let layers: [LayerPlan]
    public let parameters: [Parameter]
    /// The parameters that backward computes gradients for: all, or those behind frozen layers.
    public let trainedParameters: [Parameter]
    /// The index of the first layer with parameters to learn: the layers below need no gradient.
    package let lowestTrained: Int
    private let options: Network.Options

    /// - Parameter tuning: that of an open device; nil for a device's stored or initial values
    /// - Throws: `NetworkError` if the image is too small for the poolings.
    public init(
        _ architecture: Architecture, imageSize: Int, classes: Int, options: Network.Options,
        device: DeviceDescription, tuning: Tuning? = nil
    ) throws {
        guard imageSize >= architecture.smallestImage else {
            let smallest = architecture.smallestImage
            throw NetworkError(
                "the poolings of '\(architecture)' need images of \(smallest)×\(smallest) pixels or more; "
                    + "found \(imageSize)×\(imageSize)", kind: .tooManyPoolings(smallestImage: smallest))
        }
        let tuning = tuning ?? Tuning(for: device)
        input = .image(size: imageSize)
        self.classes = classes
        self.options = options
        var layers: [LayerPlan] = []
        // torchvision counts the modules of the two parts separately.
        var features = 0
        var classifier = 0
        for spec in architecture.layers + [FullyConnectedSpec(units: classes, isLast: true)] {
            let shape = layers.last?.output ?? input
            let spec = spec.configured(by: options, input: shape)
            layers.append(
                LayerPlan(
                    spec, input: shape, index: layers.count,
                    module: spec.isClassifier ? "classifier.\(classifier)" : "features.\(features)",
                    firstParameter: layers.reduce(0) { $0 + $1.parameters.count },
                    training: options.training, device: device, tuning: tuning))
            if spec.isClassifier { classifier += spec.moduleCount } else { features += spec.moduleCount }
        }
        self.layers = layers
        parameters = layers.flatMap(\.parameters)
        lowestTrained =
            layers.firstIndex { !$0.parameters.isEmpty && ($0.spec.isClassifier || !options.freezesFeatures) }
            ?? 0
        trainedParameters = layers[lowestTrained...].flatMap(\.parameters)
    }

    /// The work of all layers in one forward and backward pass; input and loss are left out.
    public var passWork: [Work] {
        layers.flatMap { layer in
            LayerPass.allCases.filter { runs($0, layer) }.flatMap { layer.work($0, batch: batch) }
        }
    }

    /// Returns the update's work: it reads gradients, and reads and writes weights and moments.
    ///
    /// - Parameter averages: whether it also reads the new weights, and reads and writes their average
    public func updateWork(_ method: UpdateRule.Method, averages: Bool = false) -> Work {
        let written = 1 + method.momentCount + (averages ? 1 : 0)
        let read = 2 + method.momentCount + (averages ? 2 : 0)
        let bytes = 4 * Double(trainedParameters.reduce(0) { $0 + $1.storedCount })
        return Work(read: bytes * Double(read), written: bytes * Double(written))
    }

    /// Returns whether a training step runs this pass of a layer.
    package func runs(_ pass: LayerPass, _ layer: LayerPlan) -> Bool {
        switch pass {
        case .forward: true
        case .backwardWeights: layer.index >= lowestTrained && !layer.parameters.isEmpty
        case .backwardData: layer.index > lowestTrained
        }
    }

    // MARK: - Buffers

    private var batch: Int { options.maximumBatch }

    private var largestOutput: Int { layers.map(\.output.storedCount).max() ?? 0 }

    /// Floats of each buffer of activations; the first is the network's input.
    var activationCounts: [Int] {
        // Without backward an activation is dead once the next layer has run: two buffers are enough.
        let outputs =
            options.training
            ? layers.filter { !$0.spec.isInPlace }.map(\.output.storedCount) : [largestOutput, largestOutput]
        return ([input.storedCount] + outputs).map { batch * $0 }
    }

    /// For the network's input and for each layer's output, the index of its buffer in `activationCounts`.
    var activationBuffers: [Int] {
        layers.reduce(into: [0]) { buffers, layer in
            let previous = buffers[buffers.count - 1]
            buffers.append(
                layer.spec.isInPlace ? previous : options.training ? previous + 1 : previous == 1 ? 2 : 1)
        }
    }

    /// Floats of each buffer for gradients of activations: one is read while the other is written.
    var activationGradientCounts: [Int] {
        options.training ? [batch * largestOutput, batch * largestOutput] : []
    }

    /// Floats of each buffer of the split layers, which hold images of several micro-batches.
    var splitCounts: [Int] { layers.flatMap { SplitLayer.floatCounts($0).map { max(1, $0) } } }

    /// Bytes of the scratch memory that all layers share.
    var workspaceByteCount: Int { layers.map { $0.memory(maximumBatch: batch).workspace }.max() ?? 0 }

    /// Bytes of the buffers that layers allocate for themselves, one number for each.
    var layerByteCounts: [Int] { layers.map { $0.memory(maximumBatch: batch).own }.filter { $0 > 0 } }
}
