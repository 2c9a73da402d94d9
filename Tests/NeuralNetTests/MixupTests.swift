import Compute
import Oracle
import TestSupport
import Testing

@testable import NeuralNet

extension OnDevices {
    @Suite struct MixupTests {
        /// Pairs from both ends, of any number of images, of which the middle one keeps its pixels.
        @Test(arguments: testDevices, [1, 2, 5, 8]) func mixesPairs(
            description: DeviceDescription, rows: Int
        ) throws {
            let device = try open(description)
            let (pixels, first) = (67, 2)
            var numbers = TestNumbers(rows)
            let images = numbers.floats(rows * pixels * 4)
            let shares = [0.5, 0.5] + (0..<rows).map { $0 == 1 ? Float(1) : Float($0 + 1) / 16 }
            let buffer = try Guarded(device, images)
            let mixup = try Mixup(alpha: 1, seed: 1, device: device)
            try mixup.mix(
                buffer.buffer, shares: Buffer(device, shares), pixels: pixels,
                pass: Pass(batch: rows, training: true, firstImage: 7, firstRecord: first))
            let exact = images.indices.map { place -> Double in
                let (row, rest) = (place / (pixels * 4), place % (pixels * 4))
                let other = Double(images[(rows - 1 - row) * pixels * 4 + rest])
                let share = Double(shares[first + row])
                return row == rows - 1 - row
                    ? Double(images[place]) : share * Double(images[place]) + (1 - share) * other
            }
            let values = try buffer.values()
            #expect(relativeError(values, exact) < Tolerance.elementwise)
            // A share of 1 keeps an image's bits.
            if rows > 1 {
                let row = pixels * 4..<2 * pixels * 4
                #expect(Array(values[row]) == Array(images[row]))
            }
        }

        /// Beta(α, α) has the mean 1/2 and the variance 1/(4 (2α + 1)).
        @Test(arguments: [0.001, 0.2, 1, 50]) func sharesHaveTheRightMoments(_ alpha: Double) {
            let draws = (0..<10_000).map {
                Double(Mixup.share(alpha, seed: 5, step: $0 / 100, image: $0 % 100))
            }
            #expect(draws.allSatisfy { (0...1).contains($0) })
            let variance = 0.25 / (2 * alpha + 1)
            let mean = draws.reduce(0, +) / 10_000
            // Five deviations of the mean of 10,000 draws; the variance's own deviation is below 2 / 100 of
            // it.
            #expect(abs(mean - 0.5) < 5 * variance.squareRoot() / 100)
            let found = draws.reduce(0) { $0 + ($1 - 0.5) * ($1 - 0.5) } / 10_000
            #expect(abs(found - variance) < 0.1 * variance)
            #expect(Set(draws).count > (alpha < 0.1 ? 2 : 9000))
        }

        /// An image's share depends on its place in the mini-batch, and not on the pass that has it.
        @Test(arguments: testDevices.prefix(1)) func sharesDependOnThePlace(
            description: DeviceDescription
        ) throws {
            let mixup = try Mixup(alpha: 1, seed: 9, device: open(description))
            let ones = [Float](repeating: 1, count: 8)
            let all = mixup.shares(step: 3, firstImage: 0, weights: ones)
            #expect(all[4...] == mixup.shares(step: 3, firstImage: 4, weights: ones.prefix(4))[...])
            #expect(all != mixup.shares(step: 4, firstImage: 0, weights: ones))
            #expect(
                try all
                    != Mixup(alpha: 1, seed: 8, device: open(description)).shares(
                        step: 3, firstImage: 0, weights: ones))
            #expect(Set(all).count == 8)
            // Neither an image that could not be read nor its partner is mixed.
            var weights = ones
            weights[1] = 0
            let without = mixup.shares(step: 3, firstImage: 0, weights: weights)
            #expect(without == all.indices.map { $0 == 1 || $0 == 6 ? 1 : all[$0] })
            #expect(mixup.shares(step: 0, firstImage: 0, weights: [1, 1, 1])[1] == 1)
        }
    }
}
