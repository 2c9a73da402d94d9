import Compute

/// A fully connected layer with bias, and ReLU where it is not the last. Its input is the feature map before
/// it, flattened as it lies.
public final class FullyConnected: Layer {
    public let inputShape: FeatureShape
    public let outputShape: FeatureShape
    public let parameters: [Parameter]
    private let device: Device
    private let relu: Bool
    private let inputs: Int
    private let outputs: Int
    private let product: MatrixProduct
    private let reluBackward: ReLUBackward
    private let backwardData: Kernel
    private let tuning: Tuning
    private var gradientPanels: Buffer?
    private var sums: Buffer?
    private var weights: [Buffer] = []

    public var name: String { FullyConnected.name(input: inputShape, output: outputShape) }

    static func name(input: FeatureShape, output: FeatureShape) -> String {
        "fc \(input.count)→\(output.channels)"
    }

    /// A layer on its own, with parameters of its own: for timing it.
    public convenience init(inputs: Int, outputs: Int, device: Device) throws {
        let input = FeatureShape(height: 1, width: 1, channels: inputs)
        try self.init(
            input: input, units: outputs, relu: true,
            weight: Parameter(
                name: "weight", layout: .fullyConnected(units: outputs, input: input), index: 0),
            bias: Parameter(name: "bias", layout: .bias(count: outputs), index: 1), device: device)
    }

    init(input: FeatureShape, units: Int, relu: Bool, weight: Parameter, bias: Parameter, device: Device)
        throws
    {
        inputShape = input
        outputShape = FeatureShape(height: 1, width: 1, channels: units)
        parameters = [weight, bias]
        self.device = device
        self.relu = relu
        inputs = input.storedCount
        outputs = outputShape.storedCount
        product = try MatrixProduct(device: device)
        reluBackward = try ReLUBackward(shape: outputShape, device: device)
        tuning = device.tuning
        backwardData = try device.kernel("fully_connected", "fully_connected_backward_data")
    }

    public func workspaceByteCount(maximumBatch: Int) -> Int {
        FullyConnected.workspaceByteCount(input: inputShape, output: outputShape, maximumBatch: maximumBatch)
    }

    static func workspaceByteCount(input: FeatureShape, output: FeatureShape, maximumBatch: Int) -> Int {
        let panels = (maximumBatch + 15) / 16 * 16
        let backwardData = wholePages(4 * panels * output.storedCount) + 4 * panels * input.storedCount
        return max(backwardData, ReLUBackward.workspaceByteCount(output, maximumBatch: maximumBatch))
    }

    /// Where a part of the scratch memory ends, so that the next one starts where a sub-buffer may.
    private static func wholePages(_ bytes: Int) -> Int { (bytes + 4095) / 4096 * 4096 }

    public func prepare(weights: [Buffer], workspace: Buffer?, maximumBatch: Int) throws {
        self.weights = weights
        try reluBackward.prepare(workspace: workspace, maximumBatch: maximumBatch)
        // Dead before the bias' partial sums are needed again, so they may share memory.
        let panels = (maximumBatch + 15) / 16 * 16
        gradientPanels = try workspace?.slice(byteOffset: 0, byteCount: 4 * panels * outputs)
        sums = try workspace?.slice(
            byteOffset: FullyConnected.wholePages(4 * panels * outputs), byteCount: 4 * panels * inputs)
    }

    /// Y[batch × outputs] ← X[batch × inputs] · W + b
    public func forward(input: Buffer, output: Buffer, pass: Pass) throws {
        try product.multiply(
            .init(input, columns: inputs), .panels(weights[0], rows: inputs),
            into: .rowMajor(output, columns: outputs), bias: weights[1],
            size: .init(m: pass.batch, n: outputs, k: inputs), options: relu ? [.bias, .relu] : .bias)
    }

    /// dW ← Xᵀ · dY, dX ← dY · Wᵀ
    public func backward(
        input: Buffer, output: Buffer, outputGradient: Buffer, inputGradient: Buffer?,
        parameterGradients: [Buffer], pass: Pass
    ) throws {
        try reluBackward.apply(
            output: relu ? output : nil, outputGradient: outputGradient,
            biasGradient: parameterGradients[1], batch: pass.batch)
        try product.multiply(
            .init(input, columns: inputs, isTransposed: true), .rowMajor(outputGradient, columns: outputs),
            into: .panels(parameterGradients[0], rows: inputs),
            size: .init(m: inputs, n: outputs, k: pass.batch))
        if let inputGradient {
            device.profile?.pass = LayerPass.backwardData.rawValue
            guard let gradientPanels, let sums else { return }
            try product.pack(
                outputGradient, transposed: true, into: gradientPanels, k: outputs, n: pass.batch)
            let (range, inputsPerItem) = KernelFamilies.fullyConnected.backwardData(
                inputs: inputs, tuning: tuning)
            try backwardData.launch(
                range, gradientPanels, weights[0], sums, inputGradient,
                [pass.batch, inputs, outputs, inputsPerItem])
        }
    }
}
