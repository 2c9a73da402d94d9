import Basics
import Compute

/// Describes 2×2 max-pooling with stride 2, which leaves out an odd last row or column.
public struct MaxPoolingSpec: LayerSpec {
    static let token = LayerToken(syntax: "M (2×2 max-pooling)", sample: "M") {
        $0 == "M" ? [MaxPoolingSpec()] : nil
    }

    public let kind = "max_pooling"
    public let isClassifier = false
    public let halvesMap = true

    public init() {}

    public func name(_ plan: LayerPlan) -> String { "pool" }
    public func output(for input: FeatureShape) -> FeatureShape { input.pooled }

    public func tensors(_ pass: LayerPass) -> (input: Double, output: Double) {
        pass == .backwardData ? (2, 2) : (1, 1)
    }

    public func makeLayer(_ plan: LayerPlan, device: Device) throws -> any Layer {
        try MaxPooling(plan, device: device)
    }
}

/// 2×2 max-pooling (`pooling.cl`), which passes the gradient to the first of equal maxima.
public final class MaxPooling: Layer {
    public private(set) var plan: LayerPlan
    private let forwardKernel: Kernel
    private let backwardKernel: Kernel

    init(_ plan: LayerPlan, device: Device) throws {
        self.plan = plan
        let width = KernelFamilies.pooling.vector(channels: plan.input.storedChannels, tuning: plan.tuning)
        forwardKernel = try device.kernel("pooling", "max_pool_forward", variant: ["VECTOR": width])
        backwardKernel = try device.kernel("pooling", "max_pool_backward", variant: ["VECTOR": width])
    }

    public func reshape(input: FeatureShape) { plan.reshape(input: input) }

    private func range(columns: Int, rows: Int) -> LaunchRange {
        KernelFamilies.pooling.launch(
            channels: inputShape.storedChannels, columns: columns, rows: rows, tuning: plan.tuning)
    }

    public func forward(input: Buffer, output: Buffer, pass: Pass) throws {
        try forwardKernel.launch(
            range(columns: outputShape.width, rows: pass.batch * outputShape.height), input, output,
            pass.batch, inputShape.mapSize)
    }

    public func backward(
        input: Buffer, output: Buffer, outputGradient: Buffer, inputGradient: Buffer?,
        parameterGradients: [Buffer], pass: Pass
    ) throws {
        guard let inputGradient else { return }
        let windows = range(
            columns: inputShape.width.ceilDivided(by: 2),
            rows: pass.batch * inputShape.height.ceilDivided(by: 2))
        try backwardKernel.launch(
            windows, input, output, outputGradient, inputGradient, pass.batch, inputShape.mapSize)
    }
}
