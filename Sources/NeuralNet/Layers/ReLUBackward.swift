import Compute

/// The gradient through bias and ReLU: silences the output's gradient in place where the output is not
/// positive, and sums it over the pixels into the bias' gradient, in one pass.
final class ReLUBackward {
    private let shape: FeatureShape
    private let sum: Kernel
    private let reduction: SlotReduction
    private var slots: Buffer?

    init(shape: FeatureShape, device: Device) throws {
        self.shape = shape
        sum = try device.kernel(
            "convolution", "bias_backward", constants: Tuning(for: device.description).convolution.constants)
        reduction = try SlotReduction(device: device)
    }

    /// A slot sums so many pixels: fixed by the shape alone, so that the order of addition is.
    private func pixelsPerSlot(_ pixels: Int) -> Int { max(64, (pixels + 255) / 256) }

    private func slotCount(batch: Int) -> Int {
        let pixels = batch * shape.height * shape.width
        return (pixels + pixelsPerSlot(pixels) - 1) / pixelsPerSlot(pixels)
    }

    func workspaceByteCount(maximumBatch: Int) -> Int {
        ReLUBackward.workspaceByteCount(shape, maximumBatch: maximumBatch)
    }

    static func workspaceByteCount(_ shape: FeatureShape, maximumBatch: Int) -> Int {
        // A smaller batch may have more slots than a larger one, never more than 257.
        min(257, maximumBatch * shape.height * shape.width) * shape.storedChannels * 4
    }

    func prepare(workspace: Buffer?, maximumBatch: Int) throws { slots = workspace }

    /// - Parameter output: the layer's own output; nil where it has no ReLU.
    func apply(output: Buffer?, outputGradient: Buffer, biasGradient: Buffer, batch: Int) throws {
        guard let slots else { return }
        let pixels = batch * shape.height * shape.width
        let count = slotCount(batch: batch)
        try sum.launch(
            [count], local: [1], outputGradient, output ?? outputGradient, slots, pixels,
            shape.storedChannels, pixelsPerSlot(pixels), output == nil ? 0 : 1)
        try reduction.add(slots, count: count, into: biasGradient, floatCount: shape.storedChannels)
    }
}

/// Adds numbered partial sums in ascending order.
final class SlotReduction {
    private let kernel: Kernel

    init(device: Device) throws {
        kernel = try device.kernel(
            "convolution", "reduce_slots", constants: Tuning(for: device.description).convolution.constants)
    }

    /// result[i] ← slots[0][i] + slots[1][i] + …; `floatCount` is a multiple of 16.
    func add(_ slots: Buffer, count: Int, into result: Buffer, floatCount: Int) throws {
        let panels = floatCount / 16
        let panelsPerItem = max(1, min(64, panels / 64))
        try kernel.launch(
            [(panels + panelsPerItem - 1) / panelsPerItem], local: [1],
            slots, result, count, floatCount, panelsPerItem)
    }
}
