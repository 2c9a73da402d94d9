import Configuration
import DemoScenes
import Runs
import ArgumentParser
import Collectives
import Foundation
import Training

struct TrainCommand: ParsableCommand, RunsOnRanks {
    static let configuration = CommandConfiguration(
        commandName: "train", abstract: "Train a network on a folder of photographs (the default command).",
        discussion: """
            The folder holds train/CLASS/*.jpg and val/CLASS/*.jpg, or CLASS/*.jpg, of which --val-fraction is held out.
            Without --data it trains on the demo set, which it draws first where it is missing.
            """)

    @Option(
        help:
            "A YAML file of these options, by their names; flags win over it. Each run's folder has one, config.yaml, without out."
    ) var config: String?

    @Option("data") var data: Setting?
    @Option("model") var model: Setting?
    @Option("image-size") var imageSize: Setting?
    @Option("short-side") var shortSide: Setting?
    @Option("batch") var batch: Setting?
    @Option("micro-batches") var microBatches: Setting?
    @Option("epochs") var epochs: Setting?
    @Option("device") var device: Setting?
    @Option("device-memory") var deviceMemory: Setting?
    @Option("out") var out: Setting?
    @Option("learning-rate") var learningRate: Setting?
    @Option("schedule") var schedule: Setting?
    @Option("warmup-epochs") var warmupEpochs: Setting?
    @Option("momentum") var momentum: Setting?
    @Option("weight-decay") var weightDecay: Setting?
    @Option("dropout") var dropout: Setting?
    @Option("augment") var augment: Setting?
    @Option("augment-strength") var augmentStrength: Setting?
    @Option("cache") var cache: Setting?
    @Option("seed") var seed: Setting?
    @Option("workers") var workers: Setting?
    @Option("val-fraction") var valFraction: Setting?
    @Option("convolution") var convolution: Setting?
    @Option("checkpoint-every") var checkpointEvery: Setting?
    @Option("keep") var keep: Setting?
    @Option("clip-norm") var clipNorm: Setting?
    @Option("init") var `init`: Setting?
    @Option("freeze") var freeze: Setting?
    @Option("max-bad") var maxBad: Setting?
    @Option("exchange") var exchange: Setting?
    @Option("transport") var transport: Setting?
    @Option("node-size") var nodeSize: Setting?
    @Option("peer-timeout") var peerTimeout: Setting?

    @Flag(help: "With several ranks: compare all weights after every step, not at checkpoints alone.")
    var verifyRanks = false

    @Option(
        help: "Write what the time is spent on, of every rank, to this file, for https://ui.perfetto.dev.")
    var trace: String?

    @Option(
        help:
            "Go on with the run in this folder, to the very bits that it would have had; all other options come from it."
    ) var resume: String?

    typealias Setting = TrainingConfiguration.Setting

    func validate() throws { if let trace { try OutputFile.requireWritable(trace, option: "--trace") } }

    /// The options that a configuration and the flags make, checked.
    private func options() throws -> TrainingOptions {
        var initial = TrainingOptions()
        initial.microBatches = MicroBatchTree.defaultMicroBatches(ranks: MPICommunicator.launchedRanks)
        var configuration = try TrainingConfiguration(
            resume.map { try Trainer.options(ofRun: $0) } ?? initial)
        if let config { try configuration.read(config) }
        configuration.apply(flagsOf: self)
        try configuration.validate()
        var options = configuration.options
        if options.data.isEmpty { options.data = DemoSet.path }
        if let resume {
            guard out == nil else {
                throw ValidationError(
                    "--out: --resume \(resume) goes on in the run's own folder; leave --out away")
            }
            options.output = resume
        } else if options.output.isEmpty {
            let name = options.model
            options.output = RunFolder.unused(
                named: name.allSatisfy { $0.isLetter || $0.isNumber } ? name : "custom")
        }
        return options
    }

    func run() throws {
        let options = try options()
        let job = try Job.join(peerTimeout: options.peerTimeout)
        if job?.rank ?? 0 == 0, options.data == DemoSet.path { try DemoSet.drawWhereMissing() }
        // The others wait for the set.
        _ = try job?.gather([])
        let console = TrainingConsole()
        let trainer = try Trainer(
            options, resuming: resume != nil, version: programVersion,
            ranks: job.map { Ranks($0, verifiesEachStep: verifyRanks) }, trace: trace
        ) { console.show($0) }
        let last = try trainer.run()
        guard job?.rank ?? 0 == 0 else { return }
        print("run: \(options.output)")
        if let last {
            print("last: \(last.validation.summary()) after epoch \(last.epoch)")
            if !last.isBest, let best = trainer.bestTop1 {
                print(
                    "best: top-1 \(percent(best)), of an earlier epoch, is in \(options.output)/checkpoints/best"
                )
            }
        } else {
            print("all \(options.epochs) epochs were done before")
        }
        print("next: trainer evaluate --checkpoint \(options.output) --data \(options.data)")
    }
}

/// The set that `trainer` without arguments trains on.
enum DemoSet {
    static let path = "scenes"

    static func drawWhereMissing() throws {
        if FileManager.default.fileExists(atPath: path) { return }
        print("drawing the demo set in \(path)/")
        try Scenes.write(to: path, count: 2500, size: 96, seed: 1)
    }
}

extension Option where Value == TrainCommand.Setting? {
    /// The flag of an option that `TrainingOption.all` describes; its property has the same name.
    init(_ option: String) {
        self.init(help: TrainingOption.named(option).map { ArgumentHelp(stringLiteral: $0.help) }) {
            try TrainCommand.Setting(option, $0)
        }
    }
}

extension TrainingConfiguration {
    /// Takes over the options of `TrainingOption.all` that were given to a command.
    mutating func apply(flagsOf command: some ParsableCommand) {
        for child in Mirror(reflecting: command).children {
            if let setting = (child.value as? Option<TrainCommand.Setting?>)?.wrappedValue { apply(setting) }
        }
    }
}
