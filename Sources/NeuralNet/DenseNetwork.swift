import Basics
import Compute

/// Evaluates a network densely on images of any size (section 5 of the Deep Image paper).
///
/// The convolutions run once over the whole image. The fully connected layers run over every window of the
/// last feature map that has the size of the training image's map, so the first of them acts as a k×k
/// convolution and the others as 1×1. At the training size there is one window, and the scores are the plain
/// network's. The windows of a whole mini-batch share the products with the weights, whatever the sizes of
/// their images.
public final class DenseNetwork {
    /// Consecutive images of a mini-batch that have the same size.
    public struct Run: Equatable, Sendable {
        public let height: Int
        public let width: Int
        public let count: Int

        public init(height: Int, width: Int, count: Int) {
            self.height = height
            self.width = width
            self.count = count
        }
    }

    /// How the scores of an image's windows are averaged.
    public enum Averaging: String, CaseIterable, Sendable {
        /// The mean of the class scores before softmax.
        case logits
        /// The mean of the windows' posteriors.
        case posteriors
    }

    /// A map of class scores.
    public struct Map: Equatable, Sendable {
        /// The index of its first window in the mini-batch; the others follow row by row.
        public let firstRow: Int
        public let height: Int
        public let width: Int

        public var count: Int { height * width }
    }

    public let network: Network
    /// The last feature map of a training image: the input of the first fully connected layer.
    public let window: FeatureShape
    /// Pixels from one window to the next.
    public let stride: Int
    /// Shortest side of an image that holds a window.
    public var smallestSide: Int { max(window.height, window.width) * stride }

    private let features: [any Layer]
    private let classifier: [any Layer]
    private let windows: Kernel
    private let mean: Kernel
    private let softmax: Kernel
    /// The most windows that one matrix product takes.
    let rowsPerProduct: Int
    private var maps: GrowingBuffers
    private var rows: GrowingBuffers
    /// One product's scores and their softmax, and the means of a mini-batch's images and theirs.
    private var scores: GrowingBuffers
    private var means: GrowingBuffers
    /// Of the feature layers, and of the classifier.
    private var workspaces: GrowingBuffers

    /// - Parameter network: keeps its memory and may run between calls
    public init(_ network: Network) throws {
        self.network = network
        features = Array(network.layers.prefix { !$0.plan.spec.isClassifier })
        classifier = Array(network.layers[features.count...])
        window = classifier.first?.inputShape ?? network.inputShape
        stride = 1 << features.count { $0.plan.spec.halvesMap }
        let device = network.device
        workspaces = try GrowingBuffers(device, count: 2)
        windows = try device.kernel("dense", "dense_windows")
        mean = try device.kernel("dense", "dense_mean")
        softmax = try device.kernel("softmax", "softmax_forward")
        (maps, rows) = (try GrowingBuffers(device, count: 3), try GrowingBuffers(device, count: 3))
        (scores, means) = (try GrowingBuffers(device, count: 2), try GrowingBuffers(device, count: 2))
        rowsPerProduct = min(max(64, (32 << 20) / (4 * window.storedCount) / 64 * 64), 4096)
    }

    /// Returns the rows and columns of windows of an image of this size.
    ///
    /// - Throws: `NetworkError` if the image is smaller than one window.
    public func mapSize(height: Int, width: Int) throws -> (height: Int, width: Int) {
        let (rows, columns) = (height / stride, width / stride)
        guard rows >= window.height, columns >= window.width else {
            throw NetworkError(
                "a view of \(height)×\(width) pixels gives '\(network.architecture)' a last map of "
                    + "\(rows)×\(columns), smaller than the \(window.height)×\(window.width) of its first "
                    + "fully connected layer; the shorter side must be \(smallestSide) pixels or more",
                kind: .viewTooSmall(smallestSide: smallestSide))
        }
        return (rows - window.height + 1, columns - window.width + 1)
    }

    /// The most bytes of a map in a pass of several images through the convolutions.
    private static let mapBytes = 256 << 20

    /// Returns the bytes of the largest buffer that one image of this size needs.
    public func largestBuffer(height: Int, width: Int) -> Int {
        var shape = FeatureShape.image(height: height, width: width)
        var largest = shape.storedCount
        for layer in features {
            shape = layer.plan.spec.output(for: shape)
            largest = max(largest, shape.storedCount)
        }
        return 4 * largest
    }

    /// Returns the maps of a mini-batch's images, in its order.
    ///
    /// - Throws: `NetworkError` if an image is smaller than a window.
    public func maps(_ runs: [Run]) throws -> [Map] {
        var maps: [Map] = []
        var total = 0
        for run in runs {
            let size = try mapSize(height: run.height, width: run.width)
            for _ in 0..<run.count {
                maps.append(Map(firstRow: total, height: size.height, width: size.width))
                total += size.height * size.width
            }
        }
        return maps
    }

    /// Returns the class scores of each image of a mini-batch, averaged over its windows: `[images][classes
    /// rounded up to 16]`.
    ///
    /// - Parameter load: fills a part of the network's input, `[count][height][width][4]`, with the
    ///   mini-batch's images from `first` on.
    /// - Throws: `NetworkError` if an image is smaller than a window, and what `load` throws.
    public func logits(_ runs: [Run], load: Load) throws -> [Float] {
        let average = try Average(self, runs)
        try forward(runs, load: load) { try average.add($0, rows: $1) }
        return try means[0].read(average.floatCount)
    }

    /// Returns the posteriors of each image of a mini-batch, `[images][classes rounded up to 16]`; with
    /// `label` also those of this class in each window of each image.
    ///
    /// - Parameter load: as for `logits`.
    public func posteriors(_ runs: [Run], averaging: Averaging, label: Int? = nil, load: Load) throws -> (
        images: [Float], windows: [Float]
    ) {
        let average = try Average(self, runs)
        var windows: [Float] = []
        try forward(runs, load: load) { scores, rows in
            if averaging == .logits { try average.add(scores, rows: rows) }
            if averaging == .logits && label == nil { return }
            try softmax(scores, into: &self.scores, rows: rows.count)
            if averaging == .posteriors { try average.add(self.scores[1], rows: rows) }
            if let label {
                let values: [Float] = try self.scores[1].read(rows.count * network.logitsStride)
                windows += Swift.stride(from: label, to: values.count, by: network.logitsStride).map {
                    values[$0]
                }
            }
        }
        if averaging == .logits { try softmax(means[0], into: &means, rows: average.images) }
        return (try means[averaging == .logits ? 1 : 0].read(average.floatCount), windows)
    }

    private func softmax(_ source: Buffer, into buffers: inout GrowingBuffers, rows: Int) throws {
        try buffers.reserve(1, floatCount: rows * network.logitsStride)
        try softmax.launch(
            KernelFamilies.softmax.rows(rows, tuning: network.device.tuning), source, buffers[1], rows,
            network.classes, network.logitsStride)
    }

    /// Fills a part of the network's input, `[count][height][width][4]`, with the mini-batch's images from
    /// `first` on.
    public typealias Load = (_ input: Buffer, _ first: Int, _ part: Run) throws -> Void

    typealias Consume = (_ scores: Buffer, _ rows: Range<Int>) throws -> Void

    /// Scores every window of every image of a mini-batch, in its order.
    ///
    /// - Parameter consume: called for the windows of each product with their scores, `[windows][classes
    ///   rounded up to 16]`, which are valid until it returns, and with the windows' indices
    func forward(_ runs: [Run], load: Load, consume: Consume) throws {
        do { try score(runs, load: load, consume: consume) } catch {
            // The first error is the one to report.
            try? restore()
            throw error
        }
        try restore()
    }

    private func score(_ runs: [Run], load: Load, consume: Consume) throws {
        let chunk = min(rowsPerProduct, try maps(runs).reduce(0) { $0 + $1.count })
        let units = classifier.map(\.outputShape.storedCount).max() ?? network.logitsStride
        try scores.reserve(0, floatCount: chunk * network.logitsStride)
        try rows.reserve(0, floatCount: chunk * window.storedCount)
        for index in 1...2 { try rows.reserve(index, floatCount: chunk * units) }
        // For full products, whatever the number of windows: the order of sums follows from it.
        let needed = classifier.map { $0.workspaceByteCount(maximumBatch: rowsPerProduct) }.max() ?? 0
        try workspaces.reserve(1, floatCount: needed.ceilDivided(by: 4))
        try prepare(classifier, batch: rowsPerProduct, workspace: workspaces[1])

        var first = 0
        var pending = 0
        var done = 0
        func classifyPending() throws {
            _ = try run(classifier, in: rows, last: scores[0], batch: pending)
            try consume(scores[0], done..<done + pending)
            done += pending
            pending = 0
        }
        for run in runs {
            let (height, width) = try mapSize(height: run.height, width: run.width)
            // As many pixels at once as the plain network takes, so that both need about the same memory, but
            // no more images than keep the cores busy.
            let area = network.inputShape.height * network.inputShape.width
            let byArea = network.options.maximumBatch * area / (run.height * run.width)
            let byMemory = DenseNetwork.mapBytes / largestBuffer(height: run.height, width: run.width)
            let most = max(1, min(byArea, byMemory))
            for start in Swift.stride(from: 0, to: run.count, by: most) {
                let part = Run(height: run.height, width: run.width, count: min(most, run.count - start))
                let map = try convolve(part) { try load($0, first + start, part) }
                let shape = window.with(height: run.height / self.stride, width: run.width / self.stride)
                var next = 0
                while next < part.count * height * width {
                    let count = min(part.count * height * width - next, chunk - pending)
                    try windows.launch(
                        KernelFamilies.dense.windows(
                            height: window.height, count: count, tuning: network.device.tuning), map, rows[0],
                        shape.mapSize,
                        [window.height, window.width], next, pending)
                    next += count
                    pending += count
                    if pending == chunk { try classifyPending() }
                }
            }
            first += run.count
        }
        if pending > 0 { try classifyPending() }
    }

    /// Averages each image's rows, which arrive in parts.
    private struct Average {
        private let dense: DenseNetwork
        private let maps: [Map]
        private let segments: Buffer

        var images: Int { maps.count }
        var floatCount: Int { maps.count * dense.network.logitsStride }

        init(_ dense: DenseNetwork, _ runs: [Run]) throws {
            self.dense = dense
            maps = try dense.maps(runs)
            segments = try Buffer(
                dense.network.device, maps.flatMap { [Int32($0.firstRow), Int32($0.count)] })
            try dense.means.reserve(0, floatCount: floatCount)
        }

        /// Adds rows of scores; the last row of an image turns its sum into the mean.
        func add(_ scores: Buffer, rows: Range<Int>) throws {
            let first = maps.firstIndex { $0.firstRow + $0.count > rows.lowerBound } ?? maps.count
            let end = maps.firstIndex { $0.firstRow >= rows.upperBound } ?? maps.count
            let stride = dense.network.logitsStride
            try dense.mean.launch(
                KernelFamilies.dense.means(
                    stride: stride, images: end - first, tuning: dense.network.device.tuning), scores,
                segments, dense.means[0], first,
                rows.lowerBound, rows.count, stride)
        }
    }

    // MARK: - Parts

    /// Returns the last feature map of some images of the same size.
    private func convolve(_ part: Run, load: (Buffer) throws -> Void) throws -> Buffer {
        let input = FeatureShape.image(height: part.height, width: part.width)
        reshapeFeatures(input)
        let needed = features.map { $0.workspaceByteCount(maximumBatch: part.count) }.max() ?? 0
        try workspaces.reserve(0, floatCount: needed.ceilDivided(by: 4))
        try prepare(features, batch: part.count, workspace: workspaces[0])
        try maps.reserve(0, floatCount: part.count * input.storedCount)
        for index in 1...2 {
            // Either buffer may have to hold the largest map.
            let largest = features.map(\.outputShape.storedCount).max() ?? 1
            try maps.reserve(index, floatCount: part.count * largest)
        }
        try load(maps[0])
        return try run(features, in: maps, batch: part.count)
    }

    /// Runs layers on `buffers`, the first of which holds the input, and returns the buffer of their output.
    ///
    /// - Parameter last: for the last layer's output, by default one of the buffers
    private func run(_ layers: [any Layer], in buffers: GrowingBuffers, last: Buffer? = nil, batch: Int)
        throws -> Buffer
    {
        var current = buffers[0]
        for (index, layer) in layers.enumerated() {
            let isLast = index == layers.count - 1
            let free = current === buffers[1] ? buffers[2] : buffers[1]
            let output = layer.isInPlace ? current : isLast ? last ?? free : free
            try layer.forward(input: current, output: output, pass: Pass(batch: batch, training: false))
            current = output
        }
        return current
    }

    /// Gives the feature layers the shapes of this input.
    private func reshapeFeatures(_ input: FeatureShape) {
        var shape = input
        for layer in features {
            layer.reshape(input: shape)
            shape = layer.outputShape
        }
    }

    private func prepare(_ layers: [any Layer], batch: Int, workspace: Buffer) throws {
        for layer in layers {
            let weights = layer.parameters.map { network.weights[$0] }
            try layer.prepare(weights: weights, workspace: workspace, maximumBatch: batch)
        }
    }

    /// Gives all layers their shapes and workspace in the plain network again.
    private func restore() throws {
        reshapeFeatures(network.inputShape)
        try prepare(
            features + classifier, batch: network.options.maximumBatch, workspace: network.workspace)
    }
}

/// Buffers that grow on demand and lose their contents when they do.
private struct GrowingBuffers {
    private var buffers: [Buffer]

    init(_ device: Device, count: Int) throws {
        buffers = try (0..<count).map { _ in try Buffer(device, floatCount: 1) }
    }

    subscript(index: Int) -> Buffer { buffers[index] }

    mutating func reserve(_ index: Int, floatCount: Int) throws {
        let device = buffers[index].device
        if buffers[index].byteCount >= 4 * floatCount { return }
        // Two steps, so that the old memory is freed before the new is allocated.
        buffers[index] = try Buffer(device, floatCount: 1)
        buffers[index] = try Buffer(device, floatCount: floatCount)
    }
}
