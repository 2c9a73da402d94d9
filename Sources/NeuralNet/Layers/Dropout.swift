import Compute
import Randomness

/// Inverted dropout in place: in training an element is zeroed with probability `rate` and otherwise scaled
/// by 1 / (1 − rate).
///
/// Zeroing the activation itself leaves the ReLU before it right: where the kept output is not positive, no
/// gradient passes.
public final class Dropout: Layer {
    public let name = "dropout"
    public let inputShape: FeatureShape
    public var outputShape: FeatureShape { inputShape }
    public let isInPlace = true
    private let rate: Double
    private let layerIndex: Int
    private let kernel: Kernel

    /// - Parameter layerIndex: the layer's place in the network, which keys its masks.
    init(shape: FeatureShape, rate: Double, layerIndex: Int, device: Device) throws {
        inputShape = shape
        self.rate = rate
        self.layerIndex = layerIndex
        kernel = try device.kernel("dropout", "dropout_apply")
    }

    public func forward(input: Buffer, output: Buffer, pass: Pass) throws {
        if pass.training { try apply(to: output, pass: pass) }
    }

    public func backward(
        input: Buffer, output: Buffer, outputGradient: Buffer, inputGradient: Buffer?,
        parameterGradients: [Buffer], pass: Pass
    ) throws { if pass.training { try apply(to: outputGradient, pass: pass) } }

    private func apply(to values: Buffer, pass: Pass) throws {
        guard rate > 0 else { return }
        let count = pass.batch * inputShape.storedCount
        let key = Philox.key(seed: pass.seed, purpose: .dropout)
        try kernel.launch(
            [count / 4], local: [64], values, count, UInt32(pass.firstImage * inputShape.storedCount / 4),
            UInt32(layerIndex), pass.step, [key.x, key.y], Dropout.threshold(rate), Float(1 / (1 - rate)))
    }

    /// rate · 2^32: a random word below it drops its element.
    static func threshold(_ rate: Double) -> UInt32 { UInt32(min(rate * 0x1p32, 0x1p32 - 1)) }
}
