extension Oracle {
    /// Returns the 3×3 cross-correlation with stride 1 and one pixel of zero padding.
    ///
    /// - Parameters:
    ///   - input: NHWC, of `shape`.
    ///   - weights: OIHW: [filters][shape.channels][3][3].
    ///   - bias: [filters].
    /// - Returns: NHWC, of `shape` with `filters` channels.
    public static func convolutionForward(
        _ input: [Double], shape: Shape, weights: [Double], bias: [Double], filters: Int
    ) -> [Double] {
        precondition(
            input.count == shape.count && weights.count == filters * shape.channels * 9
                && bias.count == filters)
        let outputShape = shape.with(channels: filters)
        var output = [Double](repeating: 0, count: outputShape.count)
        for index in output.indices { output[index] = bias[index % filters] }
        forEachTap(shape: shape, filters: filters) { inputIndex, weightIndex, outputIndex in
            output[outputIndex] += input[inputIndex] * weights[weightIndex]
        }
        return output
    }

    /// Returns the gradient of a convolution's input, as NHWC of `shape`, the shape of that input.
    ///
    /// - Parameters:
    ///   - outputGradient: NHWC, of `shape` with `filters` channels.
    ///   - weights: OIHW: [filters][shape.channels][3][3].
    public static func convolutionBackwardData(
        _ outputGradient: [Double], shape: Shape, weights: [Double], filters: Int
    ) -> [Double] {
        precondition(
            outputGradient.count == shape.with(channels: filters).count
                && weights.count == filters * shape.channels * 9)
        var inputGradient = [Double](repeating: 0, count: shape.count)
        forEachTap(shape: shape, filters: filters) { inputIndex, weightIndex, outputIndex in
            inputGradient[inputIndex] += outputGradient[outputIndex] * weights[weightIndex]
        }
        return inputGradient
    }

    /// Returns the gradients of a convolution's weights (OIHW) and bias ([filters]), summed over the batch.
    ///
    /// - Parameters:
    ///   - input: NHWC, of `shape`.
    ///   - outputGradient: NHWC, of `shape` with `filters` channels.
    public static func convolutionBackwardWeights(
        _ input: [Double], shape: Shape, outputGradient: [Double], filters: Int
    ) -> (weights: [Double], bias: [Double]) {
        precondition(
            input.count == shape.count && outputGradient.count == shape.with(channels: filters).count)
        var weights = [Double](repeating: 0, count: filters * shape.channels * 9)
        var bias = [Double](repeating: 0, count: filters)
        forEachTap(shape: shape, filters: filters) { inputIndex, weightIndex, outputIndex in
            weights[weightIndex] += input[inputIndex] * outputGradient[outputIndex]
        }
        for index in outputGradient.indices { bias[index % filters] += outputGradient[index] }
        return (weights, bias)
    }

    /// Calls `body` with the indices of input, weight and output for each product of a 3×3 convolution.
    ///
    /// The three passes are sums over the same products, so they share one loop and cannot disagree.
    private static func forEachTap(
        shape: Shape, filters: Int, _ body: (_ input: Int, _ weight: Int, _ output: Int) -> Void
    ) {
        let outputShape = shape.with(channels: filters)
        for n in 0..<shape.batch {
            for y in 0..<shape.height {
                for x in 0..<shape.width {
                    for ky in 0..<3 where (0..<shape.height).contains(y + ky - 1) {
                        for kx in 0..<3 where (0..<shape.width).contains(x + kx - 1) {
                            for k in 0..<filters {
                                for c in 0..<shape.channels {
                                    body(
                                        shape.index(n, y + ky - 1, x + kx - 1, c),
                                        ((k * shape.channels + c) * 3 + ky) * 3 + kx,
                                        outputShape.index(n, y, x, k))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
