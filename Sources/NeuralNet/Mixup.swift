import Compute
import Foundation
import Randomness

/// Mixes the images of a pass in pairs (mixup; Zhang, Cisse, Dauphin and Lopez-Paz, 2018).
///
/// Image i of n is paired with image n − 1 − i. Each image has its own share, drawn from Beta(α, α), with
/// which it enters its mixture; its partner has the rest. Labels are mixed by the same shares
/// (`SoftmaxCrossEntropy`).
public struct Mixup {
    /// Both parameters of the beta distribution, above 0.
    private let alpha: Double
    private let seed: UInt64
    private let kernel: Kernel

    public init(alpha: Double, seed: UInt64, device: Device) throws {
        self.alpha = alpha
        self.seed = seed
        kernel = try device.kernel("mixup", "mix_pairs")
    }

    /// Returns the share of each image of one pass in its mixture.
    ///
    /// An image whose weight is 0, such as one that could not be read, is mixed into no other. A share
    /// depends on (seed, step, the image's index in the whole mini-batch), so neither ranks nor a stop change
    /// it.
    ///
    /// - Parameters:
    ///   - firstImage: the index of the first image in the mini-batch
    ///   - weights: those of the pass's images
    public func shares(step: Int, firstImage: Int, weights: some RandomAccessCollection<Float>) -> [Float] {
        let weights = Array(weights)
        return weights.indices.map { row in
            let partner = weights.count - 1 - row
            guard partner != row, weights[row] > 0, weights[partner] > 0 else { return 1 }
            return Mixup.share(alpha, seed: seed, step: step, image: firstImage + row)
        }
    }

    /// Draws from Beta(α, α).
    package static func share(_ alpha: Double, seed: UInt64, step: Int, image: Int) -> Float {
        var random = Philox(seed: seed, purpose: .mixup, step: UInt64(step), index: UInt32(image))
        // Logarithms, because gammas of a small α underflow.
        let difference = random.logGamma(alpha) - random.logGamma(alpha)
        return Float(1 / (1 + exp(-difference)))
    }

    /// Queues the mixing of a pass's images, `[batch][size][size][4]`, in place.
    ///
    /// - Parameter shares: `pass.firstRecord` is the place of the first image's share
    public func mix(_ images: Buffer, shares: Buffer, pixels: Int, pass: Pass) throws {
        guard pass.batch > 1 else { return }
        try kernel.launch(
            [pixels, pass.batch / 2], local: [64, 1], images, shares, [pass.batch, pixels, pass.firstRecord])
    }
}
