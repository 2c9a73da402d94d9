import ArgumentParser
import Basics
import Benchmarks
import Compute
import Foundation

struct TuneCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tune",
        abstract: "Measure which kernel constants are fastest on a GPU, and store them for later runs.",
        discussion: """
            Runs the network's most expensive layers with each value of each constant. Values that change \
            any bit of a result are discarded, so tuning changes the speed only. The values are stored for \
            the device, its driver and this version of the kernels. It takes about a minute.
            """)

    @Option(help: OptionHelp.model) var model = "vgg16"
    @Option(help: OptionHelp.imageSize) var imageSize = 224
    @Option(help: OptionHelp.classes) var classes = 1000
    @Flag(help: "Remove the stored values of every device, and measure nothing.") var clear = false
    @OptionGroup var device: DeviceOptions

    func validate() throws {
        try NetworkOptions.validate(imageSize: imageSize, batch: 1, classes: classes)
    }

    func run() throws {
        if clear {
            let count = try TuningStore.removeAll()
            print("removed the stored values of \(count) device\(count == 1 ? "" : "s")")
            return
        }
        let architecture = try NetworkOptions.architecture(model, imageSize: imageSize)
        let description = try device.description()
        let initial = Tuning(for: description.traits)
        guard !initial.racedConstants.isEmpty else {
            print(
                "\(description.name) runs the kernels for CPUs: every constant of theirs affects results, so "
                    + "there is nothing to tune")
            return
        }
        DevicesCommand.print(description, DevicesCommand.facts(of: description))
        let begin = ContinuousClock().now
        let layers = try TunedLayers(architecture, imageSize: imageSize, classes: classes, on: description)
        for line in layers.descriptions { print(line) }
        // The time spent choosing batches counts, so that the race ends after about a minute.
        let left = 50 - (ContinuousClock().now - begin) / .seconds(1)
        let tuner = try Tuner(from: initial, seconds: max(0, left)) { constant, value, outcome in
            print("  \(constant.key) = \(value): \(text(outcome))")
        } measure: {
            try layers.measure($0)
        }

        print("")
        var table = TextTable(header: ["constant", "chosen", "time relative to the initial values"], [.left])
        for row in tuner.rows {
            let times = row.candidates.map { candidate in
                let result =
                    switch candidate.outcome {
                    case .timed(let relative): fixed(relative, 3)
                    case .discarded: "discarded"
                    case .skipped: "not tried"
                    }
                return "\(candidate.value): \(result)"
            }
            table.add([row.constant.key, "\(row.chosen)", times.joined(separator: ", ")])
        }
        print(table.text)
        try store(tuner, initial, for: description)
    }

    private func text(_ outcome: Tuner.Outcome) -> String {
        switch outcome {
        case .timed(let relative): fixed(relative, 3) + " of the initial values' time"
        case .discarded(let reason): "discarded: \(reason)"
        case .skipped: "not tried"
        }
    }

    private func store(_ tuner: Tuner, _ initial: Tuning, for description: DeviceDescription) throws {
        let store = TuningStore(description)
        let chosen = tuner.tuning.values.filter { initial.values[$0.key] != $0.value }
        let isTried = tuner.rows.contains { row in
            row.candidates.contains { if case .skipped = $0.outcome { false } else { true } }
        }
        if !isTried {
            print("no value was tried, because the layers took all of the time; stored values are unchanged")
        } else if chosen.isEmpty {
            try store.remove()
            print("no tried value is faster than the initial ones; nothing is stored")
        } else {
            try store.store(chosen)
            print(
                "the layers take \(fixed(tuner.relativeTime, 3)) of the initial values' time with "
                    + "\(Tuning.text(chosen)); stored in \(store.path)")
        }
    }
}
