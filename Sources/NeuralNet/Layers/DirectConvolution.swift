import Compute

/// Computes the convolution where the pixels lie (`convolution.cl`); takes every shape.
final class DirectConvolution: ConvolutionMethod {
    /// What the forward kernel reads and writes, also for backward-data.
    private struct Tensors: KernelArgumentGroup {
        let input, weights, bias, zeros, output: Buffer

        var arguments: [any KernelArgument] { [input, weights, bias, zeros, output] }
    }

    private var sizes: ConvolutionFamily.Direct
    private let zeros: Buffer
    private let forwardKernel: Kernel
    private let weightsKernel: Kernel
    /// nil for images, which need no gradient.
    private let turning: TurnedWeights?
    private let reduction: SlotReduction
    /// The kernels of the image layer's gradients from the one behind its pooling.
    private let pooled: (sum: Kernel, add: Kernel)?
    private var scratch = PreparedMemory(for: "direct convolution")

    init(_ sizes: ConvolutionFamily.Direct, device: Device) throws {
        self.sizes = sizes
        let ending = sizes.isImage ? "_image" : ""
        forwardKernel = try device.kernel("convolution", "convolution_forward" + ending)
        weightsKernel = try device.kernel("convolution", "convolution_backward_weights" + ending)
        turning = sizes.isImage ? nil : try TurnedWeights(device: device)
        reduction = try SlotReduction(device: device)
        pooled =
            sizes.takesGradientBehindPooling
            ? (
                try device.kernel("convolution", "convolution_backward_weights_image_pooled"),
                try device.kernel("convolution", "add_image_gradients")
            ) : nil
        zeros = try Buffer(device, [Float](repeating: 0, count: sizes.zerosCount))
    }

    func prepare(workspace: Buffer?, maximumBatch: Int) throws { scratch.give(workspace) }

    func reshape(input: FeatureShape) { sizes.input = input.mapSize }

    func weightsChanged() {}

    var fusedWork: FusedWork {
        pooled != nil && sizes.takesGradientBehindPooling ? .unpoolsWeights : []
    }

    func forward(
        input: Buffer, weights: Buffer, bias: Buffer, output: Buffer, pooled: Buffer?, batch: Int
    ) throws {
        let (range, shape, share) = sizes.forward(batch: batch)
        let flags = MatrixProduct.Options([.bias, .relu]).rawValue
        let tensors = Tensors(input: input, weights: weights, bias: bias, zeros: zeros, output: output)
        try forwardKernel.launch(range, tensors, shape, share, flags)
    }

    func backwardData(
        _ gradient: ConvolvedMap, weights: Buffer, inputGradient: Buffer, resultMask: Buffer?, batch: Int
    ) throws {
        guard let turning else { throw ComputeError("the gradient of an image was asked for") }
        let turned = scratch.buffer
        try turning.turn(weights, into: turned, inputs: sizes.input.channels, outputs: sizes.outputs)
        let (range, shape, share) = sizes.forward(batch: batch, backwardData: true)
        // Without its flag, the bias is not read.
        let tensors = Tensors(
            input: gradient.values, weights: turned, bias: weights, zeros: zeros, output: inputGradient)
        try forwardKernel.launch(range, tensors, shape, share, 0)
    }

    func backwardWeights(
        input: Buffer, _ gradient: ConvolvedMap, weightGradient: Buffer, biasGradient: Buffer, batch: Int
    ) throws {
        if gradient.isBehindPooling, let pooled, let output = gradient.mask {
            let (range, shape, rowsPerSlot, slots) = sizes.gradientsBehindPooling(batch: batch)
            try pooled.sum.launch(
                range, input, output, gradient.values, scratch.buffer, shape, rowsPerSlot)
            try pooled.add.launch(
                sizes.addingGradients, scratch.buffer, weightGradient, biasGradient, slots, sizes.outputs)
            return
        }
        let (launches, shape, slots) = sizes.backwardWeights(batch: batch)
        for (index, launch) in launches.enumerated() {
            try weightsKernel.launch(
                launch.range, input, gradient.values, scratch.buffer, launch.rows, shape, index == 0 ? 0 : 1)
        }
        try reduction.add(scratch.buffer, count: slots, into: weightGradient, floatCount: sizes.weightCount)
    }
}

/// Makes the weights of backward-data: turned by 180°, inputs and outputs exchanged.
struct TurnedWeights {
    private let kernel: Kernel
    private let tuning: Tuning

    init(device: Device) throws {
        kernel = try device.kernel("convolution", "convolution_flip_weights")
        tuning = device.tuning
    }

    func turn(_ weights: Buffer, into turned: Buffer, inputs: Int, outputs: Int) throws {
        let range = KernelFamilies.convolution.flipping(inputs: inputs, outputs: outputs, tuning: tuning)
        try kernel.launch(range, weights, turned, inputs, outputs)
    }
}
