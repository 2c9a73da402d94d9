import ArgumentParser
import Basics
import Compute
import Foundation
import NeuralNet
import Scaling

struct SimulateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract: "Predict the time of training steps on up to 1024 devices that need not exist.",
        discussion: """
            Simulates a step event by event: layers, gradients in buckets as `train` cuts them, nodes whose \
            devices share a port, and the most urgent bucket first. Prints the time of a step with a fixed \
            number of images per device, and the speed-up over one device for fixed mini-batches, as in the \
            paper's figures 2 and 3. docs/scaling.md says how good the predictions are.
            """)

    @OptionGroup var machine: MachineOptions
    @Option(help: OptionHelp.model) var model = "scaling"
    @Option(help: OptionHelp.imageSize) var imageSize = 224
    @Option(help: OptionHelp.classes) var classes = 1000
    @Option(help: "Largest number of devices. The tables have the powers of two up to it.") var devices = 128
    @Option(help: "Images per device and step, for the first table.") var images = 64
    @Option(help: "Sizes of mini-batches for the speed-ups, separated by commas.") var batch = "256,512,1024"
    @Option(help: "Draw the times of steps in this SVG file (figure 2).") var stepsSVG: String?
    @Option(help: "Draw the speed-ups in this SVG file (figure 3).") var speedUpSVG: String?
    @OptionGroup var output: JSONOptions

    func validate() throws {
        try NetworkOptions.validate(imageSize: imageSize, batch: 1, classes: classes)
        try require("--devices", devices, in: 1...1024, "devices")
        try require("--images", images, in: 1...65_536, "images")
        _ = try batches()
        try OutputFile.requireWritable([
            ("--steps-svg", [stepsSVG].compactMap(\.self)),
            ("--speed-up-svg", [speedUpSVG].compactMap(\.self)),
            ("--json", [output.json].compactMap(\.self)),
            ("--save-machine", [machine.saveMachine].compactMap(\.self)),
        ])
    }

    private func batches() throws -> [Int] {
        try batch.split(separator: ",", omittingEmptySubsequences: false).map {
            guard let size = Int($0), (1...1_048_576).contains(size) else {
                throw ValidationError(
                    "--batch \(batch): expected sizes from 1 to 1048576, such as 256,512,1024")
            }
            return size
        }
    }

    func run() throws {
        _ = try NetworkOptions.architecture(model, imageSize: imageSize)
        let device = try DeviceSelector.auto.select(from: DeviceDescription.all())
        let training = try SimulatedTraining(
            try machine.read(), model: model, imageSize: imageSize,
            classes: classes, device: device)
        let study = try ScalingStudy(
            training, imagesPerDevice: images, batches: batches(), largest: devices)
        show(study)
        try output.write(study.json)
        for (file, chart) in [(stepsSVG, study.stepChart), (speedUpSVG, study.speedUpChart)] {
            if let file { try AtomicFile.write(file, Array(chart.svg.utf8)) }
        }
    }

    private func show(_ study: ScalingStudy) {
        let (training, machine) = (study.training, study.training.machine)
        print(
            "\(training.model), \(training.parameterCount) parameters, \(imageSize)×\(imageSize), on "
                + "\(machine.name); all times are simulated\n")
        print("seconds per step with \(images) images per device")
        var steps = TextTable(
            header: ["devices"] + study.strategies.map(study.name) + ["efficiency", "memory, data"]
                + (training.hasHybrid ? ["memory, hybrid"] : []), [.right])
        for step in study.steps {
            steps.add(
                ["\(step.devices)"] + step.seconds.map { fixed($0, 4) } + [
                    percent(study.steps[0].seconds[1] / step.seconds[1]), MemorySize.text(step.memory.data),
                ] + (step.memory.hybrid.map { [MemorySize.text($0)] } ?? []))
        }
        print(steps.text)
        let memory = study.steps.map(\.memory)
        for (name, bytes) in [("data", memory.map { $0.data }), ("hybrid", memory.compactMap { $0.hybrid })] {
            let needed = bytes.max() ?? 0
            guard Double(needed) > machine.memory * 1e9 else { continue }
            print(
                "\(name) parallelism does not fit: a step takes \(MemorySize.text(needed)) of device memory, "
                    + "and \(machine.name) has \(MemorySize.text(Int(machine.memory * 1e9)))")
        }
        print("\nspeed-up over one device, lazy, by size of the mini-batch")
        var speedUps = TextTable(
            header: ["devices"] + study.speedUps.map { "\($0.batch)" }, [.right])
        for step in study.steps {
            let cells = study.speedUps.map { entry in
                entry.points.first { $0.devices == step.devices }.map { fixed($0.speedUp, 1) } ?? ""
            }
            speedUps.add(["\(step.devices)"] + cells)
        }
        print(speedUps.text)
    }
}
