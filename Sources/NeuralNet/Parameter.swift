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
        /// The stored outputs that the device holds; all, unless the layer is split.
        fileprivate var held: Range<Int>
        fileprivate var isSplit = false
        /// The stored outputs of a slice.
        fileprivate var slice: Int

        private init(
            outputs: Int, channels: Int, storedChannels: Int, taps: Int, shape: [Int], isBias: Bool
        ) {
            self.outputs = outputs
            self.channels = channels
            self.storedChannels = storedChannels
            self.taps = taps
            self.shape = shape
            self.isBias = isBias
            held = 0..<outputs.roundedUp(to: 16)
            slice = held.count
        }

        /// Returns the layout of a layer whose outputs come in slices.
        ///
        /// - Parameter part: the slices that the device holds; nil if the layer is not split
        func sliced(_ slices: Slices, part: Range<Int>?) -> Layout {
            var layout = self
            layout.slice = slices.size
            if let part {
                layout.held = slices.outputs(of: part)
                layout.isSplit = true
            }
            return layout
        }

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
        var bias = Layout.bias(count: weight.outputs)
        (bias.held, bias.isSplit, bias.slice) = (weight.held, weight.isSplit, weight.slice)
        return [
            Parameter(
                name: module + ".weight", layout: weight, index: firstIndex,
                initialDeviation: initialDeviation),
            Parameter(name: module + ".bias", layout: bias, index: firstIndex + 1),
        ]
    }

    /// Whether weight decay acts on it: on weights, not on biases.
    public var decays: Bool { !layout.isBias }

    /// torchvision's shape.
    public var shape: [Int] { layout.shape }

    /// Numbers in torchvision's shape.
    public var count: Int { shape.reduce(1, *) }

    /// Whether the layer is split, so that the device holds a part of the outputs, or none.
    public var isSplit: Bool { layout.isSplit }

    /// The outputs that the device holds, without padding.
    public var heldOutputs: Range<Int> { layout.held.clamped(to: 0..<layout.outputs) }

    /// The numbers that the device holds, by their places in torchvision's order.
    public var heldNumbers: Range<Int> {
        heldOutputs.lowerBound * numbersPerOutput..<heldOutputs.upperBound * numbersPerOutput
    }

    /// Floats on the device.
    public var storedCount: Int { layout.held.count * layout.taps * layout.storedChannels }

    /// Divides the stored floats into chunks, which begin anew with each slice, and returns the number of all
    /// chunks and those that the device holds.
    ///
    /// The chunks do not depend on how a layer is split.
    ///
    /// - Returns: `held` has runs of chunks: the stored floats, and the first chunk's number
    func chunks(of size: Int) -> (count: Int, held: [(floats: Range<Int>, first: Int)]) {
        let perOutput = layout.taps * layout.storedChannels
        let all = layout.outputs.roundedUp(to: 16)
        // Chunks that slices contain whole are the same without slices.
        let run = layout.slice * perOutput % size == 0 ? all : layout.slice
        let before = layout.held.lowerBound
        if run == all {
            let first = before * perOutput / size
            return (
                (all * perOutput).ceilDivided(by: size), storedCount == 0 ? [] : [(0..<storedCount, first)]
            )
        }
        let perSlice = (run * perOutput).ceilDivided(by: size)
        var count = 0
        var held: [(floats: Range<Int>, first: Int)] = []
        for (slice, start) in stride(from: 0, to: all, by: run).enumerated() {
            let outputs = start..<min(all, start + run)
            count += (outputs.count * perOutput).ceilDivided(by: size)
            if outputs.clamped(to: layout.held) == outputs {
                let floats = (start - before) * perOutput..<(outputs.upperBound - before) * perOutput
                held.append((floats, slice * perSlice))
            }
        }
        return (count, held)
    }

    /// Returns numbers in torchvision's order, those that the device holds, in the device's.
    public func stored(_ values: [Float]) -> [Float] {
        precondition(values.count == heldNumbers.count)
        var result = [Float](repeating: 0, count: storedCount)
        result.withUnsafeMutableBufferPointer { target in
            values.withUnsafeBufferPointer { source in
                forEachElement(of: heldOutputs.count) { targetIndex, sourceIndex in
                    target[targetIndex] = source[sourceIndex]
                }
            }
        }
        return result
    }

    /// Returns numbers in the device's order in torchvision's.
    public func exported(_ values: [Float]) -> [Float] {
        precondition(values.count == storedCount)
        return exported(values, outputs: heldOutputs.count)
    }

    /// Numbers per output in torchvision's order.
    public var numbersPerOutput: Int { layout.channels * layout.taps }

    /// Floats of a panel of 16 outputs on the device.
    public var panelFloats: Int { 16 * layout.taps * layout.storedChannels }

    /// Returns the numbers of some outputs in torchvision's order; `values` are those of whole panels.
    public func exported(_ values: [Float], outputs: Int) -> [Float] {
        let count = outputs * numbersPerOutput
        return [Float](unsafeUninitializedCapacity: count) { target, initialized in
            values.withUnsafeBufferPointer { source in
                forEachElement(of: outputs) { sourceIndex, targetIndex in
                    target[targetIndex] = source[sourceIndex]
                }
            }
            initialized = count
        }
    }

    /// Calls `body(index on the device, index in torchvision's order)` for every element of some outputs.
    @inline(__always) private func forEachElement(of outputs: Int, _ body: (Int, Int) -> Void) {
        let (channels, storedChannels, taps) = (layout.channels, layout.storedChannels, layout.taps)
        for output in 0..<outputs {
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
