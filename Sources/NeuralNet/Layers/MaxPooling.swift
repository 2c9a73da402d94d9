import Compute

/// 2×2 max-pooling, stride 2. An odd last row or column is left out.
public final class MaxPooling: ReshapableLayer {
    public let name = "pool"
    public private(set) var inputShape: FeatureShape
    public private(set) var outputShape: FeatureShape
    private let width: Int
    private let forwardKernel: Kernel
    private let backwardKernel: Kernel

    init(input: FeatureShape, device: Device) throws {
        inputShape = input
        outputShape = input.pooled
        width = input.storedChannels == 4 ? 4 : 8
        forwardKernel = try device.kernel("pooling", "max_pool_forward", variant: ["VECTOR": width])
        backwardKernel = try device.kernel("pooling", "max_pool_backward", variant: ["VECTOR": width])
    }

    public func reshape(height: Int, width: Int) {
        inputShape = inputShape.with(height: height, width: width)
        outputShape = inputShape.pooled
    }

    private func launch(_ kernel: Kernel, columns: Int, rows: Int, _ call: ([Int], [Int]) throws -> Void)
        throws
    {
        let vectors = inputShape.storedChannels / width
        try call([vectors, columns, rows], [min(vectors, 4), min(columns, 16), 1])
    }

    public func forward(input: Buffer, output: Buffer, pass: Pass) throws {
        try launch(forwardKernel, columns: outputShape.width, rows: pass.batch * outputShape.height) {
            try forwardKernel.launch(
                $0, local: $1, input, output, pass.batch, inputShape.height, inputShape.width,
                inputShape.storedChannels)
        }
    }

    public func backward(
        input: Buffer, output: Buffer, outputGradient: Buffer, inputGradient: Buffer?,
        parameterGradients: [Buffer], pass: Pass
    ) throws {
        guard let inputGradient else { return }
        try launch(
            backwardKernel, columns: (inputShape.width + 1) / 2,
            rows: pass.batch * ((inputShape.height + 1) / 2)
        ) {
            try backwardKernel.launch(
                $0, local: $1, input, output, outputGradient, inputGradient, pass.batch, inputShape.height,
                inputShape.width, inputShape.storedChannels)
        }
    }
}
