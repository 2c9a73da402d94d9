import Compute

/// Computes the gradient through bias and ReLU in one pass: zeroes the output's gradient in place where the
/// output is not positive, and sums it over the pixels into the bias' gradient.
final class ReLUBackward {
    private let shape: FeatureShape
    private let sum: Kernel
    private let reduction: SlotReduction
    private let tuning: Tuning
    private var slots = PreparedMemory(for: "backward of bias and ReLU")

    init(shape: FeatureShape, device: Device) throws {
        self.shape = shape
        tuning = device.tuning
        sum = try device.kernel("convolution", "bias_backward")
        reduction = try SlotReduction(device: device)
    }

    static func workspaceByteCount(_ shape: FeatureShape, maximumBatch: Int, tuning: Tuning) -> Int {
        ConvolutionFamily.BiasSlots.byteCount(
            pixels: maximumBatch * shape.height * shape.width,
            channels: shape.storedChannels, tuning: tuning)
    }

    func prepare(workspace: Buffer?, maximumBatch: Int) throws { slots.give(workspace) }

    /// Queues the pass.
    ///
    /// - Parameters:
    ///   - output: the layer's own output; nil if it has no ReLU
    ///   - biasGradient: nil if only the gradient is to be zeroed
    ///   - channels: those of the gradient, if it has only some of the layer's
    func apply(
        output: Buffer?, outputGradient: Buffer, biasGradient: Buffer?, batch: Int, channels: Int? = nil
    ) throws {
        let pixels = batch * shape.height * shape.width
        let channels = channels ?? shape.storedChannels
        let parts = ConvolutionFamily.BiasSlots(pixels: pixels, tuning: tuning)
        try sum.launch(
            parts.range(channels: channels), outputGradient,
            output ?? outputGradient, slots.buffer, pixels,
            channels, parts.pixelsPerSlot, output == nil ? 0 : 1)
        guard let biasGradient else { return }
        try reduction.add(slots.buffer, count: parts.count, into: biasGradient, floatCount: channels)
    }
}

/// Adds numbered partial sums in ascending order.
struct SlotReduction {
    private let kernel: Kernel
    private let tuning: Tuning

    init(device: Device) throws {
        kernel = try device.kernel("convolution", "reduce_slots")
        tuning = device.tuning
    }

    /// Queues result[i] ← slots[0][i] + slots[1][i] + …; `floatCount` is a multiple of 16.
    func add(_ slots: Buffer, count: Int, into result: Buffer, floatCount: Int) throws {
        let (range, panelsPerItem) = KernelFamilies.convolution.reduction(
            slots: count, count: floatCount, tuning: tuning)
        try kernel.launch(range, slots, result, count, floatCount, panelsPerItem)
    }
}
