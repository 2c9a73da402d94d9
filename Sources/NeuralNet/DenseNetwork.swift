import Compute

/// A network over images of any size (section 5 of the paper): its convolutions run once over the whole
/// image, and its fully connected layers, with the weights as they lie, over every window of the last feature
/// map that has the size of the training image's map.
///
/// So the first of them is a k×k convolution and the others are 1×1. At the training size there is one
/// window, and the scores are the plain network's. The windows of a whole mini-batch, whatever their images'
/// sizes, share the products with the weights.
public final class DenseNetwork {
    /// Neighbours in a mini-batch that have one size.
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

    /// How the scores of an image's windows become one.
    public enum Averaging: String, CaseIterable, Sendable {
        /// The mean of the class scores before softmax.
        case logits
        /// The mean of the windows' posteriors.
        case posteriors
    }

    /// A map of class scores.
    public struct Map: Equatable, Sendable {
        /// The number of its first window among the mini-batch's; the others follow in the order of reading.
        public let firstRow: Int
        public let height: Int
        public let width: Int

        public var count: Int { height * width }
    }

    public let network: Network
    /// The last feature map of a training image: what the first fully connected layer sees at once.
    public let window: FeatureShape
    /// Pixels from one window to the next.
    public let stride: Int
    /// Shortest side of an image that holds a window.
    public var smallestSide: Int { max(window.height, window.width) * stride }

    private let features: [any ReshapableLayer]
    private let classifier: [any Layer]
    private let windows: Kernel
    private let mean: Kernel
    private let softmax: Kernel
    /// Rows of windows that one product takes.
    let rowsPerProduct: Int
    private var maps: GrowingBuffers
    private var rows: GrowingBuffers
    /// One product's scores and their softmax, and the means of a mini-batch's images and theirs.
    private var scores: GrowingBuffers
    private var means: GrowingBuffers
    private var workspace: Buffer?

    /// - Parameter network: keeps its memory and may be run in between.
    public init(_ network: Network) throws {
        self.network = network
        features = network.layers.compactMap { $0 as? any ReshapableLayer }
        classifier = Array(network.layers[features.count...])
        window = classifier.first?.inputShape ?? network.inputShape
        stride = 1 << features.count { $0 is MaxPooling }
        let device = network.device
        windows = try device.kernel("dense", "dense_windows")
        mean = try device.kernel("dense", "dense_mean")
        softmax = try device.kernel("softmax", "softmax_forward")
        (maps, rows) = (try GrowingBuffers(device, count: 3), try GrowingBuffers(device, count: 3))
        (scores, means) = (try GrowingBuffers(device, count: 2), try GrowingBuffers(device, count: 2))
        rowsPerProduct = min(max(64, (32 << 20) / (4 * window.storedCount) / 64 * 64), 4096)
    }

    /// The windows of an image of this size, in rows and columns.
    ///
    /// - Throws: `NetworkError` where the image is smaller than one window.
    public func mapSize(height: Int, width: Int) throws -> (height: Int, width: Int) {
        let (rows, columns) = (height / stride, width / stride)
        guard rows >= window.height, columns >= window.width else {
            throw NetworkError(
                "a view of \(height)×\(width) pixels gives '\(network.architecture)' a last map of \(rows)×\(columns), smaller than the "
                    + "\(window.height)×\(window.width) that its first fully connected layer sees; the shorter side must be "
                    + "\(smallestSide) pixels or more")
        }
        return (rows - window.height + 1, columns - window.width + 1)
    }

    /// Bytes of the maps that one pass through the convolutions makes at a time, where it takes more than one
    /// image.
    private static let mapBytes = 256 << 20

    /// Bytes of the largest buffer that one image of this size needs.
    public func largestBuffer(height: Int, width: Int) -> Int {
        var shape = FeatureShape.image(height: height, width: width)
        var largest = shape.storedCount
        for layer in features {
            shape = shape.pooledOrWidened(by: layer)
            largest = max(largest, shape.storedCount)
        }
        return 4 * largest
    }

    /// The maps of a mini-batch's images, in its order.
    ///
    /// - Throws: `NetworkError` where a window does not fit an image.
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

    /// Class scores of each image of a mini-batch, averaged over its windows, `[images][classes rounded up to
    /// 16]`.
    ///
    /// - Parameter load: fills a part of the network's input, `[count][height][width][4]`, with the
    ///   mini-batch's images from `first` on.
    /// - Throws: `NetworkError` where a window does not fit an image, and what `load` throws.
    public func logits(_ runs: [Run], load: Load) throws -> [Float] {
        let average = try Average(self, runs)
        try forward(runs, load: load) { try average.add($0, rows: $1) }
        return try means[0].read(average.floatCount)
    }

    /// Posteriors of each image of a mini-batch, `[images][classes rounded up to 16]`, and where `label` is
    /// given those of this class in each window of each image, too.
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
            [rows], local: [1], source, buffers[1], rows, network.classes, network.logitsStride)
    }

    /// Fills a part of the network's input, `[count][height][width][4]`, with the mini-batch's images from
    /// `first` on.
    public typealias Load = (_ input: Buffer, _ first: Int, _ part: Run) throws -> Void

    /// Scores every window of every image of a mini-batch, in its order, and hands the scores over as they
    /// come: the windows' numbers and `[windows][classes rounded up to 16]`, good until the call returns. No
    /// more than one product's are held at a time.
    func forward(_ runs: [Run], load: Load, consume: (_ scores: Buffer, _ rows: Range<Int>) throws -> Void)
        throws
    {
        do { try score(runs, load: load, consume: consume) } catch {
            // What went wrong first is what counts.
            try? restore()
            throw error
        }
        try restore()
    }

    private func score(
        _ runs: [Run], load: Load, consume: (_ scores: Buffer, _ rows: Range<Int>) throws -> Void
    ) throws {
        let total = try runs.reduce(0) { sum, run in
            let size = try mapSize(height: run.height, width: run.width)
            return sum + size.height * size.width * run.count
        }
        let chunk = min(rowsPerProduct, total)
        let units = classifier.map(\.outputShape.storedCount).max() ?? network.logitsStride
        try scores.reserve(0, floatCount: chunk * network.logitsStride)
        try rows.reserve(0, floatCount: chunk * window.storedCount)
        for index in 1...2 { try rows.reserve(index, floatCount: chunk * units) }

        var first = 0
        var pending = 0
        var done = 0
        func classifyPending() throws {
            try classify(rows: pending)
            try consume(scores[0], done..<done + pending)
            done += pending
            pending = 0
        }
        for run in runs {
            let (height, width) = try mapSize(height: run.height, width: run.width)
            // As many images at once as the plain network would take of its own size, so that both need about
            // the same memory, but no more than keep the cores busy.
            let area = network.inputShape.height * network.inputShape.width
            let most = max(
                1,
                min(
                    network.options.maximumBatch * area / (run.height * run.width),
                    DenseNetwork.mapBytes / largestBuffer(height: run.height, width: run.width)))
            for start in Swift.stride(from: 0, to: run.count, by: most) {
                let part = Run(height: run.height, width: run.width, count: min(most, run.count - start))
                let map = try convolve(part) { try load($0, first + start, part) }
                let shape = window.with(height: run.height / self.stride, width: run.width / self.stride)
                var next = 0
                while next < part.count * height * width {
                    let count = min(part.count * height * width - next, chunk - pending)
                    try windows.launch(
                        [window.height, count], local: [1, 1], map, rows[0], shape.mapSize,
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

    /// The mean of each image's rows, which come in parts.
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

        /// Adds rows of scores; the last of an image's makes its sum the mean.
        func add(_ scores: Buffer, rows: Range<Int>) throws {
            let first = maps.firstIndex { $0.firstRow + $0.count > rows.lowerBound } ?? maps.count
            let end = maps.firstIndex { $0.firstRow >= rows.upperBound } ?? maps.count
            let stride = dense.network.logitsStride
            try dense.mean.launch(
                [stride / 16, end - first], local: [1, 1], scores, segments, dense.means[0], first,
                rows.lowerBound, rows.count, stride)
        }
    }

    // MARK: - Parts

    /// The last feature map of some images of one size.
    private func convolve(_ part: Run, load: (Buffer) throws -> Void) throws -> Buffer {
        try reshape(height: part.height, width: part.width, batch: part.count)
        let input = FeatureShape.image(height: part.height, width: part.width)
        try maps.reserve(0, floatCount: part.count * input.storedCount)
        for index in 1...2 {
            // Convolutions and poolings take turns in no fixed order, so either buffer may have to hold the
            // largest map.
            let largest = features.map(\.outputShape.storedCount).max() ?? 1
            try maps.reserve(index, floatCount: part.count * largest)
        }
        try load(maps[0])
        var current = 0
        let pass = Pass(batch: part.count, training: false)
        for layer in features {
            let next = current == 1 ? 2 : 1
            try layer.forward(input: maps[current], output: maps[next], pass: pass)
            current = next
        }
        return maps[current]
    }

    /// The scores of the rows that are laid out.
    private func classify(rows count: Int) throws {
        let pass = Pass(batch: count, training: false)
        var current = 0
        for (index, layer) in classifier.enumerated() where !layer.isInPlace {
            let next = current == 1 ? 2 : 1
            let output = index == classifier.count - 1 ? scores[0] : rows[next]
            try layer.forward(input: rows[current], output: output, pass: pass)
            current = next
        }
    }

    private func reshape(height: Int, width: Int, batch: Int) throws {
        var (height, width) = (height, width)
        for layer in features {
            layer.reshape(height: height, width: width)
            (height, width) = (layer.outputShape.height, layer.outputShape.width)
        }
        let needed = features.map { $0.workspaceByteCount(maximumBatch: batch) }.max() ?? 0
        if needed > workspace?.byteCount ?? 0 {
            workspace = nil
            workspace = try Buffer(network.device, byteCount: needed)
        }
        try prepare(workspace: workspace, batch: batch)
    }

    /// Gives the layers back as the plain network has them.
    private func restore() throws {
        var (height, width) = (network.inputShape.height, network.inputShape.width)
        for layer in features {
            layer.reshape(height: height, width: width)
            (height, width) = (layer.outputShape.height, layer.outputShape.width)
        }
        try prepare(workspace: network.workspace, batch: network.options.maximumBatch)
    }

    private func prepare(workspace: Buffer?, batch: Int) throws {
        for layer in features {
            try layer.prepare(
                weights: layer.parameters.map { network.weights[$0] },
                workspace: workspace, maximumBatch: batch)
        }
    }
}

extension FeatureShape {
    /// What a layer makes of a map of this size.
    fileprivate func pooledOrWidened(by layer: any Layer) -> FeatureShape {
        let shape = layer is MaxPooling ? pooled : self
        return layer.outputShape.with(height: shape.height, width: shape.width)
    }
}

/// Buffers that grow on demand; what they hold is lost then.
private struct GrowingBuffers {
    private var buffers: [Buffer]

    init(_ device: Device, count: Int) throws {
        buffers = try (0..<count).map { _ in try Buffer(device, floatCount: 1) }
    }

    subscript(index: Int) -> Buffer { buffers[index] }

    mutating func reserve(_ index: Int, floatCount: Int) throws {
        let device = buffers[index].device
        if buffers[index].byteCount >= 4 * floatCount { return }
        // Two steps, so that the old memory is given back before the new is taken.
        buffers[index] = try Buffer(device, floatCount: 1)
        buffers[index] = try Buffer(device, floatCount: floatCount)
    }
}
