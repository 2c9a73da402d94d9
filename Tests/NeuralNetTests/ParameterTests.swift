import Compute
import TestSupport
import Testing

@testable import NeuralNet

@Suite struct ParameterTests {
    static let layouts: [Parameter.Layout] = [
        .convolution(filters: 20, input: FeatureShape.image(size: 4)),
        .convolution(filters: 5, input: FeatureShape(height: 2, width: 2, channels: 17)),
        .convolution(filters: 48, input: FeatureShape(height: 2, width: 2, channels: 16)),
        .fullyConnected(units: 7, input: FeatureShape.image(size: 3)),
        .fullyConnected(units: 33, input: FeatureShape(height: 3, width: 2, channels: 20)), .bias(count: 21),
    ]

    /// Each of torchvision's numbers is stored once, and all other elements are zero.
    @Test(arguments: layouts) func roundTrip(layout: Parameter.Layout) {
        let parameter = Parameter(name: "p", layout: layout, index: 0)
        let values = (0..<parameter.count).map { Float($0 + 1) }
        let stored = parameter.stored(values)
        #expect(stored.count == parameter.storedCount && stored.count % 16 == 0)
        #expect(parameter.exported(stored) == values)
        #expect(stored.filter { $0 != 0 }.sorted() == values)
    }

    @Test func indicesFollowTheLayout() {
        let convolution = Parameter(
            name: "c",
            layout: .convolution(filters: 20, input: FeatureShape(height: 1, width: 1, channels: 17)),
            index: 0)
        #expect(convolution.shape == [20, 17, 3, 3])
        // Filter 18, channel 5, row 2, column 1: panel 1, lane 2, of 32 stored channels.
        var values = [Float](repeating: 0, count: convolution.count)
        values[((18 * 17 + 5) * 3 + 2) * 3 + 1] = 1
        #expect(convolution.stored(values).firstIndex(of: 1) == (((1 * 3 + 2) * 3 + 1) * 32 + 5) * 16 + 2)

        let connected = Parameter(
            name: "f",
            layout: .fullyConnected(units: 20, input: FeatureShape(height: 2, width: 3, channels: 5)),
            index: 0)
        #expect(connected.shape == [20, 30])
        // Unit 18, channel 3, row 1, column 0: torchvision's input (3 · 2 + 1) · 3, ours 1 · 3 · 16 + 3.
        values = [Float](repeating: 0, count: connected.count)
        values[18 * 30 + (3 * 2 + 1) * 3] = 1
        #expect(connected.stored(values).firstIndex(of: 1) == (1 * 96 + 1 * 3 * 16 + 3) * 16 + 2)
    }

    @Test func decayAndDeviation() {
        let bias = Parameter(name: "b", layout: .bias(count: 3), index: 0)
        let convolution = Parameter(
            name: "c", layout: .convolution(filters: 2, input: .image(size: 8)), index: 0)
        let connected = Parameter(
            name: "f", layout: .fullyConnected(units: 2, input: .image(size: 2)), index: 0)
        #expect(!bias.decays && convolution.decays && connected.decays)
        #expect(
            convolution.initialDeviation == (2 / Float(27)).squareRoot()
                && connected.initialDeviation == (2 / Float(12)).squareRoot())
        #expect(bias.initialDeviation == 0)
    }
}

@Suite struct ParameterArenaTests {
    @Test(arguments: testDevices) func buffersStayBelowTheLargest(description: DeviceDescription) {
        let alignment = max(128, description.baseAlignment)
        let half = description.largestBuffer / 4 / 2 + 1000
        let arrangement = ParameterArena.arrange([5, half, 16, half, half, 1], device: description)
        #expect(arrangement.starts.map(\.buffer) == [0, 0, 0, 1, 2, 2])
        #expect(arrangement.starts.allSatisfy { $0.byteOffset % alignment == 0 })
        #expect(
            arrangement.starts.map(\.byteOffset)[..<2] == [0, alignment]
                && arrangement.starts[3].byteOffset == 0)
        #expect(arrangement.bufferSizes.allSatisfy { $0 <= description.largestBuffer })
        for (start, count) in zip(arrangement.starts, [5, half, 16, half, half, 1]) {
            #expect(start.byteOffset + 4 * count <= arrangement.bufferSizes[start.buffer])
        }
        #expect(ParameterArena.arrange([], device: description).bufferSizes.isEmpty)
    }
}
