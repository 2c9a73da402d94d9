import Compute
import Oracle
import TestSupport
import Testing

@testable import NeuralNet

extension OnDevices {
    @Suite struct SoftmaxTests {
        private func stored(_ rows: [Float], classes: Int) -> [Float] {
            // What lies past the classes must not matter.
            FeatureShape(height: 1, width: 1, channels: classes).stored(rows, padding: 1e30)
        }

        @Test(arguments: testDevices, [2, 7, 16, 37]) func lossGradientAndRanks(
            description: DeviceDescription, classes: Int
        ) throws {
            let device = try open(description)
            let rows = 9, first = 3
            var numbers = TestNumbers(classes)
            // Whole numbers, so that scores tie, and a row of large ones.
            var scores = numbers.integers(rows * classes, below: 7).map { Float($0) - 3 }
            for column in 0..<classes { scores[classes + column] = column % 2 == 0 ? 1000 : -1000 }
            let labels = numbers.integers(first + rows, below: classes)
            let weights = (0..<first + rows).map { [Float(1), 0.5, 0, 2][$0 % 4] }
            let loss = try SoftmaxCrossEntropy(device: device, classes: classes, maximumBatch: rows)
            let gradient = try Guarded(device, count: stored(scores, classes: classes).count)
            let scale: Float = 0.25
            try loss.forwardBackward(
                logits: Buffer(device, stored(scores, classes: classes)),
                labels: Buffer(device, labels.map { Int32($0) }), weights: Buffer(device, weights),
                gradient: gradient.buffer, scale: scale, step: 5, addsToStep: false,
                pass: Pass(batch: rows, training: true, firstImage: first))

            let own = Array(labels[first...]), ownWeights = Array(weights[first...])
            let exact = Oracle.softmaxCrossEntropy(
                scores.doubles, rows: rows, classes: classes, labels: own,
                weights: ownWeights.doubles, scale: Double(scale))
            let shape = FeatureShape(height: 1, width: 1, channels: classes)
            #expect(relativeError(shape.unstored(try gradient.values()), exact.gradient) < Tolerance.softmax)
            let results = try loss.readRows(rows)
            #expect(
                relativeError(results.map(\.loss), zip(exact.losses, ownWeights).map { $0 * Double($1) })
                    < Tolerance.softmax)
            for row in 0..<rows {
                let range = Array(scores[row * classes..<(row + 1) * classes].map { Double($0) })
                let rank = Oracle.rank(of: own[row], in: range)
                #expect(results[row].top1 == (rank < 1 ? ownWeights[row] : 0))
                #expect(results[row].top5 == (rank < 5 ? ownWeights[row] : 0))
                #expect(Oracle.rank(of: results[row].predicted, in: range) == 0)
            }
            let sums = try loss.totals(step: 5)
            #expect(
                sums.top1 == results.reduce(0) { $0 + $1.top1 }
                    && sums.top5 == results.reduce(0) { $0 + $1.top5 })
            // Bodies add in different orders; the weights are small fractions of 2, whose sums are exact.
            #expect(
                relativeError([sums.loss], [results.reduce(0) { $0 + Double($1.loss) }]) < Tolerance.sum)
            #expect(sums.weight == ownWeights.reduce(0, +))
        }

        /// Mixed labels, weights of classes and smoothing change the gradient; loss and hits are those of the
        /// labels.
        @Test(arguments: testDevices, [2, 7, 16, 137]) func softTargets(
            description: DeviceDescription, classes: Int
        ) throws {
            let device = try open(description)
            let rows = 9, first = 3
            var numbers = TestNumbers(classes)
            let scores = numbers.floats(rows * classes, in: -3...3)
            let labels = numbers.integers(first + rows, below: classes)
            let weights = (0..<first + rows).map { [Float(1), 0.5, 0, 2][$0 % 4] }
            let shares = (0..<first + rows).map { [Float(1), 0.125, 0.75, 0][$0 % 4] }
            let rule = LossRule(smoothing: 0.125, classWeights: numbers.floats(classes, in: 0.25...4))
            let loss = try SoftmaxCrossEntropy(
                device: device, classes: classes, maximumBatch: rows, rule: rule)
            let gradient = try Guarded(device, count: stored(scores, classes: classes).count)
            try loss.forwardBackward(
                logits: Buffer(device, stored(scores, classes: classes)),
                labels: Buffer(device, labels.map { Int32($0) }), weights: Buffer(device, weights),
                shares: Buffer(device, shares), gradient: gradient.buffer, scale: 0.25, step: 5,
                addsToStep: false, pass: Pass(batch: rows, training: true, firstImage: first))

            // Row r is mixed with row 8 − r.
            let own = (0..<rows).map { (labels[first + $0], labels[first + rows - 1 - $0]) }
            let (ownWeights, ownShares) = (
                weights[first...].map(Double.init), shares[first...].map(Double.init)
            )
            let unweighted = Oracle.targets(
                own, shares: ownShares, classWeights: rule.classWeights?.doubles,
                smoothing: 0.125, classes: classes)
            let targets = unweighted.enumerated().map { ownWeights[$0.offset / classes] * $0.element }
            let exact = Oracle.crossEntropy(scores.doubles, targets: targets, classes: classes, scale: 0.25)
            let shape = FeatureShape(height: 1, width: 1, channels: classes)
            #expect(relativeError(shape.unstored(try gradient.values()), exact.gradient) < Tolerance.softmax)

            let results = try loss.readRows(rows)
            let plain = Oracle.crossEntropy(
                scores.doubles, targets: Oracle.targets(own, shares: ownShares, classes: classes),
                classes: classes, scale: 1)
            #expect(
                relativeError(results.map(\.loss), zip(plain.losses, ownWeights).map { $0 * $1 })
                    < Tolerance.softmax)
            for row in 0..<rows {
                let range = Array(scores[row * classes..<(row + 1) * classes].map { Double($0) })
                let (one, two) = (
                    Oracle.rank(of: own[row].0, in: range), Oracle.rank(of: own[row].1, in: range)
                )
                func hits(_ best: Int) -> Double {
                    ownWeights[row]
                        * ((one < best ? ownShares[row] : 0) + (two < best ? 1 - ownShares[row] : 0))
                }
                #expect(Double(results[row].top1) == hits(1) && Double(results[row].top5) == hits(5))
            }
        }

        /// Without mixing, weights of 1 and no smoothing, the bits are those without any of these; a share of
        /// 1 silences the second label's score.
        @Test(arguments: testDevices) func plainTargetsHaveTheSameBits(description: DeviceDescription) throws
        {
            let device = try open(description)
            let (rows, classes) = (4, 5)
            var numbers = TestNumbers(5)
            var scores = numbers.floats(rows * classes, in: -3...3)
            scores[3] = -.infinity
            func gradient(_ shares: [Float]?, _ rule: LossRule) throws -> ([Float], [SoftmaxCrossEntropy.Row])
            {
                let loss = try SoftmaxCrossEntropy(
                    device: device, classes: classes, maximumBatch: rows, rule: rule)
                let gradient = try Guarded(device, count: rows * 16)
                try loss.forwardBackward(
                    logits: Buffer(device, stored(scores, classes: classes)),
                    labels: Buffer(device, [Int32(1), 0, 2, 3]),
                    weights: Buffer(device, [Float(1), 2, 0, 1]),
                    shares: shares.map { try Buffer(device, $0) }, gradient: gradient.buffer, scale: 0.3,
                    step: 0, addsToStep: false, pass: Pass(batch: rows, training: true))
                return (try gradient.values(), try loss.readRows(rows))
            }
            let plain = try gradient(nil, LossRule())
            let ones = try gradient(
                [1, 1, 1, 1], LossRule(classWeights: [Float](repeating: 1, count: classes)))
            #expect(plain.0 == ones.0 && plain.1 == ones.1)
            #expect(plain.0.allSatisfy { $0.isFinite } && plain.1.allSatisfy { $0.loss.isFinite })
            #expect(try gradient([1, 0.5, 1, 1], LossRule()).0 != plain.0)
            #expect(try gradient(nil, LossRule(smoothing: 0.1)).0 != plain.0)
            #expect(try gradient(nil, LossRule(smoothing: 0.1)).1 == plain.1)
        }

        /// A photograph that could not be read has weight 0 and any scores; a network that has broken down is
        /// not right.
        @Test(arguments: testDevices) func scoresThatAreNotNumbers(description: DeviceDescription) throws {
            let device = try open(description)
            let classes = 6
            let loss = try SoftmaxCrossEntropy(device: device, classes: classes, maximumBatch: 5)
            let gradient = try Guarded(device, count: 5 * 16)
            let rows: [[Float]] = [
                [Float](repeating: .nan, count: 6), [.infinity, -.infinity, 0, 0, 0, 0], [0, 1, 2, 3, 4, 5],
                [Float](repeating: .nan, count: 6), [.nan, 1, 2, 3, 4, 5],
            ]
            try loss.forwardBackward(
                logits: Buffer(device, stored(rows.flatMap { $0 }, classes: classes)),
                labels: Buffer(device, [Int32(0), 1, 5, 0, 0]),
                weights: Buffer(device, [Float(0), 0, 1, 1, 1]), gradient: gradient.buffer, scale: 1, step: 0,
                addsToStep: false, pass: Pass(batch: 5, training: true))
            let values = try gradient.values()
            #expect(values[..<32].allSatisfy { $0 == 0 }, "a row of weight 0 has a gradient")
            #expect(values[32..<48].allSatisfy { $0.isFinite })
            #expect(values[48..<54].allSatisfy { $0.isNaN }, "a row that has broken down hides it")
            let results = try loss.readRows(5)
            #expect(results[0] == .init(loss: 0, top1: 0, top5: 0, predicted: results[0].predicted))
            #expect(results[1] == .init(loss: 0, top1: 0, top5: 0, predicted: results[1].predicted))
            #expect(results[2].top1 == 1 && results[2].predicted == 5)
            #expect(results[3].loss.isNaN)
            for (row, label) in [(3, 0), (4, 0)] {
                let rank = Oracle.rank(of: label, in: rows[row].map { Double($0) })
                #expect(
                    results[row].top1 == (rank < 1 ? 1 : 0) && results[row].top5 == (rank < 5 ? 1 : 0),
                    "row \(row)")
            }
            #expect((0..<classes).contains(results[3].predicted))
            #expect(results[4].predicted == 5)
        }

        @Test(arguments: testDevices) func totalsAddUpOverPassesAndStayForSomeSteps(
            description: DeviceDescription
        ) throws {
            let device = try open(description)
            let loss = try SoftmaxCrossEntropy(device: device, classes: 2, maximumBatch: 2, keptSteps: 3)
            let labels = try Buffer(device, [Int32](repeating: 0, count: 4))
            let weights = try Buffer(device, [Float(1), 0.5, 2, 4])
            let gradient = try Buffer(device, floatCount: 32)
            let logits = try Buffer(device, stored([1, 0, 1, 0], classes: 2))
            for step in 0..<3 {
                for part in 0..<2 {
                    try loss.forwardBackward(
                        logits: logits, labels: labels, weights: weights, gradient: gradient, scale: 1,
                        step: step, addsToStep: part > 0,
                        pass: Pass(batch: 2, training: true, firstImage: 2 * part))
                }
            }
            for step in 0..<3 {
                let sums = try loss.totals(step: step)
                #expect(sums.weight == 7.5 && sums.top1 == 7.5 && sums.top5 == 7.5)
                // ln(1 + 1/e) a row.
                #expect(abs(Double(sums.loss) / 7.5 - 0.3132616875182228) < Tolerance.softmax)
            }
            try loss.forwardBackward(
                logits: logits, labels: labels, weights: weights, gradient: gradient, scale: 1, step: 3,
                addsToStep: false, pass: Pass(batch: 2, training: true))
            #expect(try loss.totals(step: 3).weight == 1.5 && loss.totals(step: 1).weight == 7.5)
        }

        @Test(arguments: testDevices, [2, 10, 33]) func posteriors(
            description: DeviceDescription, classes: Int
        ) throws {
            let device = try open(description)
            let rows = 5
            var numbers = TestNumbers(classes)
            let scores = numbers.floats(rows * classes, in: -10...10)
            let loss = try SoftmaxCrossEntropy(device: device, classes: classes, maximumBatch: rows)
            let logits = stored(scores, classes: classes)
            let probabilities = try Guarded(device, count: logits.count)
            try loss.softmax(logits: Buffer(device, logits), probabilities: probabilities.buffer, batch: rows)
            let exact = Oracle.softmaxCrossEntropy(
                scores.doubles, rows: rows, classes: classes,
                labels: [Int](repeating: 0, count: rows), scale: 1)
            let values = FeatureShape(height: 1, width: 1, channels: classes).unstored(
                try probabilities.values())
            #expect(relativeError(values, exact.probabilities) < Tolerance.softmax)
        }

        /// The totals of a step do not depend on how its images are divided into passes that are added up.
        @Test(arguments: testDevices) func totalsOfAStepAreExactSums(_ description: DeviceDescription) throws
        {
            let device = try open(description)
            let (rows, classes) = (24, 7)
            var numbers = TestNumbers(4)
            let logits = stored(numbers.floats(rows * classes, in: -10...10), classes: classes)
            let labels = numbers.integers(rows, below: classes).map { Int32($0) }
            let exact = Oracle.softmaxCrossEntropy(
                logits.indices.filter { $0 % 16 < classes }.map { Double(logits[$0]) }, rows: rows,
                classes: classes, labels: labels.map { Int($0) }, scale: 1)
            /// The totals of passes of 8 images, in this order.
            func totals(_ order: [Int]) throws -> (loss: Float, weight: Float) {
                let loss = try SoftmaxCrossEntropy(
                    device: device, classes: classes, maximumBatch: 8, stepImages: rows)
                for (place, part) in order.enumerated() {
                    let images = part * 8..<part * 8 + 8
                    try loss.forwardBackward(
                        logits: Buffer(device, Array(logits[part * 8 * 16..<(part + 1) * 8 * 16])),
                        labels: Buffer(device, Array(labels[images])),
                        weights: Buffer(device, [Float](repeating: 1, count: 8)),
                        gradient: Buffer(device, floatCount: 8 * 16), scale: 1, step: 0,
                        addsToStep: place > 0, pass: Pass(batch: 8, training: true))
                }
                let values: [Float] = try loss.totals.read(4)
                return (values[0], values[3])
            }
            let first = try totals([0, 1, 2])
            for order in [[2, 1, 0], [1, 2, 0]] { #expect(try totals(order).loss == first.loss) }
            #expect(first.weight == 24)
            // Three passes, each rounded to a multiple of 2⁻¹⁴ (24 images, so 2⁵⁻¹⁹).
            let sum = exact.losses.reduce(0, +)
            #expect(abs(Double(first.loss) - sum) < 3 * 0x1p-15 + 1e-5 * sum)
            #expect(first.loss * 0x1p14 == (first.loss * 0x1p14).rounded())
        }
    }
}
