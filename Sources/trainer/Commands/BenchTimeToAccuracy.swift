import ArgumentParser
import Basics
import Compute
import DemoScenes
import Foundation
import Scaling

struct BenchTimeToAccuracy: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "time-to-accuracy",
        abstract: "Time training to a validation accuracy on one and more ranks here.",
        discussion: """
            Starts its own ranks. As the number of ranks changes no bit of the result, all of them need the \
            same steps. The time on more devices is that of one process divided by the speed-up that \
            `trainer simulate` predicts for --machine, as in the paper's figure 4.
            """)

    @Option(help: "Folder of labelled photographs, as for `train`. Default: drawn pictures.")
    var data: String?

    @Option(help: "Top-1 accuracy on the validation photographs, a fraction of 1.") var accuracy = 0.95
    @Option(help: OptionHelp.model) var model = "32,M,64,M,128,M,F128"
    @Option(help: OptionHelp.imageSize) var imageSize = 48
    @Option(help: OptionHelp.batch) var batch = 64
    @Option(help: "Largest number of epochs.") var epochs = 10
    @Option(help: "Numbers of ranks, separated by commas.") var ranks = "1,2"
    @Option(help: "Largest number of devices to extend to.") var devices = 64
    @Option(help: "Network of the extension.") var simulatedModel = "scaling"
    @Option(help: "Side of the extension's images in pixels.") var simulatedImageSize = 224
    @Option(help: "Images per mini-batch of the extension, over all devices.") var simulatedBatch = 512
    @Option(help: "Draw the times in this SVG file (figure 4).") var svg: String?
    @OptionGroup var machine: MachineOptions
    @OptionGroup var output: JSONOptions

    /// A point of the figure.
    private struct Point {
        let devices: Int
        let seconds: Double
        /// Relative to one process, or as simulated.
        let speedUp: Double
    }

    func validate() throws {
        try NetworkOptions.validate(imageSize: imageSize, batch: batch, classes: 2)
        try NetworkOptions.validate(imageSize: simulatedImageSize, batch: simulatedBatch, classes: 2)
        try require("--accuracy", accuracy, in: 0.01...1, "(a fraction of 1)")
        try require("--epochs", epochs, in: 1...1_000_000, "epochs")
        try require("--devices", devices, in: 1...1024, "devices")
        for count in try rankCounts() where !SimulatedTraining.divides(batch: batch, devices: count) {
            throw ValidationError("--batch \(batch): cannot be divided over \(count) ranks")
        }
        try OutputFile.requireWritable([
            ("--svg", [svg].compactMap(\.self)), ("--json", [output.json].compactMap(\.self)),
            ("--save-machine", [machine.saveMachine].compactMap(\.self)),
        ])
    }

    private func rankCounts() throws -> [Int] {
        let counts = try ranks.split(separator: ",", omittingEmptySubsequences: false).map { word in
            guard let count = Int(word), (1...64).contains(count) else {
                throw ValidationError("--ranks \(ranks): expected numbers from 1 to 64, such as 1,2")
            }
            return count
        }
        guard counts.first == 1 else {
            throw ValidationError("--ranks \(ranks): expected 1 first, with which the others are compared")
        }
        return counts
    }

    func run() throws {
        _ = try NetworkOptions.architecture(model, imageSize: imageSize)
        _ = try NetworkOptions.architecture(simulatedModel, imageSize: simulatedImageSize)
        let machine = try machine.read()
        let folder = try TemporaryOutput()
        let data = try data ?? draw(in: folder)
        var measured: [Point] = []
        for count in try rankCounts() {
            let seconds = try train(ranks: count, on: data, into: folder.file("run-\(count)"))
            measured.append(
                Point(
                    devices: count, seconds: seconds,
                    speedUp: (measured.first?.seconds ?? seconds) / seconds))
        }
        let extended = try extend(measured[0].seconds, machine)
        show(measured, extended, machine)
        func points(_ points: [Point]) -> [JSON] {
            points.map { ["devices": $0.devices, "seconds": $0.seconds, "speed_up": $0.speedUp] }
        }
        try output.write([
            "accuracy": accuracy, "model": model, "image_size": imageSize, "batch": batch,
            "machine": machine, "simulated_model": simulatedModel,
            "simulated_image_size": simulatedImageSize, "simulated_batch": simulatedBatch,
            "measured": points(measured), "extended": points(extended),
        ])
        if let svg { try AtomicFile.write(svg, Array(chart(measured, extended, machine).svg.utf8)) }
    }

    /// Draws a set that a small network learns within a minute.
    private func draw(in folder: TemporaryOutput) throws -> String {
        try Scenes.write(to: folder.file("scenes"), count: 3000, size: imageSize, classes: 10, seed: 1)
        return folder.file("scenes")
    }

    /// Trains, and returns the wall time to the end of the validation that reaches the accuracy.
    private func train(ranks: Int, on data: String, into run: String) throws -> Double {
        // The same micro-batches everywhere, so that every run has the same steps and the same bits.
        let largest = try rankCounts().max() ?? 1
        let microBatches = SimulatedTraining.microBatches(devices: largest)
        try machine.launcher.ranks.run(
            ranks: ranks,
            [
                "train", "--data", data, "--out", run, "--model", model, "--image-size", "\(imageSize)",
                "--batch", "\(batch)", "--epochs", "\(epochs)", "--micro-batches", "\(microBatches)",
            ])
        let log = try String(contentsOfFile: run + "/metrics.jsonl", encoding: .utf8)
        var last = 0.0
        var best = 0.0
        for line in log.split(separator: "\n") {
            let event = try JSON.parse(String(line))
            let seconds = event["seconds"]?.double ?? 0
            switch event["event"]?.string {
            case "train": last = seconds
            case "validate":
                let top1 = event["top1"]?.double ?? 0
                best = max(best, top1)
                if top1 >= accuracy { return last + seconds }
            default: break
            }
        }
        throw LaunchError(
            description:
                "the validation accuracy was \(percent(best)) at best after \(epochs) epochs; expected "
                + "\(percent(accuracy)): give more --epochs or a lower --accuracy")
    }

    private func extend(_ seconds: Double, _ machine: Machine) throws -> [Point] {
        let training = try SimulatedTraining(
            machine, model: simulatedModel, imageSize: simulatedImageSize, classes: 1000,
            device: DeviceSelector.auto.select(from: DeviceDescription.all()))
        return try ScalingStudy.deviceCounts(to: devices).filter {
            SimulatedTraining.divides(batch: simulatedBatch, devices: $0)
        }.map {
            let speedUp = try training.speedUp(
                devices: $0, batch: simulatedBatch,
                strategy: .init(.lazy, nodeFirst: machine.nodeFirst))
            return Point(devices: $0, seconds: seconds / speedUp, speedUp: speedUp)
        }
    }

    // MARK: - Results

    private func show(_ measured: [Point], _ extended: [Point], _ machine: Machine) {
        print("seconds to a validation accuracy of \(percent(accuracy)), mini-batches of \(batch)")
        var table = TextTable(header: ["", "devices", "seconds", "speed-up"], [.left, .right])
        let simulated = "\(machine.name), \(simulatedModel), \(simulatedBatch): simulated"
        for (name, points) in [("measured here", measured), (simulated, extended)] {
            for point in points {
                table.add([name, "\(point.devices)", fixed(point.seconds, 1), fixed(point.speedUp, 1)])
            }
        }
        print(table.text)
    }

    private func chart(_ measured: [Point], _ extended: [Point], _ machine: Machine) -> LineChart {
        func places(_ points: [Point]) -> [(x: Double, y: Double)] {
            points.map { (Double($0.devices), $0.seconds) }
        }
        return LineChart(
            "Time to a validation accuracy of \(percent(accuracy))", x: "devices", y: "seconds",
            scales: (.binary, .logarithmic),
            series: [
                .init(
                    "extended by the speed-up of \(machine.name) (\(simulatedModel), mini-batch "
                        + "\(simulatedBatch)), simulated", places(extended), style: .dashed),
                .init("measured here", places(measured), style: .points),
            ])
    }
}
