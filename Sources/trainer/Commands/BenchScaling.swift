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
            leaves the host idle. Predictions use the time of a step without exchange, and the speed of the \
            exchange alone, both measured with the same number of ranks.
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
        let bandwidth = try Benchmark.bandwidth(runs: 3, device: Device.open(.auto))
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
        if let svg { try AtomicFile.write(svg, Array(chart(rows).svg.utf8)) }
    }

    // MARK: - Measurements

    /// The ways that the network allows.
    private func possibleWays() throws -> [(method: SimulatedTraining.Strategy.Method, options: [String])] {
        let hasHidden = try NetworkOptions.architecture(model, imageSize: imageSize).hasHiddenFullyConnected
        return BenchScaling.ways.filter { hasHidden || $0.method != .hybrid }
    }

    private func stepSeconds(ranks: Int, _ options: [String]) throws -> Double {
        let network = [
            "--model", model, "--image-size", "\(imageSize)",
            "--batch", "\(batch)", "--classes", "\(classes)",
        ]
        let result = try launcher.ranks.results(
            ranks: ranks, ["bench", "step", "--steps", "\(steps)"] + network + options)
        return Benchmark.median(result["seconds"]?.array?.compactMap(\.double) ?? [])
    }

    /// - Parameter bandwidth: that of the device's memory, 10⁹ bytes per second
    private func measure(ranks: Int, bandwidth: Double) throws -> [Row] {
        // In turn, so that a disturbance of the computer affects all of them.
        let ranked = try possibleWays()
        let ways = ranks == 1 ? [[]] : [["--exchange", "none"]] + ranked.map(\.options)
        let times = try (0..<rounds).map { _ in try ways.map { try stepSeconds(ranks: ranks, $0) } }
        let seconds = ways.indices.map { way in Benchmark.median(times.map { $0[way] }) }
        if ranks == 1 {
            return [
                Row(
                    device: "training", ranks: 1, method: "one process", predicted: nil, measured: seconds[0])
            ]
        }
        let device = try DeviceSelector.auto.select(from: DeviceDescription.all())
        let exchange = try ThisMachine.exchange(launcher.ranks, ranks: ranks)
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
        let sleeping = try launcher.ranks.results(
            ranks: ranks,
            [
                "bench", "exchange", "--stand-in-device", "\(standIn)", "--steps", "\(steps)",
                "--model", model, "--image-size", "\(imageSize)", "--batch", "\(batch)",
                "--classes", "\(classes)",
            ])
        for policy in sleeping["policies"]?.array ?? [] {
            guard let name = policy["policy"]?.string, let compute = policy["compute"]?.double,
                let measured = policy["step"]?.double,
                let method = SimulatedTraining.Strategy.Method(rawValue: name)
            else { continue }
            rows.append(
                Row(
                    device: "sleeping", ranks: ranks, method: name,
                    predicted: try predicted(method, computation: compute, isCPU: false), measured: measured))
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
        ["training", "sleeping"].compactMap { device in
            let errors = rows.filter { $0.device == device }.compactMap { $0.error.map(abs) }
            return errors.max().map { "largest error, \(device): \(fixed($0 * 100, 0)) %" }
        }.joined(separator: "; ")
    }

    private func chart(_ rows: [Row]) -> LineChart {
        var series: [LineChart.Series] = []
        var colour = 0
        for device in ["training", "sleeping"] {
            for (method, _) in BenchScaling.ways {
                let own = rows.filter { $0.device == device && $0.method == method.rawValue }
                guard !own.isEmpty else { continue }
                let name = "\(device), \(method.rawValue)"
                let predicted = own.map { (x: Double($0.ranks), y: ($0.predicted ?? .nan) * 1e3) }
                let measured = own.map { (x: Double($0.ranks), y: $0.measured * 1e3) }
                series.append(.init("\(name): predicted", predicted, colour: colour))
                series.append(.init("\(name): measured", measured, style: .points, colour: colour))
                colour += 1
            }
        }
        return LineChart(
            errors(rows), x: "ranks", y: "ms per step", scales: (.binary, .linear), series: series)
    }
}
