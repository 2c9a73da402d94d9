import Compute

/// Computes the convolution of feature maps where the pixels lie, as the implicit matrix product of
/// `gpu/product.cl`; its weights' gradient is a product over windows laid out as rows.
final class GroupConvolution: ConvolutionMethod {
    let fusedWork: FusedWork = []
    private var sizes: ConvolutionFamily.Im2col
    private let product: GroupProduct
    private let windows: Im2colConvolution

    init(_ sizes: ConvolutionFamily.Im2col, device: Device) throws {
        self.sizes = sizes
        product = GroupProduct(device: device)
        windows = try Im2colConvolution(sizes, device: device)
    }

    func prepare(workspace: Buffer?, maximumBatch: Int) throws {
        try windows.prepare(workspace: workspace, maximumBatch: maximumBatch)
    }

    func reshape(input: FeatureShape) {
        sizes.input = input.mapSize
        windows.reshape(input: input)
    }

    func weightsChanged() {}

    func forward(
        input: Buffer, weights: Buffer, bias: Buffer, output: Buffer, pooled: Buffer?, batch: Int
    ) throws {
        try product.convolve(
            input, map: sizes.input, weights: weights, bias: bias,
            into: output, outputs: sizes.outputs, batch: batch)
    }

    func backwardData(
        _ gradient: ConvolvedMap, weights: Buffer, inputGradient: Buffer, resultMask: Buffer?, batch: Int
    ) throws {
        try product.convolve(
            gradient.values, map: sizes.input.with(channels: sizes.outputs), weights: weights, bias: nil,
            into: inputGradient, outputs: sizes.input.channels, batch: batch, backwardData: true)
    }

    func backwardWeights(
        input: Buffer, _ gradient: ConvolvedMap, weightGradient: Buffer, biasGradient: Buffer, batch: Int
    ) throws {
        try windows.backwardWeights(
            input: input, gradient, weightGradient: weightGradient, biasGradient: biasGradient, batch: batch)
    }
}
