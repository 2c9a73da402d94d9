extension Oracle {
    /// Returns max(0, x) for each element.
    public static func reluForward(_ input: [Double]) -> [Double] { input.map { max(0, $0) } }

    /// Returns the gradient of ReLU's input: that of its output where the output is positive, otherwise 0.
    public static func reluBackward(output: [Double], outputGradient: [Double]) -> [Double] {
        precondition(output.count == outputGradient.count)
        return zip(output, outputGradient).map { $0 > 0 ? $1 : 0 }
    }

    /// Returns inverted dropout: elements whose mask is true, over the probability of keeping one; else 0.
    ///
    /// It is linear, so the same function turns the output's gradient into the input's.
    ///
    /// - Parameter probability: of dropping an element, in 0..<1
    public static func dropout(_ values: [Double], mask: [Bool], probability: Double) -> [Double] {
        precondition(values.count == mask.count && (0..<1).contains(probability))
        return zip(values, mask).map { $1 ? $0 / (1 - probability) : 0 }
    }
}
