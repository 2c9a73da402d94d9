import Basics
import Compute
import DeviceInput
import Foundation
import Models
import NeuralNet
import Photographs

/// Runs one checkpoint's network on photographs, in several views.
public final class EvaluatedModel {
    /// The name that reports show, such as the checkpoint's path.
    public let name: String
    public let description: ModelDescription
    /// The views of every photograph; the central crop comes first.
    public let views: [View]
    /// Each view's usable photographs and device time in seconds, without reading.
    ///
    /// The first mini-batch, in which the device compiles kernels and transforms weights, does not count.
    private var timings: [(batches: Int, images: Int, seconds: Double)]
    let dense: DenseNetwork
    private let network: Network
    private let averaging: DenseNetwork.Averaging
    private let crops: ImageInput
    private let whole: DenseInput
    private let loss: SoftmaxCrossEntropy
    private let probabilities: Buffer

    /// - Parameters:
    ///   - batch: photographs in the largest mini-batch.
    ///   - convolution: the algorithms of all convolutions; nil for the defaults.
    /// - Throws: `EvaluationError` if a view is too small for the model or too large for the device,
    ///   `FileError` if weights are missing or not finite.
    public init(
        _ checkpoint: Checkpoint, name: String, views options: ViewOptions, batch: Int,
        convolution: ConvolutionAlgorithms? = nil, device: Device
    ) throws {
        self.name = name
        description = checkpoint.description
        averaging = options.averaging
        network = try checkpoint.network(
            options: Network.Options(maximumBatch: batch, training: false, convolution: convolution),
            device: device)
        dense = try DenseNetwork(network)
        views = try options.views(
            shortSide: description.shortSide,
            smallest: options.isDense ? dense.smallestSide : description.imageSize, model: name)
        timings = Array(repeating: (0, 0, 0), count: views.count)
        crops = try ImageInput(
            device: device, size: description.imageSize, normalization: description.normalization)
        whole = try DenseInput(device: device, normalization: description.normalization)
        loss = try SoftmaxCrossEntropy(device: device, classes: network.classes, maximumBatch: batch)
        probabilities = try Buffer(device, floatCount: batch * network.logitsStride)
        if let view = views.first(where: { $0.isDense && !fits(width: $0.shortSide, height: $0.shortSide) }) {
            throw EvaluationError(
                "a dense view of \(name) at \(view.shortSide) pixels needs more memory in one piece than "
                    + "\(device.description.name) allows",
                kind: .viewTooLarge)
        }
    }

    /// Returns the seconds that a photograph takes in view `index`; 0 if at most one mini-batch was run.
    func secondsPerImage(_ index: Int) -> Double {
        timings[index].batches < 2 || timings[index].images == 0
            ? 0 : timings[index].seconds / Double(timings[index].images)
    }

    /// Returns the work of one view in arbitrary units, to estimate the time left.
    func cost(_ view: View) -> Double {
        let side = Double(view.isDense ? view.shortSide : description.imageSize)
        let own = Double(description.imageSize * description.imageSize)
        return side * side / own * dense.network.operationsPerImage
    }

    /// Returns whether the buffers of a dense view of this size fit the device.
    func fits(width: Int, height: Int) -> Bool {
        let largest = network.device.description.largestBuffer
        return max(
            dense.largestBuffer(height: height, width: width), 3 * width * height + ImageInput.bytesReadBehind
        ) <= largest
    }

    /// Holds the result of a mini-batch in one view.
    struct Answer {
        /// `[photographs][classes]`; undefined for photographs that are not usable.
        let posteriors: [Float]
        /// One class's posterior in each window of the first photograph, if requested of a dense view.
        let map: ScoreMap?
    }

    /// Runs the photographs of a mini-batch in view `index`.
    ///
    /// - Parameter label: the class whose map is requested.
    func answer(_ index: Int, _ batch: PhotographBatch, isUsable: [Bool], label: Int? = nil) throws -> Answer
    {
        let start = ContinuousClock.now
        defer {
            if timings[index].batches == 1 { timings[index] = (1, 0, 0) }
            timings[index].batches += 1
            timings[index].images += isUsable.count { $0 }
            timings[index].seconds += (ContinuousClock.now - start).seconds
        }
        let view = views[index]
        return view.isDense
            ? try denseView(view, batch, isUsable, label: label)
            : Answer(posteriors: try cropView(view, batch), map: nil)
    }

    /// Returns one class's posterior in each window of the first photograph of a mini-batch.
    func map(shortSide: Int, _ batch: PhotographBatch, label: Int) throws -> ScoreMap? {
        let isUsable = batch.images.indices.map { $0 == 0 }
        return try denseView(View(shortSide: shortSide, isDense: true), batch, isUsable, label: label).map
    }

    private func cropView(_ view: View, _ batch: PhotographBatch) throws -> [Float] {
        let size = description.imageSize
        let records = batch.images.map { image in
            var parameters = AugmentationParameters.central(
                width: image.width, height: image.height, size: size)
            parameters.mirror = view.isMirrored
            return CropRecord(
                parameters, byteOffset: UInt64(image.offset), width: Int32(image.width),
                height: Int32(image.height), size: size)
        }
        let pass = Pass(batch: records.count, training: false)
        try crops.load(
            bytes: batch.bytes, records: Buffer(network.device, records), output: network.input, pass: pass)
        try network.forward(pass)
        try loss.softmax(logits: network.logits, probabilities: probabilities, batch: records.count)
        return unpadded(try probabilities.read(records.count * network.logitsStride))
    }

    private func denseView(_ view: View, _ batch: PhotographBatch, _ isUsable: [Bool], label: Int?) throws
        -> Answer
    {
        // Photographs of equal size form one run.
        let order = batch.images.indices.filter { isUsable[$0] }.sorted {
            let (a, b) = (batch.images[$0], batch.images[$1])
            return (a.height, a.width, $0) < (b.height, b.width, $1)
        }
        let classes = network.classes
        var result = [Float](repeating: 0, count: batch.images.count * classes)
        if order.isEmpty { return Answer(posteriors: result, map: nil) }
        let offsets = try Buffer(network.device, order.map { UInt64(batch.images[$0].offset) })
        var runs: [DenseNetwork.Run] = []
        for position in order {
            let (height, width) = (batch.images[position].height, batch.images[position].width)
            var count = 1
            if let last = runs.last, last.height == height, last.width == width {
                count += runs.removeLast().count
            }
            runs.append(DenseNetwork.Run(height: height, width: width, count: count))
        }
        let answer = try dense.posteriors(runs, averaging: averaging, label: label) { input, first, part in
            try whole.load(
                bytes: batch.bytes, offsets: offsets, first: first, count: part.count, height: part.height,
                width: part.width, isMirrored: view.isMirrored, output: input)
        }
        let values = unpadded(answer.images)
        for (place, position) in order.enumerated() {
            result.replaceSubrange(
                position * classes..<(position + 1) * classes,
                with: values[place * classes..<(place + 1) * classes])
        }
        guard label != nil, let place = order.firstIndex(of: 0) else {
            return Answer(posteriors: result, map: nil)
        }
        let map = try dense.maps(runs)[place]
        return Answer(
            posteriors: result,
            map: ScoreMap(
                values: Array(answer.windows[map.firstRow..<map.firstRow + map.count]), height: map.height,
                width: map.width, windowHeight: Double(dense.window.height * dense.stride),
                windowWidth: Double(dense.window.width * dense.stride), stride: Double(dense.stride),
                pixelHeight: batch.images[0].height, pixelWidth: batch.images[0].width))
    }

    private func unpadded(_ values: [Float]) -> [Float] {
        let (stride, classes) = (network.logitsStride, network.classes)
        return (0..<values.count / stride).flatMap { values[$0 * stride..<$0 * stride + classes] }
    }
}

/// Holds a mini-batch of photographs on the device, all with the same short side.
final class PhotographBatch {
    let bytes: Buffer
    let images: [PackedImage]

    init(_ host: HostBatch, device: Device) throws {
        bytes = try Buffer(device, byteCount: host.byteCount + ImageInput.bytesReadBehind)
        images = host.images
        try bytes.write(UnsafeRawBufferPointer(start: host.pixels, count: host.byteCount)).wait()
    }
}
