import ArgumentParser
import Basics
import Collectives
import Configuration
import Training

struct FindRateCommand: ParsableCommand, RunsOnRanks {
    static let configuration = CommandConfiguration(
        commandName: "find-rate",
        abstract: "Try learning rates on a new network, and draw the loss over them.",
        discussion: """
            Trains a copy of the network for at most 100 steps while the rate grows, as `train \
            --learning-rate auto` does before it begins. Takes the options of `train`, and leaves no run.

            Example:
              trainer find-rate --data photos --model 32,32,M,64,64,M,F64 --out rates.svg
            """)

    private enum SearchOptions: OptionSelection {
        static func contains(_ option: TrainingOption) -> Bool { !option.traits.contains(.wholeRun) }
    }

    @OptionGroup private var flags: TrainingFlags<SearchOptions>
    @Option(help: "Write the curve to this SVG file.") var out: String?
    @OptionGroup var output: JSONOptions

    func validate() throws { if let out { try OutputFile.requireWritable(out, option: "--out") } }

    func run() throws {
        var initial = TrainingOptions()
        initial.microBatches = MicroBatchTree.defaultMicroBatches(ranks: MPICommunicator.launchedRanks)
        var configuration = TrainingConfiguration(initial)
        for setting in flags.settings { configuration.apply(setting) }
        try configuration.validate()
        var options = configuration.options
        if options.data.isEmpty { options.data = DemoSet.path }
        let job = try Job.join(peerTimeout: options.peerTimeout)
        let isFirst = job?.rank ?? 0 == 0
        if isFirst, options.data == DemoSet.path { try DemoSet.drawIfMissing() }
        // The other ranks wait for the set.
        _ = try job?.gather([])
        let console = TrainingConsole()
        let found = try Trainer.findRate(
            options, version: programVersion,
            ranks: job.map { Ranks($0, verifiesEachStep: false) }, sinks: [console])
        guard isFirst else { return }
        console.receive(.learningRateFound(found))
        if let out {
            let chart = LineChart(
                "\(options.model) with \(options.optimizer.rawValue)", x: "learning rate",
                y: "training loss", scales: (.logarithmic, .linear),
                series: [.init("loss", found.curve.map { ($0.rate, $0.loss) })],
                mark: (found.rate, String(format: "chosen: %.2g", found.rate)))
            try AtomicFile.write(out, Array(chart.svg.utf8))
            print("curve: \(out)")
        }
        try output.write([
            "learning_rate": found.rate,
            "curve": found.curve.map { ["rate": $0.rate, "loss": $0.loss] as JSON },
        ])
    }
}
