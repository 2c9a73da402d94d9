import Compute

/// The convolution as a matrix product over windows laid out as rows, chunk by chunk (`im2col` of
/// `convolution.cl`, and `gemm.cl`); takes every shape.
final class Im2colConvolution: ConvolutionMethod {
    /// What is known before any memory is taken.
    struct Sizes {
        let input: FeatureShape
        let output: FeatureShape
        let tuning: Tuning.Convolution

        var weightCount: Int { 9 * input.storedChannels * output.storedChannels }
        var flippedBytes: Int { (weightCount * 4 + 4095) / 4096 * 4096 }

        /// Pixels of one chunk, for rows of 9 · `channels`: a multiple of 64, so that a chunk of the output
        /// starts where a sub-buffer may.
        func chunk(pixels: Int, channels: Int) -> Int {
            min(pixels, max(64, tuning.columnsBytes / (36 * channels) / 64 * 64))
        }

        func workspaceByteCount(maximumBatch: Int) -> Int {
            let pixels = maximumBatch * input.height * input.width
            return flippedBytes
                + [input, output].map {
                    chunk(pixels: pixels, channels: $0.storedChannels) * 36 * $0.storedChannels
                }.reduce(0, max)
        }
    }

    let takesMask = false
    private var sizes: Sizes
    private var input: FeatureShape { sizes.input }
    private var output: FeatureShape { sizes.output }
    private let layOut: Kernel
    private let flipWeights: Kernel
    private let product: MatrixProduct
    private var flipped: Buffer?
    private var columns: Buffer?

    init(input: FeatureShape, output: FeatureShape, device: Device) throws {
        let tuning = Tuning(for: device.description).convolution
        sizes = Sizes(input: input, output: output, tuning: tuning)
        layOut = try device.kernel("convolution", "im2col", constants: tuning.constants)
        flipWeights = try device.kernel(
            "convolution", "convolution_flip_weights", constants: tuning.constants)
        product = try MatrixProduct(device: device)
    }

    func workspaceByteCount(maximumBatch: Int) -> Int { sizes.workspaceByteCount(maximumBatch: maximumBatch) }

    func prepare(workspace: Buffer?, maximumBatch: Int) throws {
        flipped = try workspace?.slice(byteOffset: 0, byteCount: sizes.flippedBytes)
        columns = try workspace?.slice(
            byteOffset: sizes.flippedBytes,
            byteCount: workspaceByteCount(maximumBatch: maximumBatch) - sizes.flippedBytes)
    }

    func reshape(input: FeatureShape, output: FeatureShape) {
        sizes = Sizes(input: input, output: output, tuning: sizes.tuning)
    }

    func weightsChanged() {}

    /// Calls `body(columns, first pixel, pixels)` for each chunk of the batch, with its windows laid out.
    private func forEachChunk(
        of source: Buffer, channels: Int, batch: Int, _ body: (Buffer, Int, Int) throws -> Void
    ) throws {
        guard let columns else { return }
        let pixels = batch * input.height * input.width
        let chunk = sizes.chunk(pixels: pixels, channels: channels)
        for first in stride(from: 0, to: pixels, by: chunk) {
            let count = min(chunk, pixels - first)
            try layOut.launch(
                [(count + 15) / 16], local: [1], source, columns, first, count, input.height, input.width,
                channels, 16)
            try body(columns, first, count)
        }
    }

    private func part(of buffer: Buffer, channels: Int, first: Int, count: Int) throws -> Buffer {
        try buffer.slice(byteOffset: first * channels * 4, byteCount: count * channels * 4)
    }

    func forward(input source: Buffer, weights: Buffer, bias: Buffer, output target: Buffer, batch: Int)
        throws
    {
        try multiply(
            source, channels: input.storedChannels, by: weights, bias: bias, into: target,
            outputs: output.storedChannels, batch: batch)
    }

    func backwardData(
        outputGradient: Buffer, mask: Buffer?, weights: Buffer, inputGradient: Buffer, batch: Int
    ) throws {
        guard let flipped else { return }
        try flipWeights.launch(
            [input.storedChannels / 16, 9, output.storedChannels / 16], local: [1, 1, 1], weights, flipped,
            input.storedChannels, output.storedChannels)
        try multiply(
            outputGradient, channels: output.storedChannels, by: flipped, bias: nil, into: inputGradient,
            outputs: input.storedChannels, batch: batch)
    }

    /// Forward and backward-data are the same product with other weights; bias and ReLU come with the bias.
    private func multiply(
        _ source: Buffer, channels: Int, by weights: Buffer,
        bias: Buffer?, into target: Buffer, outputs: Int, batch: Int
    ) throws {
        try forEachChunk(of: source, channels: channels, batch: batch) { columns, first, count in
            try product.multiply(
                columns, aColumns: 9 * channels, weights, .panels(rows: 9 * channels), bias: bias,
                into: part(of: target, channels: outputs, first: first, count: count),
                .rowMajor(columns: outputs), m: count, n: outputs, k: 9 * channels,
                options: bias == nil ? [] : [.bias, .relu])
        }
    }

    func backwardWeights(
        input source: Buffer, outputGradient: Buffer, mask: Buffer?, weightGradient: Buffer,
        biasGradient: Buffer, batch: Int
    ) throws {
        let depth = 9 * input.storedChannels
        let outputs = output.storedChannels
        try forEachChunk(of: source, channels: input.storedChannels, batch: batch) { columns, first, count in
            try product.multiply(
                columns, aColumns: depth, transposed: true,
                part(of: outputGradient, channels: outputs, first: first, count: count),
                .rowMajor(columns: outputs), into: weightGradient, .panels(rows: depth), m: depth, n: outputs,
                k: count, options: first == 0 ? [] : .accumulate)
        }
    }
}
