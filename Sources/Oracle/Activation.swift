extension Oracle {
    /// max(0, x), element by element.
    public static func reluForward(_ input: [Double]) -> [Double] { input.map { max(0, $0) } }

    /// The gradient of ReLU's input: that of its output where the output is positive, otherwise 0 (also at
    /// exactly 0).
    public static func reluBackward(output: [Double], outputGradient: [Double]) -> [Double] {
        precondition(output.count == outputGradient.count)
        return zip(output, outputGradient).map { $0 > 0 ? $1 : 0 }
    }

    /// Inverted dropout: the elements whose mask is true, divided by the probability of keeping one; 0 for
    /// the others.
    ///
    /// It is linear, so the same function takes the output's gradient to the input's.
    /// - Parameter probability: that of dropping an element, in 0..<1.
    public static func dropout(_ values: [Double], mask: [Bool], probability: Double) -> [Double] {
        precondition(values.count == mask.count && (0..<1).contains(probability))
        return zip(values, mask).map { $1 ? $0 / (1 - probability) : 0 }
    }
}
