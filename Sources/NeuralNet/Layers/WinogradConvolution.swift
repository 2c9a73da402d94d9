import Compute

/// Winograd's F(m×m, 3×3), m = 4 or 2 (Lavin and Gray, 2016): the host walks over chunks of tiles, small
/// enough that what is transformed stays in the last-level cache. `winograd.cl` says how the numbers lie.
final class WinogradConvolution: ConvolutionMethod {
    /// What is known before any memory is taken.
    struct Sizes {
        let input: FeatureShape
        let output: FeatureShape
        let outputTile: Int
        let tuning: Tuning.Winograd

        var positions: Int { (outputTile + 2) * (outputTile + 2) }
        var channels: Int { input.storedChannels }
        var filters: Int { output.storedChannels }
        var transformedWeightCount: Int { positions * channels * filters }

        func tileCount(batch: Int) -> Int {
            batch * ((input.height + outputTile - 1) / outputTile)
                * ((input.width + outputTile - 1) / outputTile)
        }

        /// Tiles of one chunk: at most so many that all that is transformed stays in the last-level cache,
        /// spread evenly over the chunks.
        func chunk(tiles: Int) -> Int {
            let group = tuning.tileGroup
            let most = tuning.chunkTiles(outputTile: outputTile)
            let chunks = (tiles + most - 1) / most
            return ((tiles + chunks - 1) / chunks + group - 1) / group * group
        }

        /// Forward and backward-data in one launch, where what a block of tiles needs fits a core's own
        /// cache.
        var runsAtOnce: Bool { channels * filters <= tuning.largestProductAtOnce }

        /// Blocks in flight of the one launch: a constant, so that the workspace does not depend on the
        /// number of cores.
        func slots(tiles: Int) -> Int { min(32, (tiles + tuning.blockRows - 1) / tuning.blockRows) }

        func planes(_ channels: Int, rows: Int) -> Int { positions * (channels * rows + 16) }

        /// Floats of the scratch memory's three parts, the same for every pass: transformed weights, and two
        /// transformed tensors.
        func parts(maximumBatch: Int) -> [Int] {
            let tiles = tileCount(batch: maximumBatch)
            // A smaller batch may have larger chunks than a larger one, never larger than this.
            let rows = chunk(tiles: min(tiles, tuning.chunkTiles(outputTile: outputTile)))
            let wide = max(channels, filters)
            let block = planes(wide, rows: tuning.blockRows) + planes(16, rows: tuning.blockRows)
            return [
                transformedWeightCount,
                max(planes(wide, rows: rows), runsAtOnce ? slots(tiles: tiles) * block : 0),
                planes(wide, rows: rows) + filters * rows + 16,
            ]
        }

        func bytes(_ floats: Int) -> Int { (floats * 4 + 4095) / 4096 * 4096 }

        func workspaceByteCount(maximumBatch: Int) -> Int {
            parts(maximumBatch: maximumBatch).reduce(0) { $0 + bytes($1) }
        }
    }

    let takesMask = true
    private var sizes: Sizes
    private var input: FeatureShape { sizes.input }
    private var output: FeatureShape { sizes.output }
    private var tuning: Tuning.Winograd { sizes.tuning }
    private let keepsTransformedWeights: Bool
    private var keptWeights: Buffer?
    private var keptWeightsAreCurrent = false
    private var scratch: [Buffer] = []

    private let transformWeights: Kernel
    private let transformWeightsTransposed: Kernel
    private let transformInput: Kernel
    private let transformGradient: Kernel
    private let multiply: Kernel
    private let transformOutput: Kernel
    private let convolveAtOnce: Kernel
    private let multiplyWeights: Kernel
    private let reduceBias: Kernel
    private let transformWeightsGradient: Kernel

    /// - Parameter keepsTransformedWeights: whether the transformed filters stay in memory of their own from
    ///   call to call (four times the filters' size): for inference. A training step uses them once.
    init(
        input: FeatureShape, output: FeatureShape, outputTile: Int,
        keepsTransformedWeights: Bool, device: Device
    ) throws {
        sizes = Sizes(
            input: input, output: output, outputTile: outputTile,
            tuning: Tuning(for: device.description).winograd)
        self.keepsTransformedWeights = keepsTransformedWeights
        let constants = sizes.tuning.constants(outputTile: outputTile)
        func kernel(_ name: String) throws -> Kernel {
            try device.kernel("winograd", "winograd_" + name, constants: constants)
        }
        transformWeights = try kernel("transform_weights")
        transformWeightsTransposed = try kernel("transform_weights_transposed")
        transformInput = try kernel("transform_input")
        transformGradient = try kernel("transform_gradient")
        multiply = try kernel("multiply")
        transformOutput = try kernel("transform_output")
        convolveAtOnce = try kernel("convolve")
        multiplyWeights = try kernel("multiply_weights")
        reduceBias = try kernel("reduce_bias")
        transformWeightsGradient = try kernel("transform_weights_gradient")
        if keepsTransformedWeights {
            keptWeights = try Buffer(device, floatCount: sizes.transformedWeightCount)
        }
    }

    private var positions: Int { sizes.positions }
    private var channels: Int { sizes.channels }
    private var filters: Int { sizes.filters }

    func workspaceByteCount(maximumBatch: Int) -> Int { sizes.workspaceByteCount(maximumBatch: maximumBatch) }

    func prepare(workspace: Buffer?, maximumBatch: Int) throws {
        guard let workspace else { return }
        var offset = 0
        scratch = try sizes.parts(maximumBatch: maximumBatch).map { floats in
            defer { offset += sizes.bytes(floats) }
            return try workspace.slice(byteOffset: offset, byteCount: floats * 4)
        }
    }

    func reshape(input: FeatureShape, output: FeatureShape) {
        sizes = Sizes(input: input, output: output, outputTile: sizes.outputTile, tuning: sizes.tuning)
    }

    func weightsChanged() { keptWeightsAreCurrent = false }

    // MARK: - Passes

    func forward(input: Buffer, weights: Buffer, bias: Buffer, output: Buffer, batch: Int) throws {
        let transformed = keptWeights ?? scratch[0]
        if keptWeights == nil || !keptWeightsAreCurrent {
            try transformWeights.launch(
                [channels, filters / 16], local: [16, 1], weights, transformed, channels, filters)
            keptWeightsAreCurrent = true
        }
        try convolve(
            from: input, channels: channels, mask: nil, weights: transformed, bias: bias, to: output,
            filters: filters, batch: batch)
    }

    func backwardData(
        outputGradient: Buffer, mask: Buffer?, weights: Buffer, inputGradient: Buffer, batch: Int
    ) throws {
        try transformWeightsTransposed.launch(
            [filters, channels / 16], local: [16, 1], weights, scratch[0], channels, filters)
        try convolve(
            from: outputGradient, channels: filters, mask: mask, weights: scratch[0], bias: nil,
            to: inputGradient, filters: channels, batch: batch)
    }

    /// Forward and backward-data are the same sum with other weights; bias and ReLU come with the bias.
    private func convolve(
        from source: Buffer, channels: Int, mask: Buffer?, weights: Buffer, bias: Buffer?, to target: Buffer,
        filters: Int, batch: Int
    ) throws {
        let tiles = sizes.tileCount(batch: batch)
        let biased = bias == nil ? 0 : 1
        if sizes.runsAtOnce {
            try convolveAtOnce.launch(
                [sizes.slots(tiles: tiles)], local: [1], source, mask ?? source, weights, bias ?? weights,
                target, scratch[1], input.height, input.width, channels, filters, tiles, mask == nil ? 0 : 1,
                biased, biased)
            return
        }
        let chunk = sizes.chunk(tiles: tiles)
        let group = tuning.tileGroup
        for first in stride(from: 0, to: tiles, by: chunk) {
            let count = min(chunk, tiles - first)
            let rows = (count + group - 1) / group * group
            try transformInput.launch(
                [channels / 16, rows], local: [1, group], source, mask ?? source, scratch[1], input.height,
                input.width, channels, first, count, mask == nil ? 0 : 1)
            let rowsPerItem = tuning.multiplyRows * tuning.multiplyBlocks
            try multiply.launch(
                [(rows + rowsPerItem - 1) / rowsPerItem, filters / 16, positions], local: [1, 1, 1],
                scratch[1], weights, scratch[2], channels, filters, rows)
            try transformOutput.launch(
                [filters / 16, rows], local: [1, group], scratch[2], bias ?? weights, target, input.height,
                input.width, filters, first, count, biased, biased)
        }
    }

    func backwardWeights(
        input source: Buffer, outputGradient: Buffer, mask: Buffer?, weightGradient: Buffer,
        biasGradient: Buffer, batch: Int
    ) throws {
        let tiles = sizes.tileCount(batch: batch)
        let chunk = sizes.chunk(tiles: tiles)
        let group = tuning.tileGroup
        for first in stride(from: 0, to: tiles, by: chunk) {
            let count = min(chunk, tiles - first)
            let rows = (count + group - 1) / group * group
            let accumulate = first == 0 ? 0 : 1
            try transformInput.launch(
                [channels / 16, rows], local: [1, group], source, source, scratch[1], input.height,
                input.width, channels, first, count, 0)
            try transformGradient.launch(
                [filters / 16, rows], local: [1, group], outputGradient, mask ?? outputGradient, scratch[2],
                input.height, input.width, filters, first, count, mask == nil ? 0 : 1)
            try multiplyWeights.launch(
                [channels / tuning.weightsRows, filters / 16, positions], local: [1, 1, 1], scratch[1],
                scratch[2], scratch[0], channels, filters, rows, accumulate)
            try reduceBias.launch(
                [filters / 16], local: [1], scratch[2], biasGradient, filters, rows, accumulate)
        }
        try transformWeightsGradient.launch(
            [channels, filters / 16], local: [16, 1], scratch[0], weightGradient, channels, filters)
    }
}
