import Basics
import Compute

/// Describes a fully connected layer with bias, and with ReLU unless it is the network's last layer.
///
/// Its input is a whole feature map, flattened in NHWC order.
public struct FullyConnectedSpec: LayerSpec {
    static let token = LayerToken(
        syntax: "Fn (fully connected with n units, ReLU and dropout)", sample: "F19"
    ) { token in
        guard token.first == "F", let units = LayerToken.count(token.dropFirst()) else { return nil }
        return [FullyConnectedSpec(units: units), DropoutSpec()]
    }

    public let kind = "fully_connected"
    public let isClassifier = true
    public let hasWeights = true
    let units: Int
    let isLast: Bool
    /// The outputs over which backward-data adds.
    let slices: Slices
    /// How the layer is split; nil if it is whole.
    let split: LayerSplit?

    /// - Parameters:
    ///   - isLast: whether the units are the class scores
    ///   - slices: at most as many as this; the network's option replaces it
    ///   - split: of a hidden layer; the network's option replaces it
    public init(units: Int, isLast: Bool = false, slices: Int = 1, split: LayerSplit? = nil) {
        self.units = units
        self.isLast = isLast
        self.slices = Slices(of: units.roundedUp(to: 16), atMost: slices)
        self.split = isLast ? nil : split
    }

    public func configured(by options: Network.Options, input: FeatureShape) -> any LayerSpec {
        FullyConnectedSpec(units: units, isLast: isLast, slices: options.slices, split: options.split)
    }

    public var moduleCount: Int { 2 }

    public func output(for input: FeatureShape) -> FeatureShape {
        FeatureShape(height: 1, width: 1, channels: units)
    }

    /// The slices that this device holds.
    var part: Range<Int> { split?.slices(slices.count) ?? 0..<slices.count }

    /// The stored outputs of these slices.
    var held: Range<Int> { slices.outputs(of: part) }

    public func parameters(input: FeatureShape, module: String, firstIndex: Int) -> [Parameter] {
        // A last layer with He's deviation starts with a loss far above ln(classes), whose gradient kills
        // ReLUs.
        Parameter.weightAndBias(
            .fullyConnected(units: units, input: input).sliced(slices, part: split == nil ? nil : part),
            module: module, firstIndex: firstIndex, initialDeviation: isLast ? 0.01 : nil)
    }

    public func name(_ plan: LayerPlan) -> String { "fc \(plan.input.count)→\(units)" }
    public func algorithm(_ pass: LayerPass) -> String { "gemm" }
    /// Those of a split layer are for the held outputs, of as many images as a turn has for one of a
    /// micro-batch.
    public func operationsPerImage(_ plan: LayerPlan) -> Double {
        let share = Double(held.count) / Double(plan.output.storedCount)
        return 2 * Double(plan.input.count) * Double(units) * share * imagesPerOwn
    }

    /// The images on which the layer runs, for one of a micro-batch.
    private var imagesPerOwn: Double { split.map { Double($0.largestTurn) / Double($0.microBatch) } ?? 1 }

    public func work(_ pass: LayerPass, _ plan: LayerPlan, batch: Int) -> [Work] {
        let images = imagesPerOwn * Double(batch)
        return [
            Work(
                pass, operations: plan.operations(batch: batch), tensors: tensors(pass),
                input: images * Double(plan.input.storedCount), output: images * Double(held.count),
                weights: plan.parameters.reduce(0) { $0 + $1.storedCount })
        ]
    }

    public func memory(_ plan: LayerPlan, maximumBatch: Int) -> (workspace: Int, own: Int) {
        let parts = FullyConnected.workspaceParts(plan, self, maximumBatch: maximumBatch)
        let rows = split?.largestTurn ?? maximumBatch
        let mask = ReLUBackward.workspaceByteCount(
            FeatureShape(height: 1, width: 1, channels: held.count), maximumBatch: rows, tuning: plan.tuning)
        return (max(parts.sumsOffset + parts.sums, mask), 0)
    }

    public func makeLayer(_ plan: LayerPlan, device: Device) throws -> any Layer {
        try FullyConnected(plan, self, device: device)
    }
}

/// A fully connected layer as matrix products.
///
/// A split layer has only the outputs that the device holds; `SplitLayer` runs it.
public final class FullyConnected: Layer {
    private struct Memory {
        let weights, bias: Buffer
        /// What backward-data packs, and the partial sums of products.
        let scratch: (a: Buffer, c: Buffer)
        /// What backward-weights pack, in the same memory.
        var packed: (a: Buffer, b: Buffer) { (scratch.c, scratch.a) }
        /// The most images of a pass of the whole layer.
        let maximumBatch: Int
    }

    public let plan: LayerPlan
    let spec: FullyConnectedSpec
    private let device: Device
    private let product: MatrixProduct
    let reluBackward: ReLUBackward
    private var memory: Memory?

    private var inputs: Int { inputShape.storedCount }
    private var relu: Bool { !spec.isLast }
    /// The stored outputs that the device holds: all, unless the layer is split.
    private var outputs: Int { spec.held.count }

    fileprivate init(_ plan: LayerPlan, _ spec: FullyConnectedSpec, device: Device) throws {
        self.plan = plan
        self.spec = spec
        self.device = device
        product = try MatrixProduct(device: device)
        reluBackward = try ReLUBackward(
            shape: FeatureShape(height: 1, width: 1, channels: spec.held.count), device: device)
    }

    /// Returns the parts of the depth that GPUs sum apart, which are those of the whole layer, so that its
    /// sums do not depend on how it is split.
    private static func slots(_ plan: LayerPlan, maximumBatch: Int) -> (forward: Int, backward: Int) {
        let (inputs, outputs) = (plan.input.storedCount, plan.output.storedCount)
        return (
            MatrixProduct.slots(.init(m: maximumBatch, n: outputs, k: inputs), tuning: plan.tuning),
            MatrixProduct.slots(.init(m: maximumBatch, n: inputs, k: outputs), tuning: plan.tuning)
        )
    }

    /// Bytes of the workspace's two parts, and the second one's offset, at which a sub-buffer may start.
    fileprivate static func workspaceParts(
        _ plan: LayerPlan, _ spec: FullyConnectedSpec, maximumBatch: Int
    ) -> (panels: Int, sumsOffset: Int, sums: Int) {
        let (inputs, outputs) = (plan.input.storedCount, spec.held.count)
        let rows = spec.split?.largestTurn ?? maximumBatch
        var forward = MatrixProduct.scratch(
            .init(m: maximumBatch, n: plan.output.storedCount, k: inputs), tuning: plan.tuning)
        var backward = MatrixProduct.scratch(
            .init(m: rows, n: inputs, k: outputs), slices: max(1, spec.part.count), tuning: plan.tuning)
        if spec.split != nil, plan.tuning.sharesGroups {
            let slots = slots(plan, maximumBatch: maximumBatch)
            forward = slots.forward * rows * outputs
            if spec.slices.count == 1 { backward.c = slots.backward * rows * inputs }
        }
        guard plan.training else { return (0, 0, 4 * forward) }
        let packed = MatrixProduct.scratch(
            transposed: .init(m: inputs, n: outputs, k: rows), tuning: plan.tuning)
        let panels = 4 * max(backward.a, packed.b)
        return (
            panels, panels.roundedUp(to: Buffer.sliceAlignment), 4 * max(forward, backward.c, packed.a)
        )
    }

    public func prepare(weights: [Buffer], workspace: Buffer, maximumBatch: Int) throws {
        try reluBackward.prepare(workspace: workspace, maximumBatch: maximumBatch)
        // They may share memory with the bias' partial sums, which are needed only before them.
        let parts = FullyConnected.workspaceParts(plan, spec, maximumBatch: maximumBatch)
        func part(_ offset: Int, _ byteCount: Int) throws -> Buffer {
            byteCount == 0 ? workspace : try workspace.slice(byteOffset: offset, byteCount: byteCount)
        }
        memory = Memory(
            weights: weights[0], bias: weights[1],
            scratch: (
                try part(0, parts.panels), try part(parts.sumsOffset, parts.sums)
            ), maximumBatch: maximumBatch)
    }

    /// Queues Y[batch × outputs] ← X[batch × inputs] · W + b.
    public func forward(input: Buffer, output: Buffer, pass: Pass) throws {
        let memory = prepared(memory)
        let slots = FullyConnected.slots(plan, maximumBatch: memory.maximumBatch).forward
        try product.multiply(
            rows: input, byPanels: memory.weights, into: output, bias: memory.bias,
            size: .init(m: pass.batch, n: outputs, k: inputs), isReLUApplied: relu, slots: slots,
            scratch: memory.scratch.c)
    }

    /// Queues dW ← Xᵀ · dY, dX ← dY · Wᵀ, the latter as sums over slices of the outputs.
    public func backward(
        input: Buffer, output: Buffer, outputGradient: Buffer, inputGradient: Buffer?,
        parameterGradients: [Buffer], pass: Pass
    ) throws {
        try reluBackward.apply(
            output: relu ? output : nil, outputGradient: outputGradient,
            biasGradient: parameterGradients[1], batch: pass.batch)
        try backwardWeights(
            input: input, outputGradient: outputGradient, outputs: outputs,
            gradient: parameterGradients[0], batch: pass.batch)
        if let inputGradient {
            device.profile?.pass = LayerPass.backwardData.rawValue
            try backwardData(outputGradient: outputGradient, inputGradient: inputGradient, batch: pass.batch)
        }
    }

    /// Queues dW ← Xᵀ · dY, in panels, for some of the outputs.
    func backwardWeights(
        input: Buffer, outputGradient: Buffer, outputs: Int, gradient: Buffer, batch: Int
    ) throws {
        try product.multiply(
            transposed: input, byRows: outputGradient, intoPanels: gradient,
            size: .init(m: inputs, n: outputs, k: batch), scratch: prepared(memory).packed)
    }

    /// Queues dX ← dY · Wᵀ as sums over the slices of the outputs that the device holds.
    func backwardData(outputGradient: Buffer, inputGradient: Buffer, batch: Int) throws {
        let memory = prepared(memory)
        var slots: Int?
        if spec.split != nil {
            slots =
                spec.slices.count > 1
                ? 1 : FullyConnected.slots(plan, maximumBatch: memory.maximumBatch).backward
        }
        try product.multiply(
            outputGradient, byTransposed: memory.weights, into: inputGradient,
            size: .init(m: batch, n: inputs, k: outputs), slices: (spec.part.count, spec.slices.size),
            slots: slots, scratch: memory.scratch)
    }
}
