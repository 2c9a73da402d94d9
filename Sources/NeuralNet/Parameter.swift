import Basics

/// One learnt array of a layer: its name and shape as torchvision's VGG has them, and its layout on the
/// device.
public final class Parameter: Sendable {
    /// Describes an array of numbers `[outputs][channels][taps]` in torchvision's order.
    ///
    /// The device stores it in panels of 16 outputs, `[⌈outputs/16⌉][taps][stored channels][16]`, with zeros
    /// in all added lanes.
    public struct Layout: Equatable, Sendable {
        fileprivate let outputs, channels, storedChannels, taps: Int
        /// torchvision's shape.
        fileprivate let shape: [Int]
        fileprivate let isBias: Bool

        /// The weights of a convolution, `[filters][channels][side][side]`; a tap is a weight of the window.
        public static func convolution(filters: Int, side: Int = 3, input: FeatureShape) -> Layout {
            Layout(
                outputs: filters, channels: input.channels, storedChannels: input.storedChannels,
                taps: side * side, shape: [filters, input.channels, side, side], isBias: false)
        }

        /// The weights of a fully connected layer, `[units][inputs]`; a tap is a pixel of the input.
        ///
        /// torchvision flattens the input as channels, rows, columns.
        public static func fullyConnected(units: Int, input: FeatureShape) -> Layout {
            Layout(
                outputs: units, channels: input.channels, storedChannels: input.storedChannels,
                taps: input.height * input.width, shape: [units, input.count], isBias: false)
        }

        /// A bias, `[outputs]`.
        public static func bias(count: Int) -> Layout {
            Layout(outputs: count, channels: 1, storedChannels: 1, taps: 1, shape: [count], isBias: true)
        }
    }

    /// Such as `features.0.weight`.
    public let name: String
    private let layout: Layout
    /// The index in `Network.parameters`.
    public let index: Int
    /// Standard deviation of the normal distribution from which initial values are drawn; 0 for biases.
    public let initialDeviation: Float

    /// - Parameter initialDeviation: nil for He's √(2 / inputs) (He et al. 2015), which keeps the size of
    ///   activations through ReLUs.
    init(name: String, layout: Layout, index: Int, initialDeviation: Float? = nil) {
        self.name = name
        self.layout = layout
        self.index = index
        self.initialDeviation =
            layout.isBias ? 0 : initialDeviation ?? (2 / Float(layout.taps * layout.channels)).squareRoot()
    }

    /// Returns the two parameters of a module such as `features.0`.
    static func weightAndBias(
        _ weight: Layout, module: String, firstIndex: Int, initialDeviation: Float? = nil
    ) -> [Parameter] {
        [
            Parameter(
                name: module + ".weight", layout: weight, index: firstIndex,
                initialDeviation: initialDeviation),
            Parameter(name: module + ".bias", layout: .bias(count: weight.outputs), index: firstIndex + 1),
        ]
    }

    /// Whether weight decay acts on it: on weights, not on biases.
    public var decays: Bool { !layout.isBias }

    /// torchvision's shape.
    public var shape: [Int] { layout.shape }

    /// Numbers in torchvision's shape.
    public var count: Int { shape.reduce(1, *) }

    /// Floats on the device.
    public var storedCount: Int { layout.outputs.roundedUp(to: 16) * layout.taps * layout.storedChannels }

    /// Returns numbers in torchvision's order in the device's.
    public func stored(_ values: [Float]) -> [Float] {
        precondition(values.count == count)
        var result = [Float](repeating: 0, count: storedCount)
        result.withUnsafeMutableBufferPointer { target in
            values.withUnsafeBufferPointer { source in
                forEachElement { targetIndex, sourceIndex in target[targetIndex] = source[sourceIndex] }
            }
        }
        return result
    }

    /// Returns numbers in the device's order in torchvision's.
    public func exported(_ values: [Float]) -> [Float] {
        precondition(values.count == storedCount)
        return [Float](unsafeUninitializedCapacity: count) { target, initialized in
            values.withUnsafeBufferPointer { source in
                forEachElement { sourceIndex, targetIndex in target[targetIndex] = source[sourceIndex] }
            }
            initialized = count
        }
    }

    /// Calls `body(index on the device, index in torchvision's order)` for every element.
    @inline(__always) private func forEachElement(_ body: (Int, Int) -> Void) {
        let (channels, storedChannels, taps) = (layout.channels, layout.storedChannels, layout.taps)
        for output in 0..<layout.outputs {
            let panel = output / 16 * taps * storedChannels * 16 + output % 16
            for channel in 0..<channels {
                for tap in 0..<taps {
                    body(
                        panel + (tap * storedChannels + channel) * 16,
                        (output * channels + channel) * taps + tap)
                }
            }
        }
    }
}
