import Basics
import Compute

/// Divides the outputs of a fully connected layer into fixed parts, over which backward-data adds in a binary
/// tree.
///
/// The order of addition follows from the layer and from the number of slices that was asked for, so parts of
/// the tree can be computed anywhere.
public struct Slices: Sendable, Equatable {
    /// The number of slices that `train` has by default.
    public static let standard = 8
    /// The largest number of slices: GPUs add them as slots of a product.
    public static let most = 1 << ProductFamily.slotLevels

    /// The number of slices, a power of two.
    public let count: Int
    /// The stored outputs of all slices.
    private let outputs: Int
    /// The stored outputs of a slice, whole panels of 16; the last slice may have fewer, but has some.
    public let size: Int

    /// Divides `outputs` into the largest power of two of slices that leaves none empty.
    ///
    /// - Parameters:
    ///   - outputs: stored outputs, a multiple of 16
    ///   - largest: a power of two
    public init(of outputs: Int, atMost largest: Int) {
        precondition(largest > 0 && largest & (largest - 1) == 0 && largest <= Slices.most)
        let panels = outputs.ceilDivided(by: 16)
        var count = largest
        while count > 1, (count - 1) * panels.ceilDivided(by: count) >= panels { count /= 2 }
        self.count = count
        self.outputs = 16 * panels
        size = 16 * panels.ceilDivided(by: count)
    }

    /// Returns the stored outputs of some of the slices.
    public func outputs(of held: Range<Int>) -> Range<Int> {
        held.isEmpty ? 0..<0 : held.lowerBound * size..<min(outputs, held.upperBound * size)
    }
}
