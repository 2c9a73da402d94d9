import Compute
import Randomness

/// Describes inverted dropout: in training an element is zeroed with probability `rate` and otherwise scaled
/// by 1 / (1 − rate).
public struct DropoutSpec: LayerSpec {
    public let kind = "dropout"
    public let isClassifier = true
    public let isInPlace = true
    let rate: Double

    /// - Parameter rate: the network's option replaces it
    public init(rate: Double = 0.5) { self.rate = rate }

    public func configured(by options: Network.Options, input: FeatureShape) -> any LayerSpec {
        DropoutSpec(rate: options.dropout)
    }

    public func makeLayer(_ plan: LayerPlan, device: Device) throws -> any Layer {
        try Dropout(plan, rate: rate, device: device)
    }
}

/// Inverted dropout in place (`dropout.cl`).
///
/// The ReLU before it still works, although its output is overwritten: where the kept output is not positive,
/// no gradient passes.
public final class Dropout: Layer {
    public let plan: LayerPlan
    private let rate: Double
    private let kernel: Kernel
    private let tuning: Tuning

    init(_ plan: LayerPlan, rate: Double, device: Device) throws {
        self.plan = plan
        self.rate = rate
        tuning = device.tuning
        kernel = try device.kernel(
            "dropout", "dropout_apply", variant: KernelFamilies.dropout.variant(tuning))
    }

    public func forward(input: Buffer, output: Buffer, pass: Pass) throws {
        if pass.training { try apply(to: output, pass: pass) }
    }

    public func backward(
        input: Buffer, output: Buffer, outputGradient: Buffer, inputGradient: Buffer?,
        parameterGradients: [Buffer], pass: Pass
    ) throws { if pass.training { try apply(to: outputGradient, pass: pass) } }

    private func apply(to values: Buffer, pass: Pass) throws {
        try apply(to: values, units: 0..<inputShape.storedCount, firstRow: 0, pass: pass)
    }

    /// Queues the zeroing of some of the units of a pass's images.
    ///
    /// - Parameters:
    ///   - values: rows of `units`; `firstRow` is that of the pass's first image
    ///   - units: stored ones of the whole layer
    func apply(to values: Buffer, units: Range<Int>, firstRow: Int, pass: Pass) throws {
        guard rate > 0, !units.isEmpty, pass.batch > 0 else { return }
        let stride = inputShape.storedCount
        let part = Part(
            count: pass.batch * units.count, start: firstRow * units.count, columns: units.count,
            stride: stride, first: pass.firstImage * stride + units.lowerBound)
        let key = Philox.key(seed: pass.seed, purpose: .dropout)
        try kernel.launch(
            KernelFamilies.dropout.launch(count: part.count, tuning: tuning), values, part,
            UInt32(plan.index), pass.step, [key.x, key.y], Dropout.threshold(rate), Float(1 / (1 - rate)))
    }

    /// Which of the elements of the whole mini-batch a launch takes.
    private struct Part: KernelArgumentGroup {
        /// Elements, and the place of the first in the buffer.
        let count, start: Int
        /// Elements of a row, and of a whole image.
        let columns, stride: Int
        /// The index of the first in the whole mini-batch.
        let first: Int

        /// The kernel counts in fours.
        var arguments: [any KernelArgument] {
            [count, start / 4, columns / 4, stride / 4, UInt32(first / 4)]
        }
    }

    /// Returns rate · 2^32: a random word below it drops its element.
    static func threshold(_ rate: Double) -> UInt32 { UInt32(min(rate * 0x1p32, 0x1p32 - 1)) }
}
