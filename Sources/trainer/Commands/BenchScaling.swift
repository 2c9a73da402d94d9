import ArgumentParser
import Basics
import Benchmarks
import Compute
import Foundation
import Scaling

struct BenchScaling: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scaling",
        abstract: "Time training steps on one and more ranks here, beside what `trainer simulate` predicts.",
        discussion: """
            Starts its own ranks. Trains on this computer's devices, and with a stand-in for a device that \
            leaves the host idle. Predictions use the time of a step without exchange, and the time of the \
            exchange alone, both measured with the same number of ranks and in turn with the steps.
            """)

    @Option(help: OptionHelp.model) var model = "32,M,64,M,128,M,F1024,F1024"
    @Option(help: OptionHelp.imageSize) var imageSize = 32
    @Option(help: "Images per mini-batch, over all ranks.") var batch = 64
    @Option(help: OptionHelp.classes) var classes = 10
    @Option(help: "Numbers of ranks, separated by commas.") var ranks = "1,2,4"
    @Option(help: OptionHelp.steps) var steps = 30
    @Option(help: "Rounds in which each way to train is timed in turn. The median is reported.")
    var rounds = 3
    @Option(help: "Seconds that a step takes on the stand-in for a device.") var standIn = 0.03
    @Option(help: "Draw predictions and measurements in this SVG file.") var svg: String?
    @OptionGroup var launcher: LauncherOptions
    @OptionGroup var output: JSONOptions

    /// The ways to train that are compared.
    ///
    /// A new one is one more line.
    private static let ways: [(method: SimulatedTraining.Strategy.Method, options: [String])] = [
        (.lazy, ["--exchange", "lazy"]), (.synchronous, ["--exchange", "synchronous"]),
        (.hybrid, ["--parallelism", "hybrid"]),
        (.synchronousHybrid, ["--parallelism", "hybrid", "--exchange", "synchronous"]),
    ]

    /// A prediction with its measurement, in seconds.
    private struct Row {
        let device: String
        let ranks: Int
        let method: String
        let predicted: Double?
        let measured: Double

        var error: Double? { predicted.map { $0 / measured - 1 } }
        var isOversubscribed: Bool { ranks > ProcessInfo.processInfo.activeProcessorCount }
    }

    func validate() throws {
        try NetworkOptions.validate(imageSize: imageSize, batch: batch, classes: classes)
        try require("--steps", steps, in: 1...1_000_000, "steps")
        try require("--rounds", rounds, in: 1...1000, "rounds")
        try require("--stand-in", standIn, in: 0.001...60, "seconds")
        for count in try rankCounts() where !SimulatedTraining.divides(batch: batch, devices: count) {
            throw ValidationError(
                "--batch \(batch): cannot be divided over \(count) ranks; expected a multiple of the next "
                    + "power of two")
        }
        try OutputFile.requireWritable([
            ("--svg", [svg].compactMap(\.self)), ("--json", [output.json].compactMap(\.self)),
        ])
    }

    private func rankCounts() throws -> [Int] {
        try ranks.split(separator: ",", omittingEmptySubsequences: false).map {
            guard let count = Int($0), (1...64).contains(count) else {
                throw ValidationError("--ranks \(ranks): expected numbers from 1 to 64, such as 1,2,4")
            }
            return count
        }
    }

    func run() throws {
        _ = try NetworkOptions.architecture(model, imageSize: imageSize)
        var rows: [Row] = []
        let bandwidth = try Benchmark.bandwidth(.reading, runs: 3, device: Device.open(.auto))
        for count in try rankCounts() { rows += try measure(ranks: count, bandwidth: bandwidth) }
        show(rows)
        try output.write([
            "model": model, "image_size": imageSize, "batch": batch, "classes": classes,
            "rows": rows.map {
                [
                    "device": $0.device, "ranks": $0.ranks, "method": $0.method,
                    "predicted_seconds": $0.predicted, "seconds": $0.measured, "error": $0.error,
                    "oversubscribed": $0.isOversubscribed,
                ] as JSON
            },
        ])
        if let svg {
            let charts = ["training", "sleeping"].map { chart(rows, device: $0) }
            try AtomicFile.write(svg, Array(LineChart.stacked(charts).utf8))
        }
    }

    // MARK: - Measurements

    /// The ways that the network allows.
    private func possibleWays() throws -> [(method: SimulatedTraining.Strategy.Method, options: [String])] {
        let hasHidden = try NetworkOptions.architecture(model, imageSize: imageSize).hasHiddenFullyConnected
        return BenchScaling.ways.filter { hasHidden || !$0.method.isHybrid }
    }

    private var network: [String] {
        [
            "--model", model, "--image-size", "\(imageSize)",
            "--batch", "\(batch)", "--classes", "\(classes)",
        ]
    }

    private func stepSeconds(ranks: Int, _ options: [String]) throws -> Double {
        let result = try launcher.ranks.results(
            ranks: ranks, ["bench", "step", "--steps", "\(steps)"] + network + options)
        return Benchmark.median(result["seconds"]?.array?.compactMap(\.double) ?? [])
    }

    /// What one round measures with several ranks.
    private struct Round {
        /// Seconds of a step without exchange, and in each of the ways.
        let steps: [Double]
        /// The results of `bench exchange` for an array alone.
        let alone: JSON
        /// Each policy's results on a sleeping device.
        let sleeping: [JSON]
    }

    private func round(ranks: Int, _ ways: [[String]]) throws -> Round {
        Round(
            steps: try ways.map { try stepSeconds(ranks: ranks, $0) },
            alone: try launcher.ranks.results(
                ranks: ranks, ["bench", "exchange", "--sizes", "\(BenchScaling.alone)", "--steps", "9"]),
            sleeping: try launcher.ranks.results(
                ranks: ranks,
                ["bench", "exchange", "--stand-in-device", "\(standIn)", "--steps", "\(steps)"] + network
            )["policies"]?.array ?? [])
    }

    /// Bytes of an exchange that nothing else overlaps, of the size of a bucket over messages.
    ///
    /// Activations are exchanged so too. A smaller array would reach its receiver without a handshake of MPI.
    private static let alone = 1 << 20

    /// Returns how fast the ranks exchange: one array alone, and all gradients in the program's own buckets.
    private func exchangeSpeed(ranks: Int, _ rounds: [Round]) -> ExchangeSpeed {
        let alone = rounds.compactMap { ThisMachine.butterflySeconds($0.alone, bytes: BenchScaling.alone) }
        let whole = rounds.flatMap(\.sleeping).filter { $0["policy"]?.string == "synchronous" }
        let facts = rounds.first?.alone
        // A small network's gradients may be the smaller of the two.
        let exchanges = [
            (bytes: BenchScaling.alone, seconds: Benchmark.median(alone)),
            (
                whole.first?["gradient_bytes"]?.integer ?? 0,
                Benchmark.median(whole.compactMap { $0["exchange"]?.double })
            ),
        ].sorted { $0.bytes < $1.bytes }
        return ExchangeSpeed(
            ranks: ranks, small: exchanges[0], large: exchanges[1],
            isOneMachine: facts?["machines"]?.integer ?? 1 == 1, hasWindows: facts?["windows"]?.bool ?? true)
    }

    /// - Parameter bandwidth: that of the device's memory, 10⁹ bytes per second
    private func measure(ranks: Int, bandwidth: Double) throws -> [Row] {
        if ranks == 1 {
            let seconds = try (0..<rounds).map { _ in try stepSeconds(ranks: 1, []) }
            return [
                Row(
                    device: "training", ranks: 1, method: "one process", predicted: nil,
                    measured: Benchmark.median(seconds))
            ]
        }
        let ranked = try possibleWays()
        // In turn, so that a disturbance of the computer affects all of them.
        let results = try (0..<rounds).map { _ in
            try round(ranks: ranks, [["--exchange", "none"]] + ranked.map(\.options))
        }
        let seconds = (0...ranked.count).map { way in Benchmark.median(results.map { $0.steps[way] }) }
        let device = try DeviceSelector.auto.select(from: DeviceDescription.all())
        let exchange = exchangeSpeed(ranks: ranks, results)
        /// Returns the prediction for a device whose step without exchange takes so long.
        ///
        /// Speeds only divide the computation over the layers.
        func predicted(
            _ method: SimulatedTraining.Strategy.Method, computation: Double, gflops: Double = 1,
            bandwidth: Double = 1e9, isCPU: Bool
        ) throws -> Double {
            let machine = Machine.measured(
                gflops: gflops, memoryBandwidth: bandwidth, memory: device.globalMemory, exchange: exchange,
                devices: ranks, isCPU: isCPU)
            return try SimulatedTraining(
                machine, model: model, imageSize: imageSize, classes: classes, device: device
            ).stepSeconds(
                devices: ranks, batch: batch, strategy: .init(method, nodeFirst: true),
                computation: computation)
        }
        // The ranks share a CPU, and each reaches a part of its speeds.
        let isCPU = device.kind == .cpu
        let share = isCPU && exchange.isOneMachine ? Double(ranks) : 1
        let network = try SimulatedTraining(
            .minwa, model: model, imageSize: imageSize, classes: classes, device: device)
        let operations = network.operationsPerImage * Double(batch) / Double(ranks)
        var rows = try zip(ranked, seconds.dropFirst()).map { way, measured in
            let prediction = try predicted(
                way.method, computation: seconds[0], gflops: operations / seconds[0] * 1e-9,
                bandwidth: bandwidth / share, isCPU: isCPU)
            return Row(
                device: "training", ranks: ranks, method: way.method.rawValue,
                predicted: prediction, measured: measured)
        }
        for way in ranked {
            let own = results.flatMap(\.sleeping).filter { $0["policy"]?.string == way.method.rawValue }
            func median(_ name: String) -> Double {
                Benchmark.median(own.compactMap { $0[name]?.double })
            }
            rows.append(
                Row(
                    device: "sleeping", ranks: ranks, method: way.method.rawValue,
                    predicted: try predicted(way.method, computation: median("compute"), isCPU: false),
                    measured: median("step")))
        }
        return rows
    }

    // MARK: - Results

    private func show(_ rows: [Row]) {
        var table = TextTable(
            header: ["device", "method", "ranks", "predicted ms", "measured ms", "error", ""],
            [.left, .left, .right, .right, .right, .right, .left])
        for row in rows {
            table.add([
                row.device, row.method, "\(row.ranks)", row.predicted.map { fixed($0 * 1e3, 1) } ?? "",
                fixed(row.measured * 1e3, 1),
                row.error.map { String(format: "%+.0f %%", $0 * 100) } ?? "",
                row.isOversubscribed ? "oversubscribed: more ranks than cores" : "",
            ])
        }
        print(table.text)
        print(errors(rows))
    }

    private func errors(_ rows: [Row]) -> String {
        ["training", "sleeping"].compactMap { largestError($0, rows) }.joined(separator: "; ")
    }

    private func largestError(_ device: String, _ rows: [Row]) -> String? {
        let errors = rows.filter { $0.device == device }.compactMap { $0.error.map(abs) }
        return errors.max().map { "largest error, \(device): \(fixed($0 * 100, 0)) %" }
    }

    /// The steps on a kind of device, by the number of ranks; predictions are lines, measurements are points.
    private func chart(_ rows: [Row], device: String) -> LineChart {
        let ranked = rows.filter { $0.device == device && $0.predicted != nil }
        let series = BenchScaling.ways.enumerated().flatMap { colour, way -> [LineChart.Series] in
            let own = ranked.filter { $0.method == way.method.rawValue }
            guard !own.isEmpty else { return [] }
            let predicted = own.map { (x: Double($0.ranks), y: ($0.predicted ?? .nan) * 1e3) }
            let measured = own.map { (x: Double($0.ranks), y: $0.measured * 1e3) }
            // Lines of the same numbers are both seen.
            let style = way.method.isLazy ? LineChart.Series.Style.line : .dashed
            return [
                .init(way.method.rawValue, predicted, style: style, colour: colour),
                .init("", measured, style: .points, colour: colour),
            ]
        }
        let cores = ProcessInfo.processInfo.activeProcessorCount
        let title = largestError(device, rows) ?? device
        return LineChart(
            "\(title) (lines: predicted, points: measured)", x: "ranks", y: "ms per step",
            scales: (.binary, .linear), series: series,
            mark: ranked.contains(where: \.isOversubscribed)
                // Between the largest number of ranks with a core each and the next.
                ? (
                    (Double(cores) * Double(cores + 1)).squareRoot(),
                    "oversubscribed: more ranks than cores →"
                )
                : nil)
    }
}
