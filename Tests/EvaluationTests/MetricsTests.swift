import Foundation
import Randomness
import Testing

@testable import Evaluation

@Suite struct MetricsTests {
    /// Counts posteriors, `[photographs][classes]`.
    private func metrics(_ posteriors: [Float], labels: [Int], classes: Int) -> (
        metrics: Metrics, outcomes: [Metrics.Outcome]
    ) {
        let outcomes = labels.enumerated().map { image, label in
            Array(posteriors[image * classes..<(image + 1) * classes]).withUnsafeBufferPointer {
                Metrics.Outcome(posteriors: $0, label: label)
            }
        }
        return (Metrics(outcomes, classes: classes), outcomes)
    }

    @Test func byHand() {
        // Right and certain; wrong; a tie that the lower class wins; a posterior of 0; not a number.
        let posteriors: [Float] = [0.9, 0.1, 0, 0.3, 0.6, 0.1, 0.4, 0.4, 0.2, 0.5, 0.5, 0, .nan, .nan, .nan]
        let (metrics, outcomes) = metrics(posteriors, labels: [0, 0, 1, 2, 0], classes: 3)
        #expect(outcomes.map(\.rank) == [0, 1, 1, .max, .max])
        // A posterior of 0 or NaN is not among the first five, although there are only three classes.
        #expect(metrics.images == 5 && metrics.total.top1 == 1 && metrics.total.top5 == 3)
        #expect(metrics.confusion.entries.map(\.label) == [0, 0, 1, 2])
        #expect(metrics.confusion.entries.map(\.answer) == [0, 1, 0, 0])
        #expect(metrics.confusion.entries.map(\.count) == [2, 1, 1, 1] && metrics.confusion[0, 0] == 2)
        #expect(metrics.confusion[2, 2] == 0)
        #expect(metrics.confusion.mistakes.map(\.label) == [0, 1, 2])
        #expect(metrics.byClass.map(\.images) == [3, 1, 1] && metrics.byClass.map(\.top1) == [1, 0, 0])
        let losses = [
            -log(Double(Float(0.9))), -log(Double(Float(0.3))), -log(Double(Float(0.4))),
            -log(Double(Float.leastNormalMagnitude)),
        ]
        #expect(outcomes.prefix(4).map(\.loss) == losses && outcomes[4].loss.isNaN && metrics.loss.isNaN)
        #expect(metrics.byClass[1].loss == losses[2])
    }

    @Test func topFive() {
        let row: [Float] = [0.3, 0.25, 0.2, 0.1, 0.08, 0.07]
        let six = metrics(row + row, labels: [4, 5], classes: 6).metrics
        #expect(six.top1 == 0 && six.top5 == 0.5)
        // Of equal posteriors the class listed first comes first.
        #expect(
            metrics([0.4, 0.4, 0.2, 0.4, 0.4, 0.2], labels: [0, 1], classes: 3).outcomes.map(\.rank) == [
                0, 1,
            ])
        #expect(Metrics.order([0.1, 0.5, 0.1, 0.3] as [Float]) == [1, 3, 0, 2])
    }

    /// Scores rank like posteriors: ties go to the class listed first, and NaN comes last.
    @Test func outcomeOfScores() {
        func outcome(_ scores: [Float], label: Int) -> Metrics.Outcome {
            scores.withUnsafeBufferPointer { Metrics.Outcome(scores: $0, label: label, loss: 0.5) }
        }
        let scores: [Float] = [1, 3, 3, -2]
        #expect((0..<4).map { outcome(scores, label: $0).rank } == [2, 0, 1, 3])
        let first = outcome(scores, label: 2)
        #expect(first.answer == 1 && first.label == 2 && first.loss == 0.5 && !first.isRight)
        #expect(abs(first.confidence - 1 / (2 + exp(-2) + exp(-5))) < 1e-12)
        // NaN ranks behind all numbers, and among NaN the class listed first wins.
        let broken: [Float] = [.nan, 1, .nan, .nan]
        #expect((0..<4).map { outcome(broken, label: $0).rank } == [1, 0, 2, 3])
        #expect(outcome(broken, label: 0).answer == 1 && outcome([.nan, .nan], label: 0).answer == 0)
    }

    /// JSON keeps its keys and their order, and text leaves out top-5 of few classes.
    @Test func reports() {
        let row: [Float] = [0.3, 0.25, 0.2, 0.1, 0.08, 0.07]
        let six = metrics(row + row, labels: [0, 5], classes: 6).metrics
        #expect(
            six.json.members?.map(\.key) == [
                "top1", "top5", "loss", "images", "top1_interval", "top5_interval", "calibration_error",
            ])
        #expect(six.summaryJSON.members?.map(\.key) == ["loss", "top1", "top5"])
        #expect(six.json["top1"] == .number(0.5))
        #expect(six.summary() == "top-1 50.0 %, top-5 50.0 %, loss 1.9316")
        #expect(six.summary(showsIntervals: true).hasPrefix("top-1 50.0 % (95 %: 9.5–90.5), top-5"))
        #expect(Metrics(classes: 2).summary() == "top-1 0.0 %, loss 0.0000")
        #expect(Metric.top5.cell(six) == "50.0 (9.5–90.5)" && Metric.loss.cell(six.byClass[0]) == "1.2040")
        #expect(Metric.all.map { $0.json(of: six.byClass[1]) } == [.integer(0), .integer(0), .null, nil])
    }

    @Test func mistakesByFrequency() {
        var confusion = Confusion(classes: 3)
        for (label, answer) in [(0, 1), (2, 0), (2, 0), (1, 1), (1, 1), (1, 1), (0, 2)] {
            confusion.count(label: label, answer: answer)
        }
        #expect(
            confusion.mistakes.map { [$0.label, $0.answer, $0.count] } == [
                [2, 0, 2], [0, 1, 1], [0, 2, 1],
            ])
    }

    /// Ten photographs, three won and one lost: 0.2 ± 1.96 √(4 − 2²/10) / 10.
    @Test func pairedDifference() {
        let from = [true, true, false, false, false, true, true, true, false, false]
        let to = [true, false, true, true, true, true, true, true, false, false]
        let difference = PairedDifference(from: from, to: to)
        #expect(abs(difference.difference - 0.2) < 1e-12 && abs(difference.halfWidth - 0.371877) < 1e-6)
        #expect(PairedDifference(from: from, to: from).halfWidth == 0)
    }

    @Test func calibration() {
        // Two answers of confidence 0.75, one of them right, and one sure and right: 2/3 · |0.75 − 0.5| + 1/3
        // · 0.
        let metrics = metrics([0.75, 0.25, 0.25, 0.75, 1, 0], labels: [0, 0, 0], classes: 2).metrics
        #expect(abs(metrics.calibrationError - 1 / 6.0) < 1e-12)
        #expect(
            metrics.calibration.count == 15 && metrics.calibration[11].images == 2
                && metrics.calibration[14].images == 1)
    }

    /// Compares with (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n), computed with more digits.
    @Test func intervals() {
        for (successes, count, low, high) in [
            (8, 10, 0.490162, 0.943318), (0, 10, 0.0, 0.277533), (10, 10, 0.722467, 1.0),
            (500, 1000, 0.469070, 0.530930),
        ] {
            let interval = Interval(successes: successes, of: count)
            #expect(
                abs(interval.low - low) < 1e-6 && abs(interval.high - high) < 1e-6,
                "\(successes) of \(count): \(interval)")
        }
        #expect(Interval(successes: 0, of: 0) == Interval(successes: 0, of: -1))
    }
}

@Suite struct ViewTests {
    @Test func scales() throws {
        let dense = ViewOptions(isDense: true, mirrors: true)
        #expect(
            try dense.views(shortSide: 256, smallest: 224, model: "m").map(\.description) == [
                "crop at 256", "dense at 224", "dense at 224, mirrored", "dense at 256",
                "dense at 256, mirrored", "dense at 288", "dense at 288, mirrored",
            ])
        // 7/8 of 32 is smaller than a window of 32.
        #expect(
            try ViewOptions(isDense: true).views(shortSide: 32, smallest: 32, model: "m").map(\.shortSide)
                == [32, 32, 36])
        #expect(try ViewOptions().views(shortSide: 256, smallest: 224, model: "m") == [View(shortSide: 256)])
        #expect(
            try ViewOptions(mirrors: true, scales: [256, 300]).views(
                shortSide: 256, smallest: 224, model: "m"
            ).map(\.description) == [
                "crop at 256", "crop at 256, mirrored", "crop at 300", "crop at 300, mirrored",
            ])
        for (isDense, text) in [(true, "the first window of run"), (false, "the crop of run")] {
            let error = #expect(throws: EvaluationError.self) {
                try ViewOptions(isDense: isDense, scales: [256, 200]).views(
                    shortSide: 256, smallest: 224, model: "run")
            }
            #expect(error?.description == "a view of 200 pixels is smaller than \(text), which needs 224")
            #expect(error?.kind == .viewTooSmall(isDense: isDense))
        }
    }

    private func sources(_ model: Int, scales: [Int], mirrors: Bool) throws -> [Posteriors.Source] {
        try ViewOptions(isDense: true, mirrors: mirrors, scales: scales).views(
            shortSide: 32, smallest: 32, model: "m"
        ).map { Posteriors.Source(model: model, view: $0, seconds: 2) }
    }

    @Test func levels() throws {
        let all = try sources(0, scales: [32, 40], mirrors: true) + sources(1, scales: [36], mirrors: false)
        let first = ViewTable.levels(all, model: 0)
        #expect(first.map(\.name) == ["single crop", "dense", "+ mirror", "+ scales"])
        #expect(first.map(\.sources) == [[0], [1], [1, 2], [1, 2, 3, 4]])
        // The scale nearest to its own stands for it.
        let second = ViewTable.levels(all, model: 1)
        #expect(second.map(\.name) == ["single crop", "dense"] && second.map(\.sources) == [[5], [6]])
    }

    @Test func rowsAndOrder() throws {
        let sources = try sources(0, scales: [32], mirrors: false) + sources(1, scales: [32], mirrors: false)
        // Four photographs of class 0; by right answers: 1, 2, 3, 2. The first two dense views are right on
        // different ones.
        let values: [[Float]] = [
            [0.6, 0.4, 0.4, 0.6, 0.4, 0.6, 0.4, 0.6], [0.9, 0.1, 0.9, 0.1, 0.4, 0.6, 0.4, 0.6],
            [0.7, 0.3, 0.7, 0.3, 0.7, 0.3, 0.2, 0.8], [0.4, 0.6, 0.4, 0.6, 0.9, 0.1, 0.9, 0.1],
        ]
        let posteriors = try Posteriors(labels: [0, 0, 0, 0], sources: sources, values: values)
        let table = ViewTable(posteriors)
        #expect(table.rows.map(\.model) == [0, 0, 1, 1, nil, nil])
        #expect(
            table.rows.map(\.name) == [
                "single crop", "dense", "single crop", "dense", "single crop", "dense",
            ])
        #expect(table.rows.map(\.metrics.total.top1) == [1, 2, 3, 2, 3, 4])
        // Four photographs in two seconds for each view.
        #expect(table.rows.map(\.imagesPerSecond) == [2, 2, 2, 2, 1, 1])
        #expect(table.final.mixture.members.map(\.source) == [1, 3])
        let steps = GreedyOrder(table).steps
        // The third is best; with the fourth it is right on all, and so it is with nothing else.
        #expect(
            steps.map(\.source).prefix(2) == [2, 3] && steps.map(\.metrics.total.top1).prefix(2) == [3, 4])
        #expect(Set(steps.map(\.source)) == [0, 1, 2, 3])
        #expect(steps[0].gain == nil && steps[1].gain?.difference == 0.25)
        // Each view costs two seconds for four photographs.
        #expect(steps.map(\.imagesPerSecond) == [2, 1, 2 / 3.0, 0.5])
        // Each step is what the mean of its views is, with equal shares.
        for count in 1...4 {
            let own = posteriors.metrics(Posteriors.Mixture(steps.prefix(count).map { ($0.source, 1) }))
            #expect(steps[count - 1].metrics == own)
        }
        let weighted = ViewTable(posteriors, weights: [1, 0])
        #expect(weighted.final.metrics == weighted.rows[1].metrics)
        // A model of weight 0 has nothing to add; one of much weight decides.
        #expect(GreedyOrder(weighted).steps.map(\.source) == [1, 0])
        let heavy = GreedyOrder(ViewTable(posteriors, weights: [1, 100])).steps
        #expect(
            heavy.map(\.source).prefix(2) == [2, 3] && heavy.map(\.metrics.total.top1).prefix(2) == [3, 4])
        #expect(
            heavy.last?.metrics.loss
                == posteriors.metrics(
                    Posteriors.Mixture(heavy.map { ($0.source, [1, 1, 100, 100][$0.source]) })
                ).loss)
    }
}

@Suite struct BestRowTests {
    /// A model that is better than the mean is named only if chance is an unlikely reason.
    @Test func betterThanAll() throws {
        func table(_ files: Int) throws -> ViewTable {
            // The first is right and unsure; the second is wrong on every fourth, and sure.
            let values: [[Float]] = [
                (0..<files).flatMap { _ in [0.6, 0.4] as [Float] },
                (0..<files).flatMap { $0 % 4 == 0 ? [0, 1] : [1, 0] as [Float] },
            ]
            return ViewTable(try Posteriors(labels: Array(repeating: 0, count: files), values: values))
        }
        let better = try #require(table(40).betterThanAll())
        #expect(
            better.row.model == 0
                && better.gain
                    == PairedDifference(
                        from: (0..<40).map { $0 % 4 != 0 }, to: Array(repeating: true, count: 40))
        )
        // One photograph of four is no evidence.
        #expect(try table(4).betterThanAll() == nil)
    }
}

@Suite struct GreedyOrderTests {
    /// Compares every step with all alternatives, with unequal shares.
    @Test func takesTheBestOfAll() throws {
        var random = Philox(seed: 5, purpose: .scenes)
        let files = 60
        // Three views of one model and two of another, of which the second is the better one.
        let sources = [0, 0, 0, 1, 1].enumerated().map {
            Posteriors.Source(model: $1, view: View(shortSide: 8 + $0), seconds: 1)
        }
        let values = sources.map { source in
            (0..<files).flatMap { file in
                let row = (0..<3).map {
                    Float(1 + random.integer(below: 100) + ($0 == file % 3 ? 20 + 10 * source.model : 0))
                }
                return row.map { $0 / row.reduce(0, +) }
            }
        }
        let posteriors = try Posteriors(
            classes: ["x", "y", "z"], labels: (0..<files).map { $0 % 3 }, sources: sources, values: values)
        for weights in [nil, [1, 6], [5, 1]] as [[Double]?] {
            // A view's share is its model's weight over the number of the model's views.
            let shares = [0, 0, 0, 1, 1].map { (weights?[$0] ?? 1) / ($0 == 0 ? 3 : 2) }
            func metrics(_ sources: [Int]) -> Metrics {
                posteriors.metrics(Posteriors.Mixture(sources.map { ($0, shares[$0]) }))
            }
            let steps = GreedyOrder(ViewTable(posteriors, weights: weights)).steps
            var chosen: [Int] = []
            for (place, step) in steps.enumerated() {
                let best = (0..<5).filter { !chosen.contains($0) }.map { metrics(chosen + [$0]).total.top1 }
                    .max()
                chosen.append(step.source)
                #expect(
                    step.metrics.total.top1 == best && abs(step.metrics.loss - metrics(chosen).loss) < 1e-6,
                    "step \(place)")
                if place > 0 {
                    let difference =
                        Double(step.metrics.total.top1 - steps[place - 1].metrics.total.top1) / Double(files)
                    #expect(
                        abs((step.gain?.difference ?? .nan) - difference) < 1e-12
                            && (step.gain?.halfWidth ?? 0) > 0)
                }
            }
            #expect(
                Set(chosen).count == 5
                    && steps[4].metrics.total.top1
                        == ViewTable(posteriors, weights: weights).final.metrics.total.top1
            )
        }
    }
}

@Suite struct ScoreMapTests {
    /// Two windows of 4 pixels, 2 pixels apart, over 6 × 4: their centres are at x = 2 and x = 4.
    private let map = ScoreMap(
        values: [0, 1], height: 1, width: 2, windowHeight: 4,
        windowWidth: 4, stride: 2, pixelHeight: 4, pixelWidth: 6)

    @Test func values() {
        for (x, value) in [(0.0, 0.0), (2, 0), (3, 0.5), (3.5, 0.75), (4, 1), (6, 1)] {
            #expect(abs(map.value(x: x / 6, y: 0.3) - value) < 1e-12, "x = \(x)")
        }
    }

    @Test func overlay() {
        let picture = ScoreMap.overlay(
            [map], on: .init(width: 6, height: 4, pixels: [UInt8](repeating: 100, count: 72)))
        func pixel(_ x: Int) -> [UInt8] { Array(picture.pixels[3 * x..<3 * x + 3]) }
        // Half grey, half the colour: blue at 0, red at 1.
        #expect(pixel(0) == [63, 63, 88] && pixel(5) == [165, 69, 63])
    }

    /// The scale below the unchanged picture runs from the colour of 0 to that of 1 on white.
    @Test func scale() {
        let (width, height) = (64, 4)
        let picture = ScoreMap.withScale(
            .init(width: width, height: height, pixels: [UInt8](repeating: 7, count: 3 * width * height)))
        #expect(picture.width == width && picture.height == height + ScoreMap.scaleHeight)
        func pixel(_ x: Int, _ y: Int) -> [UInt8] {
            Array(picture.pixels[3 * (y * width + x)..<3 * (y * width + x) + 3])
        }
        func colour(_ score: Double) -> [UInt8] { ScoreMap.heat(score).map { UInt8((255 * $0).rounded()) } }
        #expect(pixel(63, 3) == [7, 7, 7] && pixel(0, 4) == [255, 255, 255])
        #expect(pixel(20, 15) == colour(0) && pixel(43, 15) == colour(1) && pixel(19, 15) == [255, 255, 255])
        // A stroke of the 0 and of the 1.
        #expect(pixel(8, 16) == [0, 0, 0] && pixel(52, 14) == [0, 0, 0])
    }
}
