import Basics
import Compute

/// Says which part of each hidden fully connected layer a network holds, and on which images it runs there.
public struct LayerSplit: Sendable {
    /// Returns the slices that the network holds of a layer that has `count`; there may be none.
    public let slices: @Sendable (_ count: Int) -> Range<Int>
    /// The images of each turn, those of several micro-batches on which the layers run at once.
    public let turns: [Int]
    /// The images of a micro-batch.
    public let microBatch: Int

    public init(slices: @escaping @Sendable (_ count: Int) -> Range<Int>, turns: [Int], microBatch: Int) {
        self.slices = slices
        self.turns = turns
        self.microBatch = microBatch
    }

    /// Returns the same split of micro-batches of another size.
    public func scaled(toMicroBatch images: Int) -> LayerSplit {
        LayerSplit(slices: slices, turns: turns.map { $0 / microBatch * images }, microBatch: images)
    }

    /// The images of the largest turn.
    var largestTurn: Int { turns.max() ?? 0 }
    /// The micro-batches of a mini-batch.
    var microBatches: Int { turns.reduce(0, +) / microBatch }
}

/// The sizes of a hidden fully connected layer, as stored.
public struct HiddenShape: Sendable {
    /// The numbers of an image's input and output.
    public let inputs, outputs: Int
    public let slices: Slices
}

extension NetworkPlan {
    /// The hidden fully connected layers, in their order.
    public var hiddenShapes: [HiddenShape] {
        layers.dropLast().compactMap { layer in
            (layer.spec as? FullyConnectedSpec).map {
                HiddenShape(
                    inputs: layer.input.storedCount, outputs: layer.output.storedCount, slices: $0.slices)
            }
        }
    }

    /// Whether backward computes the gradient of the first hidden fully connected layer's input.
    public var needsFeatureGradient: Bool {
        layers.first { $0.spec is FullyConnectedSpec }.map { $0.index > lowestTrained } ?? false
    }
}

/// The images of one micro-batch in a turn.
public struct SplitRows: Sendable {
    /// The row of the first image among those of the turn.
    public let first: Int
    public let pass: Pass

    public init(first: Int, pass: Pass) {
        self.first = first
        self.pass = pass
    }
}

/// Runs a split layer, the held outputs of a hidden fully connected layer and of the dropout behind it.
///
/// Inputs and gradients of the outputs are kept for all images of a mini-batch. Gradients of the weights are
/// computed at its end, micro-batch by micro-batch, and added in the micro-batches' tree, a few panels of
/// outputs at a time, so that the tree's sums need little memory.
public final class SplitLayer {
    /// The index in the network's layers.
    public let index: Int
    public let layer: FullyConnected
    /// The stored numbers of an image's input.
    private let inputs: Int
    /// The stored outputs that this network holds.
    public let held: Range<Int>

    private let dropout: Dropout?
    private let microBatch: Int
    /// The rows of each turn.
    public let turnInputs: [Buffer]
    public let turnGradients: [Buffer]
    public let output: Buffer
    public let inputGradient: Buffer
    /// The outputs whose weights' gradients are computed at a time.
    private let chunk: Int
    /// A stack of sums of the weights' and the biases' gradients of a chunk.
    private let sums: [(weights: Buffer, bias: Buffer)]
    private let inputRows, gradientRows: Buffer
    private let addition: Kernel
    private let tuning: Tuning

    /// Bytes of the weights' gradients that are computed at a time.
    private static let chunkBytes = 8 << 20

    private static func chunk(_ plan: LayerPlan, _ spec: FullyConnectedSpec) -> Int {
        let panels = max(1, chunkBytes / (64 * plan.input.storedCount))
        return min(16 * panels, max(16, spec.held.count))
    }

    /// Returns the floats of each of a split layer's buffers; none if the layer is whole.
    static func floatCounts(_ plan: LayerPlan) -> [Int] {
        guard let spec = plan.spec as? FullyConnectedSpec, let split = spec.split else { return [] }
        let (inputs, held) = (plan.input.storedCount, spec.held.count)
        let chunk = chunk(plan, spec)
        let heights = split.microBatches.trailingZeroBitCount + 1
        return split.turns.map { $0 * inputs } + split.turns.map { $0 * held }
            + [split.largestTurn * held, split.largestTurn * inputs]
            + (0..<heights).flatMap { _ in [chunk * inputs, chunk] }
            + [split.microBatch * inputs, split.microBatch * chunk]
    }

    init?(_ index: Int, of layers: [any Layer], device: Device) throws {
        guard let layer = layers[index] as? FullyConnected, let split = layer.spec.split else { return nil }
        self.index = index
        self.layer = layer
        dropout = index + 1 < layers.count ? layers[index + 1] as? Dropout : nil
        inputs = layer.inputShape.storedCount
        held = layer.spec.held
        microBatch = split.microBatch
        chunk = SplitLayer.chunk(layer.plan, layer.spec)
        let buffers = try SplitLayer.floatCounts(layer.plan).map {
            try Buffer(device, floatCount: max(1, $0))
        }
        let turns = split.turns.count
        turnInputs = Array(buffers[..<turns])
        turnGradients = Array(buffers[turns..<2 * turns])
        output = buffers[2 * turns]
        inputGradient = buffers[2 * turns + 1]
        let rest = buffers[(2 * turns + 2)...]
        sums = stride(from: rest.startIndex, to: rest.endIndex - 2, by: 2).map { (rest[$0], rest[$0 + 1]) }
        inputRows = rest[rest.endIndex - 2]
        gradientRows = rest[rest.endIndex - 1]
        addition = try device.kernel("optimizer", "gradient_add")
        tuning = device.tuning
    }

    /// Queues the held outputs of a turn's images, from `turnInputs` to `output`.
    public func forward(turn: Int, _ rows: [SplitRows]) throws {
        guard !held.isEmpty, let last = rows.last else { return }
        let count = last.first + last.pass.batch
        let pass = Pass(batch: count, training: last.pass.training)
        try layer.forward(input: turnInputs[turn], output: output, pass: pass)
        for part in rows where part.pass.training {
            try dropout?.apply(to: output, units: held, firstRow: part.first, pass: part.pass)
        }
    }

    /// Queues the gradient of a turn's inputs as far as the held outputs have a part in it, from
    /// `turnGradients`, which becomes the gradient of the sums, to `inputGradient`.
    ///
    /// - Parameter needsInput: whether the gradient of the inputs is needed
    public func backward(turn: Int, _ rows: [SplitRows], needsInput: Bool) throws {
        guard !held.isEmpty, let last = rows.last else { return }
        let gradient = turnGradients[turn]
        for part in rows {
            try dropout?.apply(to: gradient, units: held, firstRow: part.first, pass: part.pass)
        }
        let count = last.first + last.pass.batch
        try layer.reluBackward.apply(
            output: output, outputGradient: gradient, biasGradient: nil, batch: count)
        if needsInput {
            try layer.backwardData(outputGradient: gradient, inputGradient: inputGradient, batch: count)
        }
    }

    /// Queues the gradients of the held weights and biases over all micro-batches.
    ///
    /// - Parameter microBatches: the place of each one's images: the turn and the first row, in the order of
    ///   the micro-batches
    public func backwardWeights(_ microBatches: [(turn: Int, row: Int)], weights: Buffer, bias: Buffer) throws
    {
        for first in stride(from: 0, to: held.count, by: chunk) {
            let count = min(chunk, held.count - first)
            for (number, place) in microBatches.enumerated() {
                try inputRows.copy(
                    from: turnInputs[place.turn], sourceOffset: 4 * place.row * inputs,
                    byteCount: 4 * microBatch * inputs, to: 0)
                try gradientRows.copyColumns(
                    from: turnGradients[place.turn], rowBytes: 4 * held.count, firstRow: place.row,
                    rows: microBatch, columnBytes: 4 * first..<4 * (first + count))
                var top = number.nonzeroBitCount
                try layer.reluBackward.apply(
                    output: nil, outputGradient: gradientRows, biasGradient: sums[top].bias,
                    batch: microBatch, channels: count)
                try layer.backwardWeights(
                    input: inputRows, outputGradient: gradientRows, outputs: count,
                    gradient: sums[top].weights, batch: microBatch)
                for _ in 0..<(number + 1).trailingZeroBitCount where top > 0 {
                    try add(sums[top].weights, to: sums[top - 1].weights, count: count * inputs)
                    try add(sums[top].bias, to: sums[top - 1].bias, count: count)
                    top -= 1
                }
            }
            try weights.copy(
                from: sums[0].weights, sourceOffset: 0, byteCount: 4 * count * inputs, to: 4 * first * inputs)
            try bias.copy(from: sums[0].bias, sourceOffset: 0, byteCount: 4 * count, to: 4 * first)
        }
    }

    private func add(_ right: Buffer, to left: Buffer, count: Int) throws {
        try addition.launch(
            KernelFamilies.optimizer.values(count, tuning: tuning), left, right, UInt64(count))
    }
}
