import Compute

/// The convolution summed where the pixels lie (`convolution.cl`); takes every shape.
final class DirectConvolution: ConvolutionMethod {
    /// What is known before any memory is taken.
    struct Sizes {
        let input: FeatureShape
        let output: FeatureShape
        let tuning: Tuning.Convolution

        /// Floats of zeros that stand for the pixels outside.
        var zerosCount: Int { max(input.storedChannels, output.storedChannels) }

        var weightCount: Int { 9 * input.storedChannels * output.storedChannels }

        /// Image rows that one slot of the weights' gradient sums: as many as keep both tensors' rows in a
        /// core's cache.
        var rowsPerSlot: Int {
            max(1, tuning.slotBytes / (4 * input.width * (input.storedChannels + output.storedChannels)))
        }

        /// Slots of one launch; more rows than they take are added by the launches that follow.
        func slotCount(batch: Int) -> Int {
            let slots = (batch * input.height + rowsPerSlot - 1) / rowsPerSlot
            return max(1, min(slots, tuning.slotsBytes / (4 * weightCount)))
        }

        func workspaceByteCount(maximumBatch: Int) -> Int {
            max(weightCount, slotCount(batch: maximumBatch) * weightCount) * 4
        }
    }

    let takesMask = false
    private var sizes: Sizes
    private var input: FeatureShape { sizes.input }
    private var output: FeatureShape { sizes.output }
    private var tuning: Tuning.Convolution { sizes.tuning }
    private let zeros: Buffer
    private let forwardKernel: Kernel
    private let forwardImage: Kernel
    private let flipWeights: Kernel
    private let weightsKernel: Kernel
    private let weightsImage: Kernel
    private let reduction: SlotReduction
    private var scratch: Buffer?

    init(input: FeatureShape, output: FeatureShape, device: Device) throws {
        sizes = Sizes(input: input, output: output, tuning: Tuning(for: device.description).convolution)
        let constants = sizes.tuning.constants
        forwardKernel = try device.kernel("convolution", "convolution_forward", constants: constants)
        forwardImage = try device.kernel("convolution", "convolution_forward_image", constants: constants)
        flipWeights = try device.kernel("convolution", "convolution_flip_weights", constants: constants)
        weightsKernel = try device.kernel("convolution", "convolution_backward_weights", constants: constants)
        weightsImage = try device.kernel(
            "convolution", "convolution_backward_weights_image", constants: constants)
        reduction = try SlotReduction(device: device)
        zeros = try Buffer(device, [Float](repeating: 0, count: sizes.zerosCount))
    }

    private var isImage: Bool { input.storedChannels == 4 }

    func workspaceByteCount(maximumBatch: Int) -> Int { sizes.workspaceByteCount(maximumBatch: maximumBatch) }

    func prepare(workspace: Buffer?, maximumBatch: Int) throws { scratch = workspace }

    func reshape(input: FeatureShape, output: FeatureShape) {
        sizes = Sizes(input: input, output: output, tuning: sizes.tuning)
    }

    func weightsChanged() {}

    func forward(input source: Buffer, weights: Buffer, bias: Buffer, output target: Buffer, batch: Int)
        throws
    {
        let flags = MatrixProduct.Options([.bias, .relu]).rawValue
        if isImage {
            try launch(batch: batch, outputs: output.storedChannels) { range, pixels, panels in
                try forwardImage.launch(
                    range, local: [1, 1], source, weights, bias, zeros, target, batch, input.height,
                    input.width, output.storedChannels, pixels, panels, flags)
            }
        } else {
            try launch(batch: batch, outputs: output.storedChannels) { range, pixels, panels in
                try forwardKernel.launch(
                    range, local: [1, 1], source, weights, bias, zeros, target, batch, input.height,
                    input.width, input.storedChannels, output.storedChannels, pixels, panels, flags)
            }
        }
    }

    func backwardData(
        outputGradient: Buffer, mask: Buffer?, weights: Buffer, inputGradient: Buffer, batch: Int
    ) throws {
        guard let scratch else { return }
        try flipWeights.launch(
            [input.storedChannels / 16, 9, output.storedChannels / 16], local: [1, 1, 1], weights, scratch,
            input.storedChannels, output.storedChannels)
        try launch(batch: batch, outputs: input.storedChannels) { range, pixels, panels in
            try forwardKernel.launch(
                range, local: [1, 1], outputGradient, scratch, weights, zeros, inputGradient, batch,
                input.height, input.width, output.storedChannels, input.storedChannels, pixels, panels, 0)
        }
    }

    private func launch(batch: Int, outputs: Int, _ call: ([Int], Int, Int) throws -> Void) throws {
        let pixels = batch * input.height * input.width
        let panels = min(outputs / 16, tuning.panelsPerItem)
        let columns = (outputs / 16 + panels - 1) / panels
        try call(
            [(pixels + tuning.pixelsPerItem - 1) / tuning.pixelsPerItem, columns],
            tuning.pixelsPerItem, panels)
    }

    func backwardWeights(
        input source: Buffer, outputGradient: Buffer, mask: Buffer?, weightGradient: Buffer,
        biasGradient: Buffer, batch: Int
    ) throws {
        guard let scratch else { return }
        let rows = batch * input.height
        let slots = sizes.slotCount(batch: batch)
        let rowsPerLaunch = slots * sizes.rowsPerSlot
        for first in stride(from: 0, to: rows, by: rowsPerLaunch) {
            let last = min(rows, first + rowsPerLaunch)
            let count = (last - first + sizes.rowsPerSlot - 1) / sizes.rowsPerSlot
            let accumulate = first == 0 ? 0 : 1
            if isImage {
                try weightsImage.launch(
                    [3, (output.storedChannels + 31) / 32, count], local: [1, 1, 1],
                    source, outputGradient, scratch, first, last, sizes.rowsPerSlot,
                    input.height, input.width, output.storedChannels, accumulate)
            } else {
                try weightsKernel.launch(
                    [
                        3 * input.storedChannels / tuning.weightChannels,
                        output.storedChannels / tuning.vector, count,
                    ], local: [1, 1, 1], source, outputGradient, scratch, first, last, sizes.rowsPerSlot,
                    input.height, input.width, input.storedChannels, output.storedChannels, accumulate)
            }
        }
        try reduction.add(
            scratch, count: min(slots, (rows + sizes.rowsPerSlot - 1) / sizes.rowsPerSlot),
            into: weightGradient, floatCount: sizes.weightCount)
    }
}
