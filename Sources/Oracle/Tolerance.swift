/// Bounds of the error of float32 results against the oracle's, from which tests and self-test take theirs.
///
/// They limit the largest error over the root mean square of the exact values. A float32 rounding loses at
/// most 2⁻²⁴ = 6e-8 of a value. A sum of n products loses some √n roundings of its running total, and the
/// largest of many results some five deviations of that: 5 · √n · 6e-8 · (a third), which is 5e-6 at n = 2304
/// and 2e-5 at n = 25,088.
public enum Tolerance {
    /// Sums of products in float32: matrix products, fully connected layers, convolution by `direct`,
    /// `im2col` and `winograd2`, whose transforms are additions and halves.
    public static let sum = 2e-5
    /// F(4×4): its transforms multiply by up to 2.5 and cancel again, which takes one more digit.
    public static let winograd4 = 1e-4
    /// A few roundings of each element: the update, with a factor from a norm, and normalisation.
    public static let elementwise = 1e-6
    /// exp and log may be wrong by three units in the last place, of arguments up to 20 that are themselves
    /// rounded: 20 · 6e-8 + 4e-7.
    public static let softmax = 2e-6
    /// Whole small networks: a few layers of `sum` or `winograd4` with some hundred terms each, where
    /// roundings are a tenth of the bounds above.
    public static let network = 1e-5
}

/// Returns the largest error over the root mean square of the exact values, or infinity.
///
/// It is infinity if anything is not a number or the lengths differ.
public func relativeError(_ values: [Float], _ exact: [Double]) -> Double {
    guard values.count == exact.count else { return .infinity }
    let square = exact.reduce(0) { $0 + $1 * $1 } / Double(max(1, exact.count))
    var largest = 0.0
    for (value, exact) in zip(values, exact) {
        let error = abs(Double(value) - exact)
        if !error.isFinite { return .infinity }
        largest = max(largest, error)
    }
    return square > 0 ? largest / square.squareRoot() : largest
}
