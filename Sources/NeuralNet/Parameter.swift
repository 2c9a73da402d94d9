import Foundation

/// One learnt array of a layer: its name and shape as torchvision's VGG has them, and its layout on the
/// device.
public final class Parameter {
    /// How the device stores the array; lanes added by rounding up are zero.
    public enum Layout: Equatable, Sendable {
        /// `[K'/16][3][3][C'][16]` for torchvision's `[K][C][3][3]`.
        case convolution(filters: Int, input: FeatureShape)
        /// `[O'/16][I'][16]` for torchvision's `[O][I]`, whose inputs run over C, H, W where ours run over H,
        /// W, C'.
        case fullyConnected(units: Int, input: FeatureShape)
        /// `[K']` for `[K]`.
        case bias(count: Int)

        fileprivate var heDeviation: Float {
            switch self {
            case .convolution(_, let input): (2 / Float(9 * input.channels)).squareRoot()
            case .fullyConnected(_, let input): (2 / Float(input.count)).squareRoot()
            case .bias: 0
            }
        }
    }

    /// Such as `features.0.weight`.
    public let name: String
    public let layout: Layout
    /// The place in `Network.parameters`.
    public let index: Int
    /// Standard deviation of the normal distribution from which initial values are drawn; 0 for biases.
    public let initialDeviation: Float

    /// - Parameter initialDeviation: nil for He's √(2 / inputs) (He et al. 2015), which keeps the size of
    ///   activations through ReLUs.
    init(name: String, layout: Layout, index: Int, initialDeviation: Float? = nil) {
        self.name = name
        self.layout = layout
        self.index = index
        self.initialDeviation = initialDeviation ?? layout.heDeviation
    }

    /// Whether weight decay acts on it: on weights, not on biases.
    public var decays: Bool {
        if case .bias = layout { return false }
        return true
    }

    /// torchvision's shape.
    public var shape: [Int] {
        switch layout {
        case .convolution(let filters, let input): [filters, input.channels, 3, 3]
        case .fullyConnected(let units, let input): [units, input.count]
        case .bias(let count): [count]
        }
    }

    /// Numbers in torchvision's shape.
    public var count: Int { shape.reduce(1, *) }

    /// Floats on the device.
    public var storedCount: Int {
        switch layout {
        case .convolution(let filters, let input): rounded(filters) * 9 * input.storedChannels
        case .fullyConnected(let units, let input): rounded(units) * input.storedCount
        case .bias(let count): rounded(count)
        }
    }

    /// Output lanes come in panels of 16.
    private func rounded(_ count: Int) -> Int { (count + 15) / 16 * 16 }

    /// From torchvision's order to the device's.
    public func stored(_ values: [Float]) -> [Float] {
        precondition(values.count == count)
        var result = [Float](repeating: 0, count: storedCount)
        result.withUnsafeMutableBufferPointer { target in
            values.withUnsafeBufferPointer { source in
                forEachRun { targetIndex, sourceIndex in target[targetIndex] = source[sourceIndex] }
            }
        }
        return result
    }

    /// From the device's order to torchvision's.
    public func exported(_ values: [Float]) -> [Float] {
        precondition(values.count == storedCount)
        return [Float](unsafeUninitializedCapacity: count) { target, initialized in
            values.withUnsafeBufferPointer { source in
                forEachRun { sourceIndex, targetIndex in target[targetIndex] = source[sourceIndex] }
            }
            initialized = count
        }
    }

    /// Calls `body(place on the device, place in torchvision's order)` for every element.
    @inline(__always) private func forEachRun(_ body: (Int, Int) -> Void) {
        switch layout {
        case .convolution(let filters, let input):
            let stored = input.storedChannels
            let channels = input.channels
            for filter in 0..<filters {
                for channel in 0..<channels {
                    for tap in 0..<9 {
                        body(
                            ((filter / 16 * 9 + tap) * stored + channel) * 16 + filter % 16,
                            (filter * channels + channel) * 9 + tap)
                    }
                }
            }
        case .fullyConnected(let units, let input):
            let stored = input.storedChannels
            let area = input.height * input.width
            for unit in 0..<units {
                let panel = unit / 16 * input.storedCount * 16 + unit % 16
                let row = unit * area * input.channels
                for channel in 0..<input.channels {
                    for pixel in 0..<area {
                        body(panel + (pixel * stored + channel) * 16, row + channel * area + pixel)
                    }
                }
            }
        case .bias(let count): for index in 0..<count { body(index, index) }
        }
    }
}
