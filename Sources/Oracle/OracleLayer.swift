/// One layer of an `OracleNetwork`: forward and backward in plain loops.
protocol OracleLayer: Sendable {
    typealias Output = (output: [Double], decisions: [Int])
    typealias Gradients = (input: [Double], parameters: [[Double]])

    /// Whether the layer works on whole images; other layers work on maps of any size.
    var isClassifier: Bool { get }
    /// Whether the batch holds a mask for the layer.
    var takesMask: Bool { get }
    func outputShape(_ input: Oracle.Shape) -> Oracle.Shape
    /// Returns the shape of each parameter as torch prints it.
    func parameterShapes(_ input: Oracle.Shape) -> [[Int]]
    /// Returns the output, and which way every ReLU (1 where positive) and max-pool (the chosen pixel) went.
    func forward(_ input: OracleLayerInput) -> Output
    /// Returns the gradients of the input and of each parameter.
    ///
    /// - Parameter output: as `forward` returned it
    func backward(_ input: OracleLayerInput, output: [Double], outputGradient: [Double]) -> Gradients
}

extension OracleLayer {
    var takesMask: Bool { false }
    func outputShape(_ input: Oracle.Shape) -> Oracle.Shape { input }
    func parameterShapes(_ input: Oracle.Shape) -> [[Int]] { [] }
}

/// What a layer reads.
struct OracleLayerInput {
    /// NHWC, of `shape`.
    var values: [Double]
    var shape: Oracle.Shape
    var parameters: [[Double]]
    /// True where dropout keeps an element; no dropout if nil.
    var mask: [Bool]?
    /// The probability of dropping an element that the mask was drawn with.
    var dropout: Double
}

extension Oracle {
    /// Makes each kind of layer from its name, its number of outputs, and whether it is the network's last.
    static let layerKinds: [String: @Sendable (_ outputs: Int, _ isLast: Bool) -> any OracleLayer] = [
        "convolution": { filters, _ in ConvolutionLayer(filters: filters) },
        "max_pooling": { _, _ in MaxPoolingLayer() },
        "fully_connected": { outputs, isLast in FullyConnectedLayer(outputs: outputs, hasReLU: !isLast) },
        "dropout": { _, _ in DropoutLayer() },
    ]

    /// Returns the output of a ReLU, with its decisions.
    private static func positive(_ sums: [Double]) -> OracleLayer.Output {
        let output = reluForward(sums)
        return (output, output.map { $0 > 0 ? 1 : 0 })
    }

    /// Convolution 3×3, stride 1, one pixel of padding, then ReLU.
    private struct ConvolutionLayer: OracleLayer {
        let isClassifier = false
        let filters: Int

        func outputShape(_ input: Shape) -> Shape { input.with(channels: filters) }
        func parameterShapes(_ input: Shape) -> [[Int]] { [[filters, input.channels, 3, 3], [filters]] }

        func forward(_ input: OracleLayerInput) -> Output {
            let sums = convolutionForward(
                input.values, shape: input.shape, weights: input.parameters[0],
                bias: input.parameters[1], filters: filters)
            return positive(sums)
        }

        func backward(_ input: OracleLayerInput, output: [Double], outputGradient: [Double]) -> Gradients {
            let gradient = reluBackward(output: output, outputGradient: outputGradient)
            let parameters = convolutionBackwardWeights(
                input.values, shape: input.shape, outputGradient: gradient, filters: filters)
            let data = convolutionBackwardData(
                gradient, shape: input.shape, weights: input.parameters[0], filters: filters)
            return (data, [parameters.weights, parameters.bias])
        }
    }

    /// Max-pooling 2×2 with stride 2.
    private struct MaxPoolingLayer: OracleLayer {
        let isClassifier = false

        func outputShape(_ input: Shape) -> Shape { maxPoolShape(input) }

        func forward(_ input: OracleLayerInput) -> Output {
            let pooled = maxPoolForward(input.values, shape: input.shape)
            return (pooled.output, pooled.choices)
        }

        func backward(_ input: OracleLayerInput, output: [Double], outputGradient: [Double]) -> Gradients {
            (maxPoolBackward(input.values, shape: input.shape, outputGradient: outputGradient), [])
        }
    }

    /// Fully connected over the input flattened as [channels][height][width], then ReLU unless it is the
    /// last layer.
    private struct FullyConnectedLayer: OracleLayer {
        let isClassifier = true
        let outputs: Int
        let hasReLU: Bool

        func outputShape(_ input: Shape) -> Shape {
            Shape(batch: input.batch, height: 1, width: 1, channels: outputs)
        }
        func parameterShapes(_ input: Shape) -> [[Int]] { [[outputs, inputs(input)], [outputs]] }
        private func inputs(_ shape: Shape) -> Int { shape.height * shape.width * shape.channels }

        func forward(_ input: OracleLayerInput) -> Output {
            let sums = fullyConnectedForward(
                channelsFirst(input.values, shape: input.shape), rows: input.shape.batch,
                inputs: inputs(input.shape), weights: input.parameters[0],
                bias: input.parameters[1], outputs: outputs)
            return hasReLU ? positive(sums) : (sums, [])
        }

        func backward(_ input: OracleLayerInput, output: [Double], outputGradient: [Double]) -> Gradients {
            let gradient =
                hasReLU ? reluBackward(output: output, outputGradient: outputGradient) : outputGradient
            let (rows, inputs) = (input.shape.batch, inputs(input.shape))
            let parameters = fullyConnectedBackwardWeights(
                channelsFirst(input.values, shape: input.shape), rows: rows, inputs: inputs,
                outputGradient: gradient, outputs: outputs)
            let data = fullyConnectedBackwardData(
                gradient, rows: rows, inputs: inputs, weights: input.parameters[0], outputs: outputs)
            return (channelsLast(data, shape: input.shape), [parameters.weights, parameters.bias])
        }
    }

    /// Dropout by the batch's mask.
    private struct DropoutLayer: OracleLayer {
        let isClassifier = true
        let takesMask = true

        private func apply(_ input: OracleLayerInput, to values: [Double]) -> [Double] {
            input.mask.map { dropout(values, mask: $0, probability: input.dropout) } ?? values
        }

        func forward(_ input: OracleLayerInput) -> Output { (apply(input, to: input.values), []) }

        func backward(_ input: OracleLayerInput, output: [Double], outputGradient: [Double]) -> Gradients {
            (apply(input, to: outputGradient), [])
        }
    }
}
