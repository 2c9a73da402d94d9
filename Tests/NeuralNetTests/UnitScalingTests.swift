import Compute
import TestSupport
import Testing

@testable import NeuralNet

extension OnDevices {
    /// Weights that are scaled by the sums over some images.
    @Suite struct UnitScalingTests {
        private static let model = "8,16,M,20,F12"
        private static let size = 9

        /// Returns a network, and a function that fills its input with one of several batches of the same 24
        /// images.
        private func network(maximumBatch: Int, on device: Device) throws -> (Network, (Int) throws -> [Bool])
        {
            let network = try Network(
                Architecture(parsing: Self.model), imageSize: Self.size, classes: 5,
                options: .init(maximumBatch: maximumBatch, training: true, dropout: 0), device: device)
            try network.initialize(seed: 3)
            var numbers = TestNumbers(1)
            let images = (0..<24).map { _ in numbers.floats(3 * Self.size * Self.size, in: 0...1) }
            return (
                network,
                { batch in
                    let first = batch * maximumBatch
                    let part = images[first..<first + maximumBatch]
                    try network.input.write(part.flatMap { network.inputShape.stored($0) })
                    // The last image does not count, as one that could not be read.
                    return part.indices.map { $0 != 23 }
                }
            )
        }

        /// Returns the sums of a layer's units in the images that count, `[places][units]`: what ReLU leaves
        /// of them, less what it leaves of their opposites.
        private func sums(_ network: Network, _ index: Int, images: Int) throws -> [[Float]] {
            let layer = network.layers[index]
            let (weights, biases) = (
                try network.export(layer.parameters[0]), try network.export(layer.parameters[1])
            )
            let halves = try [Float(1), -1].map { sign in
                try network.load(layer.parameters[0], weights.map { $0 * sign })
                try network.load(layer.parameters[1], biases.map { $0 * sign })
                try network.forward(Pass(batch: network.options.maximumBatch, training: false))
                let stored: [Float] = try network.activations[index + 1].read(
                    images * layer.outputShape.storedCount)
                return layer.outputShape.unstored(stored)
            }
            try network.load(layer.parameters[0], weights)
            try network.load(layer.parameters[1], biases)
            let units = biases.count
            let all = zip(halves[0], halves[1]).map { $0 - $1 }
            return stride(from: 0, to: all.count, by: units).map { Array(all[$0..<$0 + units]) }
        }

        @Test(arguments: testDevices) func sumsHaveMeanZeroAndDeviationOne(
            _ description: DeviceDescription
        ) throws {
            let device = try OnDevices.open(description)
            let (network, load) = try network(maximumBatch: 24, on: device)
            let scalings = try network.scaleUnits(batches: 1, load: load)
            #expect(scalings.map(\.factors.count) == network.hiddenUnitCounts)
            #expect(network.hiddenUnitCounts == [8, 16, 20, 12])
            _ = try load(0)
            for (index, layer) in network.layers.enumerated().dropLast() where !layer.parameters.isEmpty {
                let rows = try sums(network, index, images: 23)
                for unit in rows[0].indices {
                    let values = rows.map { Double($0[unit]) }
                    let mean = values.reduce(0, +) / Double(values.count)
                    let square = values.reduce(0) { $0 + $1 * $1 } / Double(values.count)
                    // Float32 sums of some hundred products.
                    #expect(abs(mean) < 1e-4 && abs(square - 1) < 1e-3, "\(layer.name), unit \(unit)")
                }
            }
            // The last layer's scores stay small.
            #expect(try network.export(network.parameters.last!).allSatisfy { $0 == 0 })
        }

        /// A network that scales by 6 images at a time ends with the same weights, within rounding, and one
        /// that gets the factors of another rank with the same bits.
        @Test func batchesAndRanksAgree() throws {
            let device = try OnDevices.open(try #require(testDevices.first))
            let (whole, load) = try network(maximumBatch: 24, on: device)
            let scalings = try whole.scaleUnits(batches: 1, load: load)
            let (parts, loadPart) = try network(maximumBatch: 6, on: device)
            _ = try parts.scaleUnits(batches: 4, load: loadPart)
            let (told, _) = try network(maximumBatch: 2, on: device)
            try told.scaleUnits(scalings)
            for parameter in whole.parameters {
                let values = try whole.export(parameter)
                #expect(try told.export(parameter) == values)
                let others = try parts.export(parameter)
                let largest = values.map(abs).max() ?? 0
                // Passes of another size may add in another order.
                #expect(
                    zip(values, others).allSatisfy { abs($0 - $1) <= 1e-4 * max(1, largest) },
                    "\(parameter.name)")
            }
        }

        /// A unit that always gives the same sum is not blown up.
        @Test func constantUnitsKeepTheirWeights() throws {
            let device = try OnDevices.open(try #require(testDevices.first))
            let (network, _) = try network(maximumBatch: 2, on: device)
            let before = try network.export(network.parameters[0])
            try network.input.clear()
            let scalings = try network.scaleUnits(batches: 1) { _ in [true, true] }
            #expect(scalings[0].factors.allSatisfy { $0 == 1 })
            #expect(try network.export(network.parameters[0]) == before)
        }
    }
}
