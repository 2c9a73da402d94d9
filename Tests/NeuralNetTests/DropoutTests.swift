import Compute
import Randomness
import TestSupport
import Testing

@testable import NeuralNet

extension OnDevices {
    @Suite struct DropoutTests {
        private let shape = FeatureShape(height: 1, width: 1, channels: 52)
        private let rate = 0.3
        private let layerIndex = 11

        private func dropout(rate: Double, layerIndex: Int, device: Device) throws -> any Layer {
            let plan = LayerPlan(
                DropoutSpec(rate: rate), input: shape, index: layerIndex, device: device.description)
            return try plan.makeLayer(on: device)
        }

        /// Which elements of a mini-batch a layer keeps, from the generator in Swift.
        private func mask(_ batch: Int, seed: UInt64, step: UInt64, rate: Double) -> [Bool] {
            let key = Philox.key(seed: seed, purpose: .dropout)
            return (0..<batch * shape.storedCount).map { element in
                let counter = SIMD4(
                    UInt32(element / 4), UInt32(layerIndex), UInt32(truncatingIfNeeded: step),
                    UInt32(truncatingIfNeeded: step >> 32))
                return Double(Philox.block(counter: counter, key: key)[element % 4]) >= rate * 0x1p32
            }
        }

        @Test(arguments: testDevices) func maskIsThatOfTheGenerator(description: DeviceDescription) throws {
            let device = try open(description)
            let layer = try dropout(rate: rate, layerIndex: layerIndex, device: device)
            let batch = 7
            let values = (0..<batch * shape.storedCount).map { Float($0 + 1) }
            let seed: UInt64 = 0x1_0000_0005
            let step: UInt64 = 0x3_0000_0009
            let kept = mask(batch, seed: seed, step: step, rate: rate)
            let expected = zip(values, kept).map { $1 ? $0 * Float(1 / (1 - rate)) : 0 }
            let buffer = try Guarded(device, values)
            try layer.forward(
                input: buffer.buffer, output: buffer.buffer,
                pass: Pass(batch: batch, training: true, seed: seed, step: step))
            #expect(try buffer.values() == expected)
            // 448 draws with 0.7: a deviation of 9.7, five of them.
            #expect(abs(kept.count { $0 } - 314) < 49)

            // Backward: the same mask on a gradient.
            let gradient = try Guarded(device, values)
            try layer.backward(
                input: buffer.buffer, output: buffer.buffer, outputGradient: gradient.buffer,
                inputGradient: gradient.buffer, parameterGradients: [],
                pass: Pass(batch: batch, training: true, seed: seed, step: step))
            #expect(try gradient.values() == expected)

            // A mini-batch in parts draws what it draws as a whole.
            for (first, count) in [(0, 3), (3, 4)] {
                let range = first * shape.storedCount..<(first + count) * shape.storedCount
                let part = try Guarded(device, Array(values[range]))
                try layer.forward(
                    input: part.buffer, output: part.buffer,
                    pass: Pass(batch: count, training: true, seed: seed, step: step, firstImage: first))
                #expect(try part.values() == Array(expected[range]))
            }
        }

        @Test(arguments: testDevices) func otherStepsSeedsAndLayersDrawOtherMasks(
            description: DeviceDescription
        ) throws {
            let device = try open(description)
            func zeros(layerIndex: Int, seed: UInt64, step: UInt64) throws -> [Bool] {
                let layer = try dropout(rate: rate, layerIndex: layerIndex, device: device)
                let buffer = try Guarded(device, count: 5 * shape.storedCount, filledWith: 1)
                try layer.forward(
                    input: buffer.buffer, output: buffer.buffer,
                    pass: Pass(batch: 5, training: true, seed: seed, step: step))
                return try buffer.values().map { $0 == 0 }
            }
            let masks = try [(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2), (1, 1, 1 << 32)].map {
                layer, seed, step in try zeros(layerIndex: layer, seed: UInt64(seed), step: UInt64(step))
            }
            #expect(Set(masks).count == masks.count)
            #expect(try zeros(layerIndex: 1, seed: 1, step: 1) == masks[0])
        }

        @Test(arguments: testDevices) func leavesAloneOutsideTrainingAndAtRateZero(
            description: DeviceDescription
        ) throws {
            let device = try open(description)
            let values = (0..<2 * shape.storedCount).map { Float($0) }
            for (rate, training) in [(0.5, false), (0.0, true)] {
                let layer = try dropout(rate: rate, layerIndex: 1, device: device)
                let buffer = try Guarded(device, values)
                try layer.forward(
                    input: buffer.buffer, output: buffer.buffer, pass: Pass(batch: 2, training: training))
                #expect(try buffer.values() == values)
            }
        }
    }
}
