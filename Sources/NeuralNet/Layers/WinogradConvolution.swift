import Compute

/// Computes Winograd's F(m×m, 3×3), m = 4 or 2 (Lavin and Gray, 2016).
///
/// The host walks over chunks of tiles, small enough that what is transformed stays in the last-level cache.
/// `winograd.cl` has the layouts.
final class WinogradConvolution: ConvolutionMethod {
    /// Binds a source and its mask, or a target and the bias that it gets before a ReLU.
    private struct Tensor: KernelArgumentGroup {
        let values: Buffer
        let companion: Buffer?
        var arguments: [any KernelArgument] { [values, companion ?? values, companion == nil ? 0 : 1] }
    }

    let takesMask = true
    private var sizes: WinogradFamily.Geometry
    private let keptWeights: Buffer?
    private var keptWeightsAreCurrent = false
    /// The scratch memory's parts: transformed weights, and two transformed tensors.
    private var weightsMemory = PreparedMemory(for: "Winograd convolution")
    private var sourceMemory = PreparedMemory(for: "Winograd convolution")
    private var targetMemory = PreparedMemory(for: "Winograd convolution")

    private let transformWeights: Kernel
    private let transformWeightsTransposed: Kernel
    private let transformInput: Kernel
    private let transformGradient: Kernel
    private let transformOutput: Kernel
    /// Forward and backward-data in one launch, on CPUs.
    private let convolveAtOnce: Kernel?
    private var products: any WinogradProducts
    private let reduceBias: Kernel
    private let transformWeightsGradient: Kernel

    /// - Parameter keepsTransformedWeights: whether the transformed filters stay in memory of their own from
    ///   call to call (four times the filters' size): for inference. A training step uses them once.
    init(_ sizes: WinogradFamily.Geometry, keepsTransformedWeights: Bool, device: Device) throws {
        self.sizes = sizes
        func kernel(_ name: String) throws -> Kernel {
            try device.kernel("winograd", "winograd_" + name, variant: ["OUTPUT_TILE": sizes.outputTile])
        }
        let onCPU = device.tuning.device.body == .cpu
        products =
            onCPU
            ? try CoreWinogradProducts(sizes, kernel: kernel)
            : try GroupWinogradProducts(sizes, device: device)
        transformWeights = try kernel("transform_weights")
        transformWeightsTransposed = try kernel("transform_weights_transposed")
        transformInput = try kernel("transform_input")
        transformGradient = try kernel("transform_gradient")
        transformOutput = try kernel("transform_output")
        convolveAtOnce = onCPU ? try kernel("convolve") : nil
        reduceBias = try kernel("reduce_bias")
        transformWeightsGradient = try kernel("transform_weights_gradient")
        keptWeights =
            keepsTransformedWeights ? try Buffer(device, floatCount: sizes.transformedWeightCount) : nil
    }

    private var channels: Int { sizes.channels }
    private var filters: Int { sizes.filters }

    func prepare(workspace: Buffer?, maximumBatch: Int) throws {
        var offset = 0
        let parts = try sizes.parts(maximumBatch: maximumBatch).map { floats in
            defer { offset += sizes.byteCount(ofPart: floats) }
            return try workspace?.slice(byteOffset: offset, byteCount: floats * 4)
        }
        weightsMemory.give(parts[0])
        sourceMemory.give(parts[1])
        targetMemory.give(parts[2])
    }

    func reshape(input: FeatureShape) { sizes.input = input.mapSize }

    func weightsChanged() { keptWeightsAreCurrent = false }

    // MARK: - Passes

    func forward(input: Buffer, weights: Buffer, bias: Buffer, output: Buffer, batch: Int) throws {
        let transformed = keptWeights ?? weightsMemory.buffer
        if keptWeights == nil || !keptWeightsAreCurrent {
            try transformWeights.launch(
                sizes.weights(lines: channels, others: filters), weights, transformed, channels, filters)
            keptWeightsAreCurrent = true
        }
        try convolve(
            Tensor(values: input, companion: nil), sizes.input, weights: transformed,
            to: Tensor(values: output, companion: bias), filters: filters, batch: batch)
    }

    func backwardData(
        outputGradient: Buffer, mask: Buffer?, weights: Buffer, inputGradient: Buffer, batch: Int
    ) throws {
        let transformed = weightsMemory.buffer
        try transformWeightsTransposed.launch(
            sizes.weights(lines: filters, others: channels), weights, transformed, channels, filters)
        let source = Tensor(values: outputGradient, companion: mask)
        try convolve(
            source, sizes.input.with(channels: filters), weights: transformed,
            to: Tensor(values: inputGradient, companion: nil), filters: channels, batch: batch)
    }

    /// Queues forward or backward-data: the same sum with other weights.
    ///
    /// - Parameters:
    ///   - map: the source's size
    ///   - filters: the target's channels
    private func convolve(
        _ source: Tensor, _ map: MapSize, weights: Buffer, to target: Tensor, filters: Int, batch: Int
    ) throws {
        let transformed = sourceMemory.buffer
        if let convolveAtOnce, sizes.runsAtOnce {
            let tiles = sizes.tileCount(batch: batch)
            try convolveAtOnce.launch(
                sizes.atOnce(tiles: tiles), source, weights, transformed, target, map, filters, tiles)
            return
        }
        let targets = targetMemory.buffer
        for tiles in sizes.chunks(batch: batch) {
            try transformInput.launch(
                sizes.transform(channels: map.channels, rows: tiles.rows), source, transformed, map, tiles)
            try products.multiply(
                transformed, by: weights, into: targets,
                channels: map.channels, filters: filters, rows: tiles.rows)
            try transformOutput.launch(
                sizes.transform(channels: filters, rows: tiles.rows), targets, target,
                map.with(channels: filters), tiles)
        }
    }

    func backwardWeights(
        input source: Buffer, outputGradient: Buffer, mask: Buffer?, weightGradient: Buffer,
        biasGradient: Buffer, batch: Int
    ) throws {
        let (transformed, gradients) = (sourceMemory.buffer, targetMemory.buffer)
        let sums = weightsMemory.buffer
        for (index, tiles) in sizes.chunks(batch: batch).enumerated() {
            let accumulate = index == 0 ? 0 : 1
            try transformInput.launch(
                sizes.transform(channels: channels, rows: tiles.rows), Tensor(values: source, companion: nil),
                transformed, sizes.input, tiles)
            try transformGradient.launch(
                sizes.transform(channels: filters, rows: tiles.rows),
                Tensor(values: outputGradient, companion: mask), gradients,
                sizes.input.with(channels: filters), tiles)
            try products.multiplyWeights(
                transformed, by: gradients, into: sums, rows: tiles.rows, isFirst: index == 0)
            try reduceBias.launch(sizes.bias, gradients, biasGradient, filters, tiles.rows, accumulate)
        }
        try transformWeightsGradient.launch(
            sizes.weights(lines: channels, others: filters), products.finish(sums, scratch: transformed),
            weightGradient, channels, filters)
    }
}

extension WinogradFamily.Geometry {
    /// Returns the transforms' and the products' work.
    ///
    /// - Parameter plain: that of the sums as they are defined
    func work(_ pass: LayerPass, _ plain: Work, batch: Int) -> [Work] {
        let tiles = Double(tileCount(batch: batch) * positions)
        let operations = 2 * tiles * Double(channels * filters)
        // On CPUs, chunks of what is transformed stay in the last-level cache.
        guard tuning.device.body == .gpu else { return [Work(operations: operations, bytes: plain.bytes)] }
        let maps = 4 * tiles * Double(channels + filters)
        let weights = 4 * Double(transformedWeightCount)
        let product = Work(
            operations: operations,
            bytes: maps + weights * Double(pass == .backwardWeights ? weightSlots : 1))
        // The plain bytes include the weights as they are stored.
        return [Work(bytes: plain.bytes + maps + weights), product]
    }
}
