import Foundation
import Testing

@testable import Evaluation

@Suite struct MetricsTests {
    @Test func byHand() {
        // Right and sure; wrong; a tie that the lower class wins; a class with a posterior of 0; not a number.
        let posteriors: [Float] = [0.9, 0.1, 0, 0.3, 0.6, 0.1, 0.4, 0.4, 0.2, 0.5, 0.5, 0, .nan, .nan, .nan]
        let metrics = Metrics(posteriors: posteriors, labels: [0, 0, 1, 2, 0], classes: 3)
        #expect(metrics.ranks == [0, 1, 1, 2, 2])
        #expect(metrics.images == 5 && metrics.top1Count == 1 && metrics.top5Count == 5)
        #expect(metrics.confusion == [[2, 1, 0], [1, 0, 0], [1, 0, 0]])
        #expect(metrics.byClass.map(\.images) == [3, 1, 1] && metrics.byClass.map(\.top1) == [1, 0, 0])
        let losses = [
            -log(Double(Float(0.9))), -log(Double(Float(0.3))), -log(Double(Float(0.4))), -log(Double(Float.leastNormalMagnitude)),
        ]
        #expect(Array(metrics.losses.prefix(4)) == losses && metrics.losses[4].isNaN)
    }

    @Test func topFive() {
        let row: [Float] = [0.3, 0.25, 0.2, 0.1, 0.08, 0.07]
        let metrics = Metrics(posteriors: row + row, labels: [4, 5], classes: 6)
        #expect(metrics.top1Count == 0 && metrics.top5Count == 1)
        // Of equal posteriors the class listed first comes first.
        let tie = Metrics(posteriors: [0.4, 0.4, 0.2, 0.4, 0.4, 0.2], labels: [0, 1], classes: 3)
        #expect(tie.ranks == [0, 1])
        #expect(Metrics.order([0.1, 0.5, 0.1, 0.3] as [Float]) == [1, 3, 0, 2])
    }

    @Test func calibration() {
        // Two answers of confidence 0.75, one of them right, and one sure and right: 2/3 · |0.75 − 0.5| + 1/3 · 0.
        let metrics = Metrics(posteriors: [0.75, 0.25, 0.25, 0.75, 1, 0], labels: [0, 0, 0], classes: 2)
        #expect(abs(metrics.calibrationError - 1 / 6.0) < 1e-12)
        #expect(metrics.calibration.count == 15 && metrics.calibration[11].images == 2 && metrics.calibration[14].images == 1)
    }

    /// Against the interval's roots, worked out with more digits elsewhere: (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n).
    @Test func intervals() {
        for (successes, count, low, high) in [
            (8, 10, 0.490162, 0.943318), (0, 10, 0.0, 0.277533), (10, 10, 0.722467, 1.0), (500, 1000, 0.469070, 0.530930),
        ] {
            let interval = Interval(successes: successes, of: count)
            #expect(abs(interval.low - low) < 1e-6 && abs(interval.high - high) < 1e-6, "\(successes) of \(count): \(interval)")
        }
        #expect(Interval(successes: 0, of: 0) == Interval(successes: 0, of: -1))
    }
}

@Suite struct ViewTests {
    @Test func scales() throws {
        let dense = ViewOptions(isDense: true, mirrors: true)
        #expect(
            try dense.views(shortSide: 256, smallest: 224, model: "m").map(\.description) == [
                "crop at 256", "dense at 224", "dense at 224, mirrored", "dense at 256", "dense at 256, mirrored", "dense at 288",
                "dense at 288, mirrored",
            ])
        // 7/8 of 32 is smaller than a window of 32.
        #expect(try ViewOptions(isDense: true).views(shortSide: 32, smallest: 32, model: "m").map(\.shortSide) == [32, 32, 36])
        #expect(try ViewOptions().views(shortSide: 256, smallest: 224, model: "m") == [View(shortSide: 256)])
        #expect(
            try ViewOptions(mirrors: true, scales: [256, 300]).views(shortSide: 256, smallest: 224, model: "m").map(\.description) == [
                "crop at 256", "crop at 256, mirrored", "crop at 300", "crop at 300, mirrored",
            ])
        for (isDense, text) in [(true, "first window of run"), (false, "the crop of run")] {
            let error = #expect(throws: EvaluationError.self) {
                try ViewOptions(isDense: isDense, scales: [256, 200]).views(shortSide: 256, smallest: 224, model: "run")
            }
            #expect(error?.description.contains("--scales 200") == true && error?.description.contains(text) == true)
            #expect(error?.description.contains("224") == true)
        }
    }

    private func sources(_ model: Int, scales: [Int], mirrors: Bool) throws -> [Posteriors.Source] {
        try ViewOptions(isDense: true, mirrors: mirrors, scales: scales).views(shortSide: 32, smallest: 32, model: "m")
            .map { Posteriors.Source(model: model, view: $0, seconds: 2) }
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
        // Four photographs of class 0; by right answers: 1, 2, 3, 2. The first two dense views are right on different ones.
        let values: [[Float]] = [
            [0.6, 0.4, 0.4, 0.6, 0.4, 0.6, 0.4, 0.6], [0.9, 0.1, 0.9, 0.1, 0.4, 0.6, 0.4, 0.6],
            [0.7, 0.3, 0.7, 0.3, 0.7, 0.3, 0.2, 0.8], [0.4, 0.6, 0.4, 0.6, 0.9, 0.1, 0.9, 0.1],
        ]
        let posteriors = Posteriors(
            models: ["A", "B"], classes: ["x", "y"], files: ["1", "2", "3", "4"], labels: [0, 0, 0, 0], sources: sources, values: values)
        let table = ViewTable(posteriors)
        #expect(table.rows.map(\.model) == [0, 0, 1, 1, nil, nil])
        #expect(table.rows.map(\.name) == ["single crop", "dense", "single crop", "dense", "single crop", "dense"])
        #expect(table.rows.map(\.metrics.top1Count) == [1, 2, 3, 2, 3, 4])
        // Four photographs in two seconds for each view.
        #expect(table.rows.map(\.imagesPerSecond) == [2, 2, 2, 2, 1, 1])
        #expect(table.final.sources == [1, 3])
        let order = table.greedyOrder()
        // The third is best; with the fourth it is right on all, and so it is with nothing else.
        #expect(order.map(\.source).prefix(2) == [2, 3] && order.map(\.metrics.top1Count).prefix(2) == [3, 4])
        #expect(Set(order.map(\.source)) == [0, 1, 2, 3])
        let weighted = ViewTable(posteriors, weights: [1, 0])
        #expect(weighted.final.metrics == weighted.rows[1].metrics)
    }
}

@Suite struct ScoreMapTests {
    /// Two windows of 4 pixels, 2 pixels apart, over 6 × 4: their centres are at x = 2 and x = 4.
    private let map = ScoreMap(
        values: [0, 1], height: 1, width: 2, windowHeight: 4, windowWidth: 4, stride: 2, pixelHeight: 4, pixelWidth: 6)

    @Test func values() {
        for (x, value) in [(0.0, 0.0), (2, 0), (3, 0.5), (3.5, 0.75), (4, 1), (6, 1)] {
            #expect(abs(map.value(x: x / 6, y: 0.3) - value) < 1e-12, "x = \(x)")
        }
    }

    @Test func overlay() {
        let picture = ScoreMap.overlay([map], on: .init(width: 6, height: 4, pixels: [UInt8](repeating: 100, count: 72)))
        func pixel(_ x: Int) -> [UInt8] { Array(picture.pixels[3 * x..<3 * x + 3]) }
        // Half grey, half the colour: blue at 0, red at 1.
        #expect(pixel(0) == [63, 63, 88] && pixel(5) == [165, 69, 63])
    }
}
