import Basics
import Compute

/// Describes a fully connected layer with bias, and with ReLU unless it is the network's last layer.
///
/// Its input is a whole feature map, flattened in NHWC order.
public struct FullyConnectedSpec: LayerSpec {
    static let token = LayerToken(syntax: "Fn (fully connected with n units, ReLU and dropout)") { token in
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

    /// - Parameters:
    ///   - isLast: whether the units are the class scores
    ///   - slices: at most as many as this; the network's option replaces it
    public init(units: Int, isLast: Bool = false, slices: Int = 1) {
        self.units = units
        self.isLast = isLast
        self.slices = Slices(of: units.roundedUp(to: 16), atMost: slices)
    }

    public func configured(by options: Network.Options, input: FeatureShape) -> any LayerSpec {
        FullyConnectedSpec(units: units, isLast: isLast, slices: options.slices)
    }

    public var moduleCount: Int { 2 }

    public func output(for input: FeatureShape) -> FeatureShape {
        FeatureShape(height: 1, width: 1, channels: units)
    }

    public func parameters(input: FeatureShape, module: String, firstIndex: Int) -> [Parameter] {
        // A last layer with He's deviation starts with a loss far above ln(classes), whose gradient kills
        // ReLUs.
        Parameter.weightAndBias(
            .fullyConnected(units: units, input: input), module: module, firstIndex: firstIndex,
            initialDeviation: isLast ? 0.01 : nil)
    }

    public func name(_ plan: LayerPlan) -> String { "fc \(plan.input.count)→\(units)" }
    public func algorithm(_ pass: LayerPass) -> String { "gemm" }
    public func operationsPerImage(_ plan: LayerPlan) -> Double {
        2 * Double(plan.input.count) * Double(units)
    }

    public func memory(_ plan: LayerPlan, maximumBatch: Int) -> (workspace: Int, own: Int) {
        let parts = FullyConnected.workspaceParts(plan, slices: slices, maximumBatch: maximumBatch)
        let mask = ReLUBackward.workspaceByteCount(
            plan.output, maximumBatch: maximumBatch, tuning: plan.tuning)
        return (max(parts.sumsOffset + parts.sums, mask), 0)
    }

    public func makeLayer(_ plan: LayerPlan, device: Device) throws -> any Layer {
        try FullyConnected(plan, relu: !isLast, slices: slices, device: device)
    }
}

/// A fully connected layer as matrix products.
public final class FullyConnected: Layer {
    private struct Memory {
        let weights, bias: Buffer
        /// What the products pack, and their partial sums.
        let scratch: (a: Buffer, c: Buffer)
    }

    public let plan: LayerPlan
    private let device: Device
    private let relu: Bool
    private let slices: Slices
    private let product: MatrixProduct
    private let reluBackward: ReLUBackward
    private var memory: Memory?

    private var inputs: Int { inputShape.storedCount }
    private var outputs: Int { outputShape.storedCount }

    init(_ plan: LayerPlan, relu: Bool, slices: Slices, device: Device) throws {
        self.plan = plan
        self.device = device
        self.relu = relu
        self.slices = slices
        product = try MatrixProduct(device: device)
        reluBackward = try ReLUBackward(shape: plan.output, device: device)
    }

    /// Bytes of the workspace's two parts, and the second one's offset, at which a sub-buffer may start.
    fileprivate static func workspaceParts(_ plan: LayerPlan, slices: Slices, maximumBatch: Int) -> (
        panels: Int, sumsOffset: Int, sums: Int
    ) {
        let (inputs, outputs) = (plan.input.storedCount, plan.output.storedCount)
        let forward = MatrixProduct.scratch(
            .init(m: maximumBatch, n: outputs, k: inputs), tuning: plan.tuning)
        guard plan.training else { return (0, 0, 4 * forward) }
        let backward = MatrixProduct.scratch(
            .init(m: maximumBatch, n: inputs, k: outputs), slices: slices, tuning: plan.tuning)
        return (
            4 * backward.a, (4 * backward.a).roundedUp(to: Buffer.sliceAlignment),
            4 * max(forward, backward.c)
        )
    }

    public func prepare(weights: [Buffer], workspace: Buffer, maximumBatch: Int) throws {
        try reluBackward.prepare(workspace: workspace, maximumBatch: maximumBatch)
        // They may share memory with the bias' partial sums, which are needed only before them.
        let parts = FullyConnected.workspaceParts(plan, slices: slices, maximumBatch: maximumBatch)
        func part(_ offset: Int, _ byteCount: Int) throws -> Buffer {
            byteCount == 0 ? workspace : try workspace.slice(byteOffset: offset, byteCount: byteCount)
        }
        memory = Memory(
            weights: weights[0], bias: weights[1],
            scratch: (
                try part(0, parts.panels), try part(parts.sumsOffset, parts.sums)
            ))
    }

    /// Queues Y[batch × outputs] ← X[batch × inputs] · W + b.
    public func forward(input: Buffer, output: Buffer, pass: Pass) throws {
        let memory = prepared(memory)
        try product.multiply(
            rows: input, byPanels: memory.weights, into: output, bias: memory.bias,
            size: .init(m: pass.batch, n: outputs, k: inputs), options: relu ? [.bias, .relu] : .bias,
            scratch: memory.scratch.c)
    }

    /// Queues dW ← Xᵀ · dY, dX ← dY · Wᵀ, the latter as sums over slices of the outputs.
    public func backward(
        input: Buffer, output: Buffer, outputGradient: Buffer, inputGradient: Buffer?,
        parameterGradients: [Buffer], pass: Pass
    ) throws {
        let memory = prepared(memory)
        try reluBackward.apply(
            output: relu ? output : nil, outputGradient: outputGradient,
            biasGradient: parameterGradients[1], batch: pass.batch)
        try product.multiply(
            .init(input, columns: inputs, isTransposed: true), .rowMajor(outputGradient, columns: outputs),
            into: .panels(parameterGradients[0], rows: inputs),
            size: .init(m: inputs, n: outputs, k: pass.batch))
        if let inputGradient {
            device.profile?.pass = LayerPass.backwardData.rawValue
            try product.multiply(
                outputGradient, byTransposed: memory.weights, into: inputGradient,
                size: .init(m: pass.batch, n: inputs, k: outputs), slices: slices,
                scratch: memory.scratch)
        }
    }
}
