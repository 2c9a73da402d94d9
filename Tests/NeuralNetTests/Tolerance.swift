/// How far float32 results may lie from the oracle's: the largest error over the root mean square of the
/// exact values. Every test takes its bound from here.
///
/// A float32 rounding loses at most 2⁻²⁴ = 6e-8 of a value. A sum of n products loses some √n roundings of
/// its running total, and the largest of many results some five deviations of that: 5 · √n · 6e-8 · (a
/// third), which is 5e-6 at n = 2304 and 2e-5 at n = 25,088.
enum Tolerance {
    /// Sums of products in float32: matrix products, fully connected layers, convolution by `direct`,
    /// `im2col` and `winograd2`, whose transforms are additions and halves.
    static let sum = 2e-5
    /// F(4×4): its transforms multiply by up to 2.5 and cancel again, which takes one more digit.
    static let winograd4 = 1e-4
    /// A handful of roundings for each element: update (with a factor from a norm, which rounding touches
    /// less), normalisation.
    static let elementwise = 1e-6
    /// exp and log may be wrong by three units in the last place, of arguments up to 20 that are themselves
    /// rounded: 20 · 6e-8 + 4e-7.
    static let softmax = 2e-6
    /// Whole small networks: a few layers of `sum` or `winograd4` with some hundred terms each, where
    /// roundings are a tenth of the bounds above.
    static let network = 1e-5
}
