import Compute

/// Computes the convolution as a matrix product over windows laid out as rows, chunk by chunk (`im2col` of
/// `convolution.cl`); takes every shape.
final class Im2colConvolution: ConvolutionMethod {
    let fusedWork: FusedWork = []
    private var sizes: ConvolutionFamily.Im2col
    private let layOut: Kernel
    private let turning: TurnedWeights
    private let product: MatrixProduct
    private let reduction: SlotReduction
    private var turnedWeights = PreparedMemory(for: "im2col convolution")
    private var columns = PreparedMemory(for: "im2col convolution")
    private var slotSums = PreparedMemory(for: "im2col convolution")

    init(_ sizes: ConvolutionFamily.Im2col, device: Device) throws {
        self.sizes = sizes
        layOut = try device.kernel("convolution", "im2col")
        turning = try TurnedWeights(device: device)
        product = try MatrixProduct(device: device)
        reduction = try SlotReduction(device: device)
    }

    private var inputs: Int { sizes.input.channels }
    private var outputs: Int { sizes.outputs }

    func prepare(workspace: Buffer?, maximumBatch: Int) throws {
        var offset = 0
        let parts = try sizes.parts(maximumBatch: maximumBatch).map { bytes in
            defer { offset += bytes }
            return bytes == 0 ? nil : try workspace?.slice(byteOffset: offset, byteCount: bytes)
        }
        turnedWeights.give(parts[0])
        columns.give(parts[1])
        slotSums.give(parts[2])
    }

    func reshape(input: FeatureShape) { sizes.input = input.mapSize }

    func weightsChanged() {}

    /// Calls `body(columns, first pixel, pixels)` for each chunk of the batch, with its windows laid out.
    private func forEachChunk(
        of source: Buffer, channels: Int, batch: Int, _ body: (Buffer, Int, Int) throws -> Void
    ) throws {
        let columns = columns.buffer
        let map = sizes.input.with(channels: channels)
        let pixels = batch * map.height * map.width
        let chunk = sizes.chunk(pixels: pixels, channels: channels)
        for first in stride(from: 0, to: pixels, by: chunk) {
            let count = min(chunk, pixels - first)
            let (range, pixelsPerItem) = KernelFamilies.convolution.windows(
                pixels: count, channels: channels, tuning: sizes.tuning)
            try layOut.launch(range, source, columns, first, count, map, pixelsPerItem)
            try body(columns, first, count)
        }
    }

    private func part(of buffer: Buffer, channels: Int, first: Int, count: Int) throws -> MatrixProduct.Panels
    {
        let slice = try buffer.slice(byteOffset: first * channels * 4, byteCount: count * channels * 4)
        return .rowMajor(slice, columns: channels)
    }

    func forward(
        input: Buffer, weights: Buffer, bias: Buffer, output: Buffer, pooled: Buffer?, batch: Int
    ) throws {
        try forEachChunk(of: input, channels: inputs, batch: batch) { columns, first, count in
            try product.multiply(
                .init(columns, columns: 9 * inputs), .panels(weights, rows: 9 * inputs),
                into: part(of: output, channels: outputs, first: first, count: count), bias: bias,
                size: .init(m: count, n: outputs, k: 9 * inputs), options: [.bias, .relu])
        }
    }

    func backwardData(
        _ gradient: ConvolvedMap, weights: Buffer, inputGradient: Buffer, resultMask: Buffer?, batch: Int
    ) throws {
        let turned = turnedWeights.buffer
        try turning.turn(weights, into: turned, inputs: inputs, outputs: outputs)
        try forEachChunk(of: gradient.values, channels: outputs, batch: batch) { columns, first, count in
            try product.multiply(
                .init(columns, columns: 9 * outputs), .panels(turned, rows: 9 * outputs),
                into: part(of: inputGradient, channels: inputs, first: first, count: count),
                size: .init(m: count, n: inputs, k: 9 * outputs))
        }
    }

    func backwardWeights(
        input: Buffer, _ gradient: ConvolvedMap, weightGradient: Buffer, biasGradient: Buffer, batch: Int
    ) throws {
        let slots = sizes.slots(pixels: batch * sizes.input.height * sizes.input.width)
        let sums = slots == 1 ? weightGradient : slotSums.buffer
        try forEachChunk(of: input, channels: inputs, batch: batch) { columns, first, count in
            try product.multiply(
                .init(columns, columns: 9 * inputs, isTransposed: true),
                part(of: gradient.values, channels: outputs, first: first, count: count),
                into: .panels(sums, rows: 9 * inputs),
                size: .init(m: 9 * inputs, n: outputs, k: count),
                options: first == 0 ? [] : .accumulate, slots: slots)
        }
        if slots > 1 {
            try reduction.add(sums, count: slots, into: weightGradient, floatCount: 9 * inputs * outputs)
        }
    }
}

extension ConvolutionFamily.Im2col {
    /// Returns the work of laying out the windows and of the product.
    ///
    /// - Parameter plain: that of the sums as they are defined
    func work(_ pass: LayerPass, _ plain: Work, batch: Int) -> [Work] {
        // On CPUs, chunks of windows stay in the last-level cache.
        guard tuning.sharesGroups else { return [plain] }
        let channels = pass == .backwardData ? outputs : input.channels
        let windows = 4 * 9 * Double(batch * input.height * input.width * channels)
        let map = windows / 9
        return [
            Work(read: map, written: windows),
            Work(
                operations: plain.operations, read: plain.read - map + windows, written: plain.written),
        ]
    }
}
