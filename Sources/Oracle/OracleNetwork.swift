/// A list of layers that cannot be built, said in words.
public struct OracleNetworkError: Error, CustomStringConvertible, Equatable { public let description: String }

/// A sequential network in double precision: forward, loss and every gradient, with parameters in torch's
/// layouts.
///
/// Its parameters come in the order of the layers, weights before bias: convolutions OIHW, fully connected
/// layers [outputs][inputs], the first of which takes its inputs flattened as [channels][height][width].
public struct OracleNetwork: Sendable {
    /// A layer with what it needs to know of its place in the network.
    public enum Layer: Equatable, Sendable {
        /// Convolution 3×3, stride 1, one pixel of padding, then ReLU.
        case convolution(filters: Int)
        /// Max-pooling 2×2 with stride 2.
        case maxPool
        /// Fully connected, then ReLU and dropout; the last one, which gives the logits, has neither.
        case fullyConnected(outputs: Int, isLast: Bool)
    }

    /// Everything one evaluation yields.
    public struct Evaluation: Sendable {
        /// scale · Σ weight · loss over the rows.
        public var loss: Double
        /// [batch][classes].
        public var logits: [Double]
        /// In the order and layout of the network's parameters; empty after `forward`.
        public var gradients: [[Double]]
        /// The gradient of the images, NHWC; empty after `forward`.
        public var inputGradient: [Double]
        /// Which way every ReLU (1 where positive) and max-pool (the chosen pixel) went. Where two
        /// evaluations differ in this, the loss has a kink between them.
        public var decisions: [Int]
    }

    /// A batch and how its loss is put together.
    public struct Batch: Sendable {
        /// NHWC, [labels.count][height][width][channels].
        public var images: [Double]
        public var labels: [Int]
        /// Each row's weight in the loss; all 1 if nil.
        public var weights: [Double]?
        /// What the weighted sum of the losses is multiplied with.
        public var scale: Double
        /// For each fully connected layer but the last: true where an element is kept, [batch][outputs]. No
        /// dropout if nil.
        public var masks: [[Bool]]?
        /// The probability of dropping an element that the masks were drawn with.
        public var dropout: Double

        /// `scale` is 1 / rows unless given.
        public init(
            images: [Double], labels: [Int], weights: [Double]? = nil, scale: Double? = nil,
            masks: [[Bool]]? = nil, dropout: Double = 0.5
        ) {
            self.images = images
            self.labels = labels
            self.weights = weights
            self.scale = scale ?? 1 / Double(max(1, labels.count))
            self.masks = masks
            self.dropout = dropout
        }
    }

    public let layers: [Layer]
    /// Of one image (batch 1).
    public let inputShape: Oracle.Shape
    public let classes: Int
    /// The shape of each parameter, as torch prints it.
    public let parameterShapes: [[Int]]

    /// Builds the network of a specification such as `8,8,M,F16`: a number n is a convolution of n filters,
    /// `M` a max-pool, `Fn` a fully connected layer; the last layer, to the classes, is implied. An empty
    /// specification is a linear classifier.
    ///
    /// - Throws: `OracleNetworkError` for an unknown token, a convolution or pool after `F`, or a pool of
    ///   less than 2 pixels.
    public init(spec: String, height: Int, width: Int, channels: Int = 3, classes: Int) throws {
        var layers: [Layer] = []
        var parameterShapes: [[Int]] = []
        var shape = Oracle.Shape(batch: 1, height: height, width: width, channels: channels)
        inputShape = shape
        var features: Int?
        func fullyConnected(_ outputs: Int, isLast: Bool) {
            layers.append(.fullyConnected(outputs: outputs, isLast: isLast))
            parameterShapes += [[outputs, features ?? shape.count], [outputs]]
            features = outputs
        }
        for token in spec.split(separator: ",") {
            if token.first == "F", let outputs = Int(token.dropFirst()), outputs > 0 {
                fullyConnected(outputs, isLast: false)
            } else if features != nil {
                throw OracleNetworkError(
                    description:
                        "layer \(token) stands after a fully connected layer, where only F layers may follow")
            } else if token == "M" {
                guard shape.height >= 2, shape.width >= 2 else {
                    throw OracleNetworkError(
                        description:
                            "layer M finds \(shape.height)×\(shape.width) pixels, and needs 2×2 or more")
                }
                layers.append(.maxPool)
                shape = Oracle.maxPoolShape(shape)
            } else if let filters = Int(token), filters > 0 {
                layers.append(.convolution(filters: filters))
                parameterShapes += [[filters, shape.channels, 3, 3], [filters]]
                shape = shape.with(channels: filters)
            } else {
                throw OracleNetworkError(
                    description: "layer \(token) is unknown; a number, M, or F and a number were expected")
            }
        }
        fullyConnected(classes, isLast: true)
        self.layers = layers
        self.parameterShapes = parameterShapes
        self.classes = classes
    }

    /// Loss, logits and decisions.
    public func forward(_ batch: Batch, parameters: [[Double]]) -> Evaluation {
        run(batch, parameters: parameters, backward: false)
    }

    /// Loss, logits, decisions and all gradients.
    public func evaluate(_ batch: Batch, parameters: [[Double]]) -> Evaluation {
        run(batch, parameters: parameters, backward: true)
    }

    /// What backward needs of a layer's forward pass.
    private struct Trace {
        var shape: Oracle.Shape
        var input: [Double]
        /// Behind ReLU, before dropout.
        var output: [Double]
    }

    private func run(_ batch: Batch, parameters: [[Double]], backward: Bool) -> Evaluation {
        precondition(parameters.map(\.count) == parameterShapes.map { $0.reduce(1, *) })
        let rows = batch.labels.count
        var shape = inputShape
        shape.batch = rows
        precondition(batch.images.count == shape.count)
        var values = batch.images
        var traces: [Trace] = []
        var decisions: [Int] = []
        var parameter = 0
        // The shape of the images where they are flattened, and how many fully connected layers were passed
        // since.
        var flattened: Oracle.Shape?
        var maskIndex = 0

        for layer in layers {
            switch layer {
            case .convolution(let filters):
                let output = Oracle.reluForward(
                    Oracle.convolutionForward(
                        values, shape: shape, weights: parameters[parameter],
                        bias: parameters[parameter + 1], filters: filters))
                traces.append(Trace(shape: shape, input: values, output: output))
                decisions += output.map { $0 > 0 ? 1 : 0 }
                values = output
                shape = shape.with(channels: filters)
                parameter += 2
            case .maxPool:
                let pooled = Oracle.maxPoolForward(values, shape: shape)
                traces.append(Trace(shape: shape, input: values, output: pooled.output))
                decisions += pooled.choices
                values = pooled.output
                shape = Oracle.maxPoolShape(shape)
            case .fullyConnected(let outputs, let isLast):
                if flattened == nil {
                    values = Oracle.channelsFirst(values, shape: shape)
                    flattened = shape
                    shape = Oracle.Shape(
                        batch: rows, height: 1, width: 1, channels: shape.count / max(1, rows))
                }
                var output = Oracle.fullyConnectedForward(
                    values, rows: rows, inputs: shape.channels, weights: parameters[parameter],
                    bias: parameters[parameter + 1], outputs: outputs)
                if !isLast {
                    output = Oracle.reluForward(output)
                    decisions += output.map { $0 > 0 ? 1 : 0 }
                }
                traces.append(Trace(shape: shape, input: values, output: output))
                values = output
                if !isLast, let masks = batch.masks {
                    values = Oracle.dropout(values, mask: masks[maskIndex], probability: batch.dropout)
                    maskIndex += 1
                }
                shape = shape.with(channels: outputs)
                parameter += 2
            }
        }

        let logits = values
        let loss = Oracle.softmaxCrossEntropy(
            logits, rows: rows, classes: classes, labels: batch.labels,
            weights: batch.weights, scale: batch.scale)
        var total = 0.0
        for (row, value) in loss.losses.enumerated() {
            let weight = batch.weights?[row] ?? 1
            if weight != 0 { total += weight * value }
        }
        var evaluation = Evaluation(
            loss: batch.scale * total, logits: logits, gradients: [], inputGradient: [], decisions: decisions)
        guard backward else { return evaluation }

        var gradients = [[Double]](repeating: [], count: parameters.count)
        var gradient = loss.gradient
        for (index, layer) in layers.enumerated().reversed() {
            let trace = traces[index]
            switch layer {
            case .convolution(let filters):
                gradient = Oracle.reluBackward(output: trace.output, outputGradient: gradient)
                parameter -= 2
                (gradients[parameter], gradients[parameter + 1]) = Oracle.convolutionBackwardWeights(
                    trace.input, shape: trace.shape, outputGradient: gradient, filters: filters)
                gradient = Oracle.convolutionBackwardData(
                    gradient, shape: trace.shape, weights: parameters[parameter], filters: filters)
            case .maxPool:
                gradient = Oracle.maxPoolBackward(trace.input, shape: trace.shape, outputGradient: gradient)
            case .fullyConnected(let outputs, let isLast):
                if !isLast {
                    if let masks = batch.masks {
                        maskIndex -= 1
                        gradient = Oracle.dropout(
                            gradient, mask: masks[maskIndex], probability: batch.dropout)
                    }
                    gradient = Oracle.reluBackward(output: trace.output, outputGradient: gradient)
                }
                parameter -= 2
                let inputs = trace.shape.channels
                (gradients[parameter], gradients[parameter + 1]) = Oracle.fullyConnectedBackwardWeights(
                    trace.input, rows: rows, inputs: inputs, outputGradient: gradient, outputs: outputs)
                gradient = Oracle.fullyConnectedBackwardData(
                    gradient, rows: rows, inputs: inputs, weights: parameters[parameter], outputs: outputs)
                let isFirst = index == 0 || !layers[index - 1].isFullyConnected
                if isFirst, let flattened { gradient = Oracle.channelsLast(gradient, shape: flattened) }
            }
        }
        evaluation.gradients = gradients
        evaluation.inputGradient = gradient
        return evaluation
    }
}

extension OracleNetwork.Layer {
    var isFullyConnected: Bool { if case .fullyConnected = self { true } else { false } }
}
