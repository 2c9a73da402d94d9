extension Oracle {
    /// Returns input · weightsᵀ + bias.
    ///
    /// - Parameters:
    ///   - input: [rows][inputs].
    ///   - weights: [outputs][inputs].
    ///   - bias: [outputs].
    /// - Returns: [rows][outputs].
    public static func fullyConnectedForward(
        _ input: [Double], rows: Int, inputs: Int, weights: [Double], bias: [Double], outputs: Int
    ) -> [Double] {
        precondition(bias.count == outputs)
        var output = gemm(input, weights, rows: rows, columns: outputs, depth: inputs, transposeB: true)
        for index in output.indices { output[index] += bias[index % outputs] }
        return output
    }

    /// Returns the gradient of the input, [rows][inputs], from that of the output, [rows][outputs].
    public static func fullyConnectedBackwardData(
        _ outputGradient: [Double], rows: Int, inputs: Int, weights: [Double], outputs: Int
    ) -> [Double] { gemm(outputGradient, weights, rows: rows, columns: inputs, depth: outputs) }

    /// Returns the gradients of weights, [outputs][inputs], and bias, [outputs], summed over the rows.
    public static func fullyConnectedBackwardWeights(
        _ input: [Double], rows: Int, inputs: Int, outputGradient: [Double], outputs: Int
    ) -> (weights: [Double], bias: [Double]) {
        var bias = [Double](repeating: 0, count: outputs)
        for index in outputGradient.indices { bias[index % outputs] += outputGradient[index] }
        return (
            gemm(outputGradient, input, rows: outputs, columns: inputs, depth: rows, transposeA: true), bias
        )
    }

    /// Returns rows of [height][width][channels] features in torch's order, [channels][height][width].
    public static func channelsFirst(_ input: [Double], shape: Shape) -> [Double] {
        precondition(input.count == shape.count)
        var output = [Double](repeating: 0, count: input.count)
        forEachElement(shape) { channelsLast, channelsFirst in output[channelsFirst] = input[channelsLast] }
        return output
    }

    /// Returns the inverse of `channelsFirst`: rows of [channels][height][width] features as NHWC.
    public static func channelsLast(_ input: [Double], shape: Shape) -> [Double] {
        precondition(input.count == shape.count)
        var output = [Double](repeating: 0, count: input.count)
        forEachElement(shape) { channelsLast, channelsFirst in output[channelsLast] = input[channelsFirst] }
        return output
    }

    private static func forEachElement(
        _ shape: Shape, _ body: (_ channelsLast: Int, _ channelsFirst: Int) -> Void
    ) {
        for n in 0..<shape.batch {
            for y in 0..<shape.height {
                for x in 0..<shape.width {
                    for c in 0..<shape.channels {
                        body(
                            shape.index(n, y, x, c),
                            ((n * shape.channels + c) * shape.height + y) * shape.width + x)
                    }
                }
            }
        }
    }
}
