/// Describes why a list of layers cannot be built.
public struct OracleNetworkError: Error, CustomStringConvertible, Equatable { public let description: String }

/// A sequential network in double precision: forward, loss and every gradient, with parameters in torch's
/// layouts.
///
/// Its parameters come in the order of the layers, weights before bias: convolutions OIHW, fully connected
/// layers [outputs][inputs], the first of which takes its inputs flattened as [channels][height][width].
public struct OracleNetwork: Sendable {
    /// A layer by the name of its kind, and its number of outputs: filters, units or channels.
    public typealias LayerDescription = (kind: String, outputs: Int)

    /// The results of one forward pass, and of the backward pass if there was one.
    public struct Result: Sendable {
        /// scale · Σ weight · loss over the rows.
        public var loss: Double
        /// [batch][classes].
        public var logits: [Double]
        /// In the order and layout of the network's parameters; empty after `forward`.
        public var gradients: [[Double]]
        /// The gradient of the images, NHWC; empty after `forward`.
        public var inputGradient: [Double]
        /// Which way every ReLU (1 where positive) and max-pool (the chosen pixel) went.
        ///
        /// If two results differ in this, the loss has a kink between them.
        public var decisions: [Int]
    }

    /// A batch, with the weights of its loss.
    public struct Batch: Sendable {
        /// NHWC, [labels.count][height][width][channels].
        public var images: [Double]
        public var labels: [Int]
        /// Each row's weight in the loss; all 1 if nil.
        public var weights: [Double]?
        /// What each row is trained towards in place of its label and weight, [labels.count][classes]; nil
        /// for those.
        public var targets: [Double]?
        /// What the weighted sum of the losses is multiplied with.
        public var scale: Double
        /// For each dropout layer, true where an element is kept, [batch][outputs]; no dropout if nil.
        public var masks: [[Bool]]?
        /// The probability of dropping an element that the masks were drawn with.
        public var dropout: Double

        /// `scale` is 1 / rows unless given.
        public init(
            images: [Double], labels: [Int], weights: [Double]? = nil, targets: [Double]? = nil,
            scale: Double? = nil, masks: [[Bool]]? = nil, dropout: Double = 0.5
        ) {
            self.images = images
            self.labels = labels
            self.weights = weights
            self.targets = targets
            self.scale = scale ?? 1 / Double(max(1, labels.count))
            self.masks = masks
            self.dropout = dropout
        }
    }

    let layers: [any OracleLayer]
    /// The shape of one image (batch 1).
    public let inputShape: Oracle.Shape
    public let classes: Int
    /// The shape of each parameter, as torch prints it.
    public let parameterShapes: [[Int]]
    /// For each layer the range of its parameters.
    let parameterRanges: [Range<Int>]

    /// Builds the network of these layers, the last of which gives the class scores.
    ///
    /// - Throws: `OracleNetworkError` for an unknown kind or a number of outputs below 1, for a layer on maps
    ///   behind a fully connected layer, and for a pool of less than 2 pixels.
    public init(_ descriptions: [LayerDescription], height: Int, width: Int, channels: Int = 3) throws {
        var layers: [any OracleLayer] = []
        var parameterShapes: [[Int]] = []
        var parameterRanges: [Range<Int>] = []
        inputShape = Oracle.Shape(batch: 1, height: height, width: width, channels: channels)
        var shape = inputShape
        for (index, (kind, outputs)) in descriptions.enumerated() {
            guard let make = Oracle.layerKinds[kind], outputs > 0 else {
                throw OracleNetworkError(
                    description:
                        "a layer '\(kind)' with \(outputs) outputs: expected 1 or more outputs and one of "
                        + Oracle.layerKinds.keys.sorted().joined(separator: ", "))
            }
            let layer = make(outputs, index == descriptions.count - 1)
            if layers.last?.isClassifier == true, !layer.isClassifier {
                throw OracleNetworkError(description: "a layer '\(kind)' follows one that is fully connected")
            }
            let output = layer.outputShape(shape)
            guard output.height > 0, output.width > 0 else {
                throw OracleNetworkError(
                    description:
                        "a layer '\(kind)' finds a map of \(shape.height)×\(shape.width), which is too small")
            }
            let shapes = layer.parameterShapes(shape)
            parameterRanges.append(parameterShapes.count..<parameterShapes.count + shapes.count)
            parameterShapes += shapes
            layers.append(layer)
            shape = output
        }
        classes = shape.count
        self.layers = layers
        self.parameterShapes = parameterShapes
        self.parameterRanges = parameterRanges
    }

    /// Returns loss, logits and decisions.
    public func forward(_ batch: Batch, parameters: [[Double]]) -> Result {
        run(batch, parameters: parameters, backward: false)
    }

    /// Returns loss, logits, decisions and all gradients.
    public func evaluate(_ batch: Batch, parameters: [[Double]]) -> Result {
        run(batch, parameters: parameters, backward: true)
    }

    private func run(_ batch: Batch, parameters: [[Double]], backward: Bool) -> Result {
        precondition(parameters.map(\.count) == parameterShapes.map { $0.reduce(1, *) })
        let rows = batch.labels.count
        var shape = inputShape
        shape.batch = rows
        precondition(batch.images.count == shape.count)
        var values = batch.images
        var passes: [(input: OracleLayerInput, output: [Double])] = []
        var decisions: [Int] = []
        var masks = batch.masks?[...] ?? []
        for (layer, range) in zip(layers, parameterRanges) {
            let input = OracleLayerInput(
                values: values, shape: shape, parameters: Array(parameters[range]),
                mask: layer.takesMask ? masks.popFirst() : nil, dropout: batch.dropout)
            let result = layer.forward(input)
            passes.append((input, result.output))
            decisions += result.decisions
            values = result.output
            shape = layer.outputShape(shape)
        }

        let (total, gradient) = OracleNetwork.loss(values, batch: batch, classes: classes)
        var result = Result(
            loss: batch.scale * total, logits: values, gradients: [], inputGradient: [], decisions: decisions)
        guard backward else { return result }

        result.gradients = [[Double]](repeating: [], count: parameters.count)
        result.inputGradient = gradient
        for (index, layer) in layers.enumerated().reversed() {
            let gradients = layer.backward(
                passes[index].input, output: passes[index].output, outputGradient: result.inputGradient)
            result.gradients.replaceSubrange(parameterRanges[index], with: gradients.parameters)
            result.inputGradient = gradients.input
        }
        return result
    }

    /// Returns the weighted sum of the rows' losses, and the gradient of `scale` times it.
    private static func loss(_ logits: [Double], batch: Batch, classes: Int) -> (
        total: Double, gradient: [Double]
    ) {
        if let targets = batch.targets {
            let loss = Oracle.crossEntropy(logits, targets: targets, classes: classes, scale: batch.scale)
            return (loss.losses.reduce(0, +), loss.gradient)
        }
        let loss = Oracle.softmaxCrossEntropy(
            logits, rows: batch.labels.count, classes: classes, labels: batch.labels,
            weights: batch.weights, scale: batch.scale)
        var total = 0.0
        for (row, value) in loss.losses.enumerated() {
            let weight = batch.weights?[row] ?? 1
            if weight != 0 { total += weight * value }
        }
        return (total, loss.gradient)
    }
}
