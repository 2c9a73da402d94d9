extension Oracle {
    /// Returns the shape after 2×2 pooling with stride 2; an odd last row or column is left out.
    public static func maxPoolShape(_ shape: Shape) -> Shape {
        Shape(batch: shape.batch, height: shape.height / 2, width: shape.width / 2, channels: shape.channels)
    }

    /// Returns 2×2 max-pooling with stride 2.
    ///
    /// - Parameter input: NHWC, of `shape`.
    /// - Returns: `output` as NHWC of `maxPoolShape(shape)`, and for each of its elements the index in
    ///   `input` of the maximum, of equal ones the first row by row.
    public static func maxPoolForward(_ input: [Double], shape: Shape) -> (output: [Double], choices: [Int]) {
        precondition(input.count == shape.count)
        let outputShape = maxPoolShape(shape)
        var choices: [Int] = []
        choices.reserveCapacity(outputShape.count)
        for n in 0..<outputShape.batch {
            for y in 0..<outputShape.height {
                for x in 0..<outputShape.width {
                    for c in 0..<outputShape.channels {
                        var best = shape.index(n, 2 * y, 2 * x, c)
                        for (dy, dx) in [(0, 1), (1, 0), (1, 1)] {
                            let candidate = shape.index(n, 2 * y + dy, 2 * x + dx, c)
                            if input[candidate] > input[best] { best = candidate }
                        }
                        choices.append(best)
                    }
                }
            }
        }
        return (choices.map { input[$0] }, choices)
    }

    /// Returns the gradient of max-pooling's input, as NHWC of `shape`: each output's gradient goes to the
    /// chosen pixel.
    ///
    /// - Parameters:
    ///   - input: NHWC, of `shape`.
    ///   - outputGradient: NHWC, of `maxPoolShape(shape)`.
    public static func maxPoolBackward(_ input: [Double], shape: Shape, outputGradient: [Double]) -> [Double]
    {
        let choices = maxPoolForward(input, shape: shape).choices
        precondition(outputGradient.count == choices.count)
        var inputGradient = [Double](repeating: 0, count: shape.count)
        for (choice, gradient) in zip(choices, outputGradient) { inputGradient[choice] += gradient }
        return inputGradient
    }
}
