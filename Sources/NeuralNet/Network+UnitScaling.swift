import Compute

/// What the weights of each unit of a layer are multiplied by, and the biases.
///
/// A unit is a filter of a convolution or an output of a hidden fully connected layer.
public struct UnitScaling: Sendable {
    public var factors: [Float]
    public var biases: [Float]

    public init(factors: [Float], biases: [Float]) {
        self.factors = factors
        self.biases = biases
    }

    /// Makes sums of this mean and variance, taken with a bias of zero, have mean 0 and deviation 1.
    ///
    /// A unit whose sums hardly vary keeps its weights: multiplied by a large factor they would answer to
    /// rounding errors.
    fileprivate init(_ moments: UnitMoments) {
        let deviations = moments.variances.map { $0.squareRoot() }
        factors = deviations.map { $0 > 1e-3 ? Float(1 / $0) : 1 }
        biases = zip(moments.means, factors).map { -Float($0) * $1 }
    }
}

extension Network {
    /// Scales the weights of each hidden unit, and sets its bias, so that the unit's sums over some images
    /// have mean 0 and deviation 1 before the ReLU.
    ///
    /// This is the data-dependent initialisation of Krähenbühl et al. (2016) and of Salimans and Kingma
    /// (2016). Without it the images become ever more alike from layer to layer, since all outputs of ReLUs
    /// are positive, and a deep network's first updates silence its units.
    ///
    /// - Parameters:
    ///   - batches: the number of batches of images
    ///   - load: makes the network's input of a batch, and returns which of its images count
    ///   - forwardSplit: computes the whole output of a split layer
    ///   - agree: returns the scaling to apply instead of the measured one
    /// - Returns: what was done to each layer with weights except the last, for `scaleUnits`
    public func scaleUnits(
        batches: Int, load: (Int) throws -> [Bool],
        forwardSplit: (SplitLayer, Pass) throws -> Void = { _, _ in },
        agree: (UnitScaling) throws -> UnitScaling = { $0 }
    ) throws -> [UnitScaling] {
        var scalings: [UnitScaling] = []
        var counts: [Bool] = []
        func forward(_ layer: Int) throws {
            let pass = Pass(batch: counts.count, training: false)
            if let split = splitLayers.first(where: { $0.index == layer }) {
                return try forwardSplit(split, pass)
            }
            try layers[layer].forward(
                input: activations[layer], output: activations[layer + 1], pass: pass)
        }
        if batches == 1 { counts = try load(0) }
        for (index, layer) in layers.enumerated().dropLast() {
            if let weight = layer.parameters.first {
                let values = try export(weight)
                let negated = values.map { -$0 }
                var moments = UnitMoments(layer)
                for batch in 0..<batches {
                    // One batch's activations stay where they are; several take turns in the same memory.
                    if batches > 1 {
                        counts = try load(batch)
                        for lower in 0..<index { try forward(lower) }
                    }
                    // ReLU leaves the positive sums, and with negated weights the negative ones.
                    for (sign, weights) in [(1.0, values), (-1.0, negated)] {
                        try self.load(weight, weights)
                        try forward(index)
                        try moments.add(activations[index + 1], of: counts, sign: sign)
                    }
                }
                let scaling = try agree(UnitScaling(moments))
                try apply(scaling, to: layer, weights: values)
                scalings.append(scaling)
            }
            if batches == 1 { try forward(index) }
        }
        return scalings
    }

    /// Does to each layer with weights, except the last, what `scaleUnits` did on another rank.
    public func scaleUnits(_ scalings: [UnitScaling]) throws {
        for (layer, scaling) in zip(layers.filter { !$0.parameters.isEmpty }.dropLast(), scalings) {
            try apply(scaling, to: layer, weights: export(layer.parameters[0]))
        }
    }

    /// The numbers of units of the layers with weights, except the last.
    public var hiddenUnitCounts: [Int] {
        layers.filter { !$0.parameters.isEmpty }.dropLast().map { $0.parameters[1].count }
    }

    private func apply(_ scaling: UnitScaling, to layer: any Layer, weights: [Float]) throws {
        let held = layer.parameters[0].heldOutputs
        let perUnit = layer.parameters[0].count / scaling.factors.count
        try load(
            layer.parameters[0],
            weights.indices.map { weights[$0] * scaling.factors[held.lowerBound + $0 / perUnit] })
        try load(layer.parameters[1], Array(scaling.biases[held]))
    }
}

/// Adds up the sums of a layer's units, and their squares, over images and places.
private struct UnitMoments {
    private var sums: [Double]
    private var squares: [Double]
    private var count = 0
    private let shape: FeatureShape
    private let units: Int

    init(_ layer: any Layer) {
        shape = layer.outputShape
        units = layer.parameters[1].count
        sums = [Double](repeating: 0, count: units)
        squares = sums
    }

    /// Adds the outputs of a layer's ReLUs; with a sign of −1 those of negated weights.
    mutating func add(_ output: Buffer, of counts: [Bool], sign: Double) throws {
        let stored = shape.storedCount / (shape.height * shape.width)
        var values = [Float](repeating: 0, count: shape.storedCount)
        for image in counts.indices where counts[image] {
            try values.withUnsafeMutableBytes { bytes in
                try output.read(into: bytes, byteOffset: image * bytes.count).wait()
            }
            values.withUnsafeBufferPointer { values in
                for place in stride(from: 0, to: values.count, by: stored) {
                    for unit in 0..<units {
                        let value = Double(values[place + unit])
                        sums[unit] += sign * value
                        squares[unit] += value * value
                    }
                }
            }
            // Each place is seen twice, once with either sign.
            if sign > 0 { count += shape.height * shape.width }
        }
    }

    var means: [Double] { sums.map { $0 / Double(max(1, count)) } }
    var variances: [Double] {
        zip(squares, means).map { max(0, $0 / Double(max(1, count)) - $1 * $1) }
    }
}
