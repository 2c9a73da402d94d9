import Basics
import Compute
import Foundation
import Randomness

/// The layers in order with the memory they work in: one arena of weights, the activations, two buffers for
/// the gradients of activations, and one scratch buffer.
public final class Network {
    /// The choices for a network that its architecture leaves open.
    public struct Options: Sendable {
        /// Images of the largest pass.
        public var maximumBatch: Int
        /// Whether backward will be called: keeps every activation, and allocates the buffers for gradients.
        public var training: Bool
        /// Probability with which dropout zeroes an element.
        public var dropout: Double
        /// The algorithms of every convolution, or nil for each one's default.
        public var convolution: ConvolutionAlgorithms?
        /// Whether the convolutions are frozen: backward stops above them.
        public var freezesFeatures: Bool
        /// The most slices of outputs over which backward-data of a fully connected layer adds: a power of
        /// two.
        public var slices: Int
        /// How hidden fully connected layers are split; nil if the network holds the whole of them.
        public var split: LayerSplit?

        public init(
            maximumBatch: Int, training: Bool, dropout: Double = 0.5,
            convolution: ConvolutionAlgorithms? = nil, freezesFeatures: Bool = false,
            slices: Int = Slices.standard, split: LayerSplit? = nil
        ) {
            self.maximumBatch = maximumBatch
            self.training = training
            self.dropout = dropout
            self.convolution = convolution
            self.freezesFeatures = freezesFeatures
            self.slices = slices
            self.split = split
        }
    }

    public let architecture: Architecture
    public let device: Device
    public let options: Options
    /// The shapes and sizes of everything.
    public let plan: NetworkPlan
    public let layers: [any Layer]
    public let weights: ParameterArena
    /// Receives the gradient of the logits before `backward`; nil without training.
    public let logitsGradient: Buffer?
    /// The layers of which this network may hold only a part, in their order.
    public let splitLayers: [SplitLayer]

    /// The network's input and each layer's output.
    public let activations: [Buffer]
    /// Scratch memory that all layers share.
    let workspace: Buffer
    private let spareGradient: Buffer?
    /// What convolutions do for the layers beside them.
    var fused: FusedPasses

    /// Builds the network and allocates its memory; the weights are zero until `initialize` or `load`.
    ///
    /// - Throws: `NetworkError` if the image is too small for the poolings, `ComputeError` if the device has
    ///   too little memory.
    public init(_ architecture: Architecture, imageSize: Int, classes: Int, options: Options, device: Device)
        throws
    {
        self.architecture = architecture
        self.device = device
        self.options = options
        let plan = try NetworkPlan(
            architecture, imageSize: imageSize, classes: classes, options: options,
            device: device.description, tuning: device.tuning)
        self.plan = plan
        layers = try plan.layers.map { try $0.makeLayer(on: device) }
        fused = FusedPasses(layers, lowestTrained: plan.lowestTrained, training: options.training)
        weights = try ParameterArena(plan.parameters, device: device)
        try weights.clear()

        let buffers = try plan.activationCounts.map { try Buffer(device, floatCount: $0) }
        activations = plan.activationBuffers.map { buffers[$0] }
        let gradients = try plan.activationGradientCounts.map { try Buffer(device, floatCount: $0) }
        logitsGradient = gradients.first
        spareGradient = gradients.last
        workspace = try Buffer(device, byteCount: plan.workspaceByteCount)
        splitLayers = try layers.indices.compactMap { [layers] in
            try SplitLayer($0, of: layers, device: device)
        }
        for layer in layers {
            try layer.prepare(
                weights: layer.parameters.map { weights[$0] }, workspace: workspace,
                maximumBatch: options.maximumBatch)
        }
    }

    public var inputShape: FeatureShape { plan.input }
    public var classes: Int { plan.classes }
    public var parameters: [Parameter] { plan.parameters }
    /// The parameters that backward computes gradients for: all, or those behind frozen layers.
    public var trainedParameters: [Parameter] { plan.trainedParameters }
    /// The network's input, `[batch][size][size][4]`, to be filled before `forward`.
    public var input: Buffer { activations[0] }
    /// Class scores, `[batch][classes rounded up to 16]`.
    public var logits: Buffer { activations[layers.count] }
    /// Floats of one image's class scores as stored: the classes rounded up to 16.
    public var logitsStride: Int { classes.roundedUp(to: 16) }
    /// Multiplications and additions of one image's forward pass by the plain sums.
    public var operationsPerImage: Double { plan.layers.reduce(0) { $0 + $1.operations(batch: 1) } }

    /// Draws all weights from normal distributions with each parameter's `initialDeviation`; biases are zero.
    ///
    /// The values are the same on every device.
    public func initialize(seed: UInt64) throws {
        for parameter in parameters { try initialize(parameter, seed: seed) }
    }

    /// Initialises one parameter as `initialize(seed:)` does.
    public func initialize(_ parameter: Parameter, seed: UInt64) throws {
        let held = parameter.heldNumbers
        var values = [Float](repeating: 0, count: held.count)
        let deviation = parameter.initialDeviation
        if deviation > 0, !held.isEmpty {
            let chunk = 1 << 16
            let stream = UInt64(parameter.index)
            let parts = held.lowerBound / chunk..<held.upperBound.ceilDivided(by: chunk)
            values.withUnsafeMutableBufferPointer { buffer in
                let target = UncheckedPointer(pointer: buffer.baseAddress)
                DispatchQueue.concurrentPerform(iterations: parts.count) { iteration in
                    let part = parts.lowerBound + iteration
                    var random = Philox(
                        seed: seed, purpose: .initialisation, step: stream, index: UInt32(part))
                    // Numbers of the part that are not held are drawn too.
                    let end = min(held.upperBound, (part + 1) * chunk)
                    for index in stride(from: part * chunk, to: end, by: 2) {
                        let pair = random.normalPair()
                        if held.contains(index) {
                            target.pointer?[index - held.lowerBound] = pair.0 * deviation
                        }
                        if held.contains(index + 1) {
                            target.pointer?[index + 1 - held.lowerBound] = pair.1 * deviation
                        }
                    }
                }
            }
        }
        try load(parameter, values)
    }

    /// Sets the held part of a parameter from numbers in torchvision's order.
    public func load(_ parameter: Parameter, _ values: [Float]) throws {
        try weights[parameter].write(parameter.stored(values))
        weightsChanged()
    }

    /// Returns the held part of a parameter's numbers in torchvision's order.
    public func export(_ parameter: Parameter) throws -> [Float] {
        parameter.exported(try weights[parameter].read(parameter.storedCount))
    }

    /// Must be called after weights were written: layers then transform their copies again.
    public func weightsChanged() { for layer in layers { layer.weightsChanged() } }

    /// Returns the label of a layer's launches in a profile.
    public static func profileLabel(_ index: Int, _ name: String) -> String { "\(index + 1) \(name)" }

    /// The layers before those that are split, and behind them.
    public var wholeLayers: (before: Range<Int>, behind: Range<Int>) {
        let split = splitLayers.first.map { $0.index..<layers.count - 1 } ?? layers.count..<layers.count
        return (0..<split.lowerBound, split.upperBound..<layers.count)
    }

    /// Computes logits ← network(input), or the output of some of the layers.
    ///
    /// - Parameters:
    ///   - range: the layers to run; nil: all
    ///   - beforeLayer: called before a layer's weights are read
    public func forward(
        _ pass: Pass, layers range: Range<Int>? = nil, beforeLayer: (any Layer) throws -> Void = { _ in }
    ) throws {
        for (index, layer) in layers.enumerated() where range?.contains(index) ?? true {
            try beforeLayer(layer)
            if fused.pooling.contains(index - 1) { continue }
            device.profile?.begin(Network.profileLabel(index, layer.name), pass: LayerPass.forward.rawValue)
            let (input, output) = (activations[index], activations[index + 1])
            if let convolution = fused.forward(index) {
                try convolution.forward(
                    input: input, output: output, pooled: activations[index + 2], pass: pass)
            } else {
                try layer.forward(input: input, output: output, pass: pass)
            }
        }
    }

    /// Computes `gradients`, which is overwritten, from `logitsGradient` and the activations of the last
    /// `forward`.
    ///
    /// - Parameters:
    ///   - range: the layers to run; `logitsGradient` holds the gradient of the last one's output; nil: all
    ///   - gradientReady: called from the last layer to the first, as soon as a parameter's gradient is
    ///     queued
    /// - Returns: the buffer with the gradient of the first layer's input, if there is one
    @discardableResult public func backward(
        _ pass: Pass, layers range: Range<Int>? = nil, gradients: ParameterArena,
        gradientReady: (Parameter) throws -> Void = { _ in }
    ) throws -> Buffer {
        guard var gradient = logitsGradient, var spare = spareGradient else {
            throw NetworkError("a network made for inference has no memory for gradients")
        }
        for (index, layer) in layers.enumerated().reversed()
        where index >= plan.lowestTrained && range?.contains(index) ?? true {
            if fused.unpooling.contains(index - 1) { continue }
            // Layers with parameters switch the profile to backward-data themselves.
            let first = layer.parameters.isEmpty ? LayerPass.backwardData : .backwardWeights
            device.profile?.begin(Network.profileLabel(index, layer.name), pass: first.rawValue)
            let (input, output) = (activations[index], activations[index + 1])
            let inputGradient = index == plan.lowestTrained ? nil : layer.isInPlace ? gradient : spare
            let parameterGradients = layer.parameters.map { gradients[$0] }
            if let fused = fused.backward(index) {
                try fused.convolution.backward(
                    input: input,
                    ConvolvedMap(
                        values: gradient, mask: fused.isMasked ? nil : output,
                        isBehindPooling: fused.isBehindPooling),
                    inputGradient: inputGradient, inputMask: fused.masksResult ? input : nil,
                    parameterGradients: parameterGradients, pass: pass)
            } else {
                try layer.backward(
                    input: input, output: output, outputGradient: gradient, inputGradient: inputGradient,
                    parameterGradients: parameterGradients, pass: pass)
            }
            for parameter in layer.parameters { try gradientReady(parameter) }
            if !layer.isInPlace { swap(&gradient, &spare) }
        }
        return gradient
    }

    /// Whether backward needs the gradient of a layer's input.
    public func needsGradient(ofInputOf index: Int) -> Bool { index > plan.lowestTrained }
}

extension Network {
    /// Returns the first weights or output with a number that is not finite, in the order of the last
    /// `forward`.
    ///
    /// Needs a network made for training. It reads every activation, so it is for diagnosis after a failure.
    public func firstNotFinite(_ pass: Pass) throws -> String? {
        func isFinite(_ buffer: Buffer, _ floatCount: Int) throws -> Bool {
            let piece = 1 << 20
            var values = [Float](repeating: 0, count: min(piece, floatCount))
            for start in stride(from: 0, to: floatCount, by: piece) {
                let count = min(piece, floatCount - start)
                try values.withUnsafeMutableBytes {
                    try buffer.read(
                        into: UnsafeMutableRawBufferPointer(rebasing: $0[..<(count * 4)]),
                        byteOffset: start * 4
                    ).wait()
                }
                if !values[..<count].allSatisfy(\.isFinite) { return false }
            }
            return true
        }
        if try !isFinite(input, pass.batch * inputShape.storedCount) { return "the network's input" }
        for (index, layer) in layers.enumerated() {
            for parameter in layer.parameters where try !isFinite(weights[parameter], parameter.storedCount) {
                return "\(parameter.name), weights of layer \(index + 1) (\(layer.name))"
            }
            if try !isFinite(activations[index + 1], pass.batch * layer.outputShape.storedCount) {
                return "the output of layer \(index + 1) (\(layer.name))"
            }
        }
        return nil
    }

    /// Returns the share of units, in percent, that no image activates; layers without such units are left
    /// out.
    ///
    /// A unit is a channel of a feature map or an output of a hidden fully connected layer. Reads the
    /// activations of the first images of the last forward pass; needs a network made for training.
    public func silentUnits(batch: Int) throws -> [(layer: String, share: Double)] {
        var shares: [(layer: String, share: Double)] = []
        for (index, layer) in layers.enumerated().dropLast() where !layer.parameters.isEmpty {
            let shape = layer.outputShape
            let isMap = !layer.plan.spec.isClassifier
            let units = isMap ? shape.channels : shape.count
            let stored = isMap ? shape.storedChannels : shape.storedCount
            let images = min(16, batch)
            var fires = [Bool](repeating: false, count: stored)
            let values: [Float] = try activations[index + 1].read(images * shape.storedCount)
            for (place, value) in values.enumerated() where value > 0 { fires[place % stored] = true }
            let silent = units - fires.lazy.filter { $0 }.count
            if silent > 0 { shares.append((layer.name, 100 * Double(silent) / Double(units))) }
        }
        return shares
    }
}

/// A pointer that the threads of one `concurrentPerform` share, each writing its own part.
private struct UncheckedPointer: @unchecked Sendable {
    let pointer: UnsafeMutablePointer<Float>?
}
