import Compute

/// Computes Winograd's F(m×m, 3×3), m = 4 or 2 (Lavin and Gray, 2016).
///
/// The host walks over chunks of tiles, small enough that what is transformed stays in the last-level cache.
/// `winograd.cl` has the layouts.
final class WinogradConvolution: ConvolutionMethod {
    /// Binds a target, and either the bias that it gets before a ReLU or a mask.
    private struct Target: KernelArgumentGroup {
        let values: Buffer
        var bias: Buffer?
        var mask: Buffer?
        /// Whether it is written past the cache.
        let isStreamed: Bool
        /// Receives the maxima of 2×2 windows.
        var pooled: Buffer?

        /// The bits of winograd.h.
        private var flags: Int { (bias == nil ? 0 : 1) | (isStreamed ? 2 : 0) | (mask == nil ? 0 : 4) }
        var arguments: [any KernelArgument] { [values, bias ?? mask ?? values, flags] }
    }

    /// A target with what receives its maxima, if anything does.
    private struct PooledTarget: KernelArgumentGroup {
        let target: Target

        var arguments: [any KernelArgument] {
            target.arguments + [target.pooled ?? target.values, target.pooled == nil ? 0 : 1]
        }
    }

    /// The kernels that do the work of a pooling too, on CPUs.
    private struct Pooling {
        let transform, transformGradient, transformOutput: Kernel
    }

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
    private let pooling: Pooling?
    /// Forward and backward-data in one launch, on CPUs.
    private let convolveAtOnce: Kernel?
    private var products: any WinogradProducts
    private let transformWeightsGradient: Kernel

    /// - Parameter keepsTransformedWeights: whether the transformed filters stay in memory of their own from
    ///   call to call (four times the filters' size): for inference. A training step uses them once.
    init(_ sizes: WinogradFamily.Geometry, keepsTransformedWeights: Bool, device: Device) throws {
        self.sizes = sizes
        let variant = WinogradFamily.variant(outputTile: sizes.outputTile)
        func kernel(_ name: String) throws -> Kernel {
            try device.kernel("winograd", "winograd_" + name, variant: variant)
        }
        let sharesGroups = device.tuning.sharesGroups
        products =
            sharesGroups
            ? try GroupWinogradProducts(sizes, device: device, kernel: kernel)
            : try CoreWinogradProducts(sizes, kernel: kernel)
        transformWeights = try kernel("transform_weights")
        transformWeightsTransposed = try kernel("transform_weights_transposed")
        transformInput = try kernel("transform_input")
        transformGradient = try kernel("transform_gradient")
        transformOutput = try kernel("transform_output")
        pooling =
            !sharesGroups && sizes.outputTile == 4
            ? Pooling(
                transform: try kernel("transform_pooled"),
                transformGradient: try kernel("transform_pooled_gradient"),
                transformOutput: try kernel("transform_output_pooled")) : nil
        convolveAtOnce = sharesGroups ? nil : try kernel("convolve")
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

    var fusedWork: FusedWork {
        var work: FusedWork = [.masksWeights, .masksData]
        if convolveAtOnce != nil { work.insert(.masksResult) }
        if pooling != nil, sizes.takesPooling { work.formUnion([.pooling, .unpoolsWeights, .unpoolsData]) }
        return work
    }

    // MARK: - Passes

    func forward(
        input: Buffer, weights: Buffer, bias: Buffer, output: Buffer, pooled: Buffer?, batch: Int
    ) throws {
        let transformed = keptWeights ?? weightsMemory.buffer
        if keptWeights == nil || !keptWeightsAreCurrent {
            try transformWeights.launch(
                sizes.weights(lines: channels, others: filters), weights, transformed, channels, filters)
            keptWeightsAreCurrent = true
        }
        let isStreamed = sizes.streams(batch: batch, channels: filters)
        try convolve(
            ConvolvedMap(values: input), sizes.input, weights: transformed,
            to: Target(values: output, bias: bias, isStreamed: isStreamed, pooled: pooled),
            filters: filters, batch: batch)
    }

    func backwardData(
        _ gradient: ConvolvedMap, weights: Buffer, inputGradient: Buffer, resultMask: Buffer?, batch: Int
    ) throws {
        let transformed = weightsMemory.buffer
        try transformWeightsTransposed.launch(
            sizes.weights(lines: filters, others: channels), weights, transformed, channels, filters)
        let isStreamed = sizes.streams(batch: batch, channels: channels)
        try convolve(
            gradient, sizes.input.with(channels: filters), weights: transformed,
            to: Target(values: inputGradient, mask: resultMask, isStreamed: isStreamed),
            filters: channels, batch: batch)
    }

    /// Queues forward or backward-data: the same sum with other weights.
    ///
    /// - Parameters:
    ///   - map: the source's size
    ///   - filters: the target's channels
    private func convolve(
        _ source: ConvolvedMap, _ map: MapSize, weights: Buffer, to target: Target, filters: Int, batch: Int
    ) throws {
        let transformed = sourceMemory.buffer
        if let convolveAtOnce, sizes.runsAtOnce {
            let tiles = sizes.tileCount(batch: batch)
            try convolveAtOnce.launch(
                sizes.atOnce(tiles: tiles), source, weights, transformed, PooledTarget(target: target), map,
                filters, tiles)
            return
        }
        let targets = targetMemory.buffer
        for tiles in sizes.chunks(batch: batch) {
            try transform(source, map, into: transformed, tiles, by: transformInput, pooling?.transform)
            try products.multiply(
                transformed, by: weights, into: targets,
                channels: map.channels, filters: filters, rows: tiles.rows)
            let range = sizes.transform(channels: filters, rows: tiles.rows)
            let map = map.with(channels: filters)
            if let pooled = target.pooled {
                guard let pooling else { preconditionFailure("these transforms do not pool") }
                try pooling.transformOutput.launch(range, targets, target, pooled, map, tiles)
            } else {
                try transformOutput.launch(range, targets, target, map, tiles)
            }
        }
    }

    /// Queues the transform of a chunk of a map: by one kernel, or by another if it is a gradient behind a
    /// pooling.
    private func transform(
        _ source: ConvolvedMap, _ map: MapSize, into transformed: Buffer, _ tiles: WinogradFamily.Tiles,
        by plain: Kernel, _ pooled: Kernel?
    ) throws {
        let range = sizes.transform(channels: map.channels, rows: tiles.rows)
        if source.isBehindPooling, let pooled, let output = source.mask {
            try pooled.launch(range, source.values, output, transformed, map, tiles)
        } else {
            try plain.launch(range, source, transformed, map, tiles)
        }
    }

    func backwardWeights(
        input: Buffer, _ gradient: ConvolvedMap, weightGradient: Buffer, biasGradient: Buffer, batch: Int
    ) throws {
        let (transformed, gradients) = (sourceMemory.buffer, targetMemory.buffer)
        let sums = weightsMemory.buffer
        for (index, tiles) in sizes.chunks(batch: batch).enumerated() {
            try transform(
                ConvolvedMap(values: input), sizes.input, into: transformed, tiles, by: transformInput, nil)
            try transform(
                gradient, sizes.input.with(channels: filters), into: gradients, tiles, by: transformGradient,
                pooling?.transformGradient)
            try products.multiplyWeights(
                transformed, by: gradients, into: sums, biasGradient: biasGradient,
                rows: tiles.rows, isFirst: index == 0)
        }
        try transformWeightsGradient.launch(
            sizes.weights(lines: channels, others: filters), products.finish(sums, scratch: transformed),
            weightGradient, channels, filters)
    }
}

/// Binds values, mask and what the mask means.
extension ConvolvedMap: KernelArgumentGroup {
    var arguments: [any KernelArgument] {
        [values, mask ?? values, mask == nil ? 0 : isBehindPooling ? 2 : 1]
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
        guard tuning.sharesGroups else {
            return [Work(operations: operations, read: plain.read, written: plain.written)]
        }
        // The transforms write what the product reads, and read what it writes. They also read and write the
        // pass's own tensors.
        let (channels, filters) = (4 * tiles * Double(channels), 4 * tiles * Double(filters))
        let weights = 4 * Double(transformedWeightCount)
        let product =
            switch pass {
            case .forward: Work(operations: operations, read: channels + weights, written: filters)
            case .backwardData: Work(operations: operations, read: filters + weights, written: channels)
            case .backwardWeights:
                Work(
                    operations: operations, read: channels + filters,
                    written: weights * Double(weightSlots))
            }
        let (read, written) =
            pass == .backwardWeights ? (weights, product.read) : (product.written, product.read)
        return [Work(read: plain.read + read, written: plain.written + written), product]
    }
}
