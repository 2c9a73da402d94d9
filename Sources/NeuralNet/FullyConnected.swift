import Compute

/// A fully connected layer with bias, and ReLU where it is not the last. Its input is the feature map before it, flattened as it lies.
public final class FullyConnected: Layer {
    public let inputShape: FeatureShape
    public let outputShape: FeatureShape
    public let parameters: [Parameter]
    private let relu: Bool
    private let inputs: Int
    private let outputs: Int
    private let product: MatrixProduct
    private let reluBackward: ReLUBackward
    private let backwardData: Kernel
    private let panelsPerItem: Int
    private var weights: [Buffer] = []

    public var name: String { FullyConnected.name(input: inputShape, output: outputShape) }

    static func name(input: FeatureShape, output: FeatureShape) -> String { "fc \(input.count)→\(output.channels)" }

    init(input: FeatureShape, units: Int, relu: Bool, weight: Parameter, bias: Parameter, device: Device) throws {
        inputShape = input
        outputShape = FeatureShape(height: 1, width: 1, channels: units)
        parameters = [weight, bias]
        self.relu = relu
        inputs = input.storedCount
        outputs = outputShape.storedCount
        product = try MatrixProduct(device: device)
        reluBackward = try ReLUBackward(shape: outputShape, device: device)
        let tuning = Tuning(for: device.description).fullyConnected
        panelsPerItem = tuning.panels
        backwardData = try device.kernel("fully_connected", "fully_connected_backward_data", constants: tuning.constants)
    }

    public func workspaceByteCount(maximumBatch: Int) -> Int {
        FullyConnected.workspaceByteCount(input: inputShape, output: outputShape, maximumBatch: maximumBatch)
    }

    static func workspaceByteCount(input: FeatureShape, output: FeatureShape, maximumBatch: Int) -> Int {
        ReLUBackward.workspaceByteCount(output, maximumBatch: maximumBatch)
    }

    public func prepare(weights: [Buffer], workspace: Buffer?, maximumBatch: Int) throws {
        self.weights = weights
        try reluBackward.prepare(workspace: workspace, maximumBatch: maximumBatch)
    }

    /// Y[batch × outputs] ← X[batch × inputs] · W + b
    public func forward(input: Buffer, output: Buffer, pass: Pass) throws {
        try product.multiply(
            input, aColumns: inputs, weights[0], .panels(rows: inputs), bias: weights[1], into: output, .rowMajor(columns: outputs),
            m: pass.batch, n: outputs, k: inputs, options: relu ? [.bias, .relu] : .bias)
    }

    /// dW ← Xᵀ · dY, dX ← dY · Wᵀ
    public func backward(
        input: Buffer, output: Buffer, outputGradient: Buffer, inputGradient: Buffer?, parameterGradients: [Buffer], pass: Pass
    ) throws {
        try reluBackward.apply(
            output: relu ? output : nil, outputGradient: outputGradient, biasGradient: parameterGradients[1], batch: pass.batch)
        try product.multiply(
            input, aColumns: inputs, transposed: true, outputGradient, .rowMajor(columns: outputs), into: parameterGradients[0],
            .panels(rows: inputs), m: inputs, n: outputs, k: pass.batch)
        if let inputGradient {
            try backwardData.launch(
                [(inputs / 16 + panelsPerItem - 1) / panelsPerItem], local: [1], outputGradient, weights[0], inputGradient, pass.batch,
                inputs,
                outputs)
        }
    }
}
