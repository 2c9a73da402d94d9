import ArgumentParser
import Basics
import Collectives
import Configuration
import DemoScenes
import Evaluation
import Foundation
import Runs
import Training

struct TrainCommand: ParsableCommand, RunsOnRanks {
    static let configuration = CommandConfiguration(
        commandName: "train", abstract: "Train a network on a folder of photographs (the default command).",
        usage: "trainer train [--data FOLDER] [--model MODEL] [--config FILE] [OPTION VALUE ...]",
        discussion: """
            The folder contains train/CLASS/*.jpg and val/CLASS/*.jpg, or CLASS/*.jpg, of which \
            --val-fraction is held out for validation; or any photographs, whose classes --labels lists. \
            Without --data the command trains on the demo set.

            A network is a name or a list of layers: n is a 3×3 convolution with n filters, M is 2×2 \
            max-pooling, Fn is a fully connected layer with n units, such as 32,32,M,64,M,F256. \
            docs/training.md explains each option.

            Examples:
              trainer train
              trainer train --data photos --model vgg16 --image-size 224 --epochs 60
              trainer train --data photos --init runs/vgg16-1 --freeze features
              trainer train --config runs/mini-1/config.yaml --seed 2
              trainer train --resume runs/mini-1
              trainer train --data photos --out runs/a --resume-or-start --max-time 3h50m
              mpirun -n 2 trainer train --data photos --batch 128
            """, helpNames: .long)

    private typealias Group = TrainingOption.Group

    @OptionGroup(title: Group.data.rawValue) private var data: TrainingFlags<DataOptions>
    @OptionGroup(title: Group.model.rawValue) private var model: TrainingFlags<ModelOptions>
    @OptionGroup(title: Group.optimisation.rawValue) private var optimisation:
        TrainingFlags<OptimisationOptions>
    @OptionGroup(title: Group.augmentation.rawValue) private var augmentation:
        TrainingFlags<AugmentationOptions>
    @OptionGroup(title: Group.run.rawValue) private var conduct: TrainingFlags<RunOptions>
    @OptionGroup(title: Group.run.rawValue) private var files: RunFiles
    @OptionGroup(title: Group.ranks.rawValue) private var ranks: TrainingFlags<RankOptions>
    @OptionGroup(title: Group.ranks.rawValue) private var checks: RankChecks
    @OptionGroup(title: Group.device.rawValue) private var device: TrainingFlags<DeviceOptions>

    @Flag(name: .customShort("h"), help: "List the options without explanations.")
    private var listsOptions = false

    private enum DataOptions: GroupSelection { static let group = Group.data }
    private enum ModelOptions: GroupSelection { static let group = Group.model }
    private enum OptimisationOptions: GroupSelection { static let group = Group.optimisation }
    private enum AugmentationOptions: GroupSelection { static let group = Group.augmentation }
    private enum RunOptions: GroupSelection { static let group = Group.run }
    private enum RankOptions: GroupSelection { static let group = Group.ranks }
    private enum DeviceOptions: GroupSelection { static let group = Group.device }

    /// Options about a run that are no part of its configuration.
    private struct RunFiles: ParsableArguments {
        @Option(
            help: """
                Read options from this YAML file; flags override it. Each run's folder has such a file, \
                config.yaml.
                """) var config: String?

        @Option(
            help: """
                Resume the run in this folder with its options. Results stay bit-identical.
                """) var resume: String?

        @Flag(
            help: """
                Resume the run in --out if it has a checkpoint, otherwise start it, as queued jobs need.
                """) var resumeOrStart = false

        @Option(help: "Write a timeline of all ranks to this file, for https://ui.perfetto.dev.")
        var trace: String?
    }

    private struct RankChecks: ParsableArguments {
        @Flag(help: "Compare the weights of all ranks after every step, and not only at checkpoints.")
        var verifyRanks = false
    }

    var isResuming: Bool { (try? resumedRun()) ?? nil != nil }

    func validate() throws {
        if listsOptions { throw CleanExit.message(TrainCommand.optionList) }
        if files.resumeOrStart, files.resume != nil {
            throw ValidationError("--resume-or-start resumes the run in --out; omit --resume")
        }
        if let trace = files.trace { try OutputFile.requireWritable(trace, option: "--trace") }
    }

    private static var optionList: String {
        let sections = optionSections.filter { !$0.names.isEmpty }.map { section in
            section.names.reduce(into: (text: "\(section.heading):", column: 80)) { result, name in
                result.text += result.column + name.count > 76 ? "\n  --\(name)" : " --\(name)"
                result.column = (result.column + name.count > 76 ? 4 : result.column + 3) + name.count
            }.text
        }
        return """
            \(configuration.abstract)

            Usage: \(configuration.usage ?? "")

            \(sections.joined(separator: "\n"))

            'trainer train --help' explains each option.
            """
    }

    /// Returns the folder of the run to resume; nil for a new run.
    private func resumedRun() throws -> String? {
        guard files.resumeOrStart else { return files.resume }
        let out = try configuration(over: TrainingOptions()).options.output
        guard !out.isEmpty else {
            throw ValidationError("--resume-or-start: expected --out with the run's folder too")
        }
        return RunFolder.hasCheckpoint(out) ? out : nil
    }

    /// Returns the options that a configuration and the flags give.
    ///
    /// - Parameter initial: the values of all other options
    private func configuration(over initial: TrainingOptions) throws -> TrainingConfiguration {
        var configuration = TrainingConfiguration(initial)
        if let config = files.config { try configuration.read(config) }
        let flags = [
            data.settings, model.settings, optimisation.settings, augmentation.settings, conduct.settings,
            ranks.settings, device.settings,
        ]
        for setting in flags.joined() { configuration.apply(setting) }
        return configuration
    }

    /// Returns the options, checked.
    ///
    /// - Parameter resumed: the folder of the run to resume
    private func options(resuming resumed: String?) throws -> TrainingOptions {
        var initial = TrainingOptions()
        initial.microBatches = MicroBatchTree.defaultMicroBatches(ranks: MPICommunicator.launchedRanks)
        if let resumed { initial = try Trainer.options(ofRun: resumed) }
        let configuration = try configuration(over: initial)
        try configuration.validate()
        var options = configuration.options
        if options.data.isEmpty { options.data = DemoSet.path }
        if let resumed {
            guard options.output == initial.output else {
                throw ValidationError(
                    "--out: --resume \(resumed) continues in the run's own folder; omit --out")
            }
        } else if options.output.isEmpty {
            let name = options.model
            options.output = RunFolder.unused(
                named: name.allSatisfy { $0.isLetter || $0.isNumber } ? name : "custom")
        }
        return options
    }

    /// Returns what `launch` needs to know.
    ///
    /// - Throws: `ValidationError` without a folder: the next start would begin another run
    func launched() throws -> Launched {
        if let run = files.resume {
            let options = try options(resuming: run)
            return Launched(
                run: run, peerTimeout: options.peerTimeout, maximumTime: options.maximumTime?.seconds,
                added: [], microBatches: options.microBatches)
        }
        let out = try configuration(over: TrainingOptions()).options.output
        guard !out.isEmpty else {
            throw ValidationError(
                "launch: give the run's folder by --out behind train, so that every start continues this run")
        }
        let isThere = RunFolder.hasCheckpoint(out)
        let options = try options(resuming: isThere ? out : nil)
        return Launched(
            run: options.output, peerTimeout: options.peerTimeout,
            maximumTime: options.maximumTime?.seconds,
            added: files.resumeOrStart ? [] : ["--resume-or-start"],
            microBatches: isThere ? options.microBatches : nil)
    }

    /// What `launch` needs to know of the training that it starts.
    struct Launched {
        let run: String
        let peerTimeout: Double
        /// Seconds that training may take.
        let maximumTime: Double?
        /// The words that make each start continue the run.
        let added: [String]
        /// The micro-batches of a run that is resumed; nil for a new one.
        let microBatches: Int?
    }

    func run() throws {
        try Interruption.watch { text in
            if MPICommunicator.launchedRank == 0 { _ = StandardStreams.writeOutput(text + "\n") }
        }
        let resumed = try resumedRun()
        let options = try options(resuming: resumed)
        let job = try Job.join(peerTimeout: options.peerTimeout)
        if job?.rank ?? 0 == 0, options.data == DemoSet.path { try DemoSet.drawIfMissing() }
        // The other ranks wait for the set.
        _ = try job?.gather([])
        let trainer = try Trainer(
            options, resuming: resumed != nil, replacesUnfinished: files.resumeOrStart,
            version: programVersion,
            ranks: job.map { Ranks($0, verifiesEachStep: checks.verifyRanks) }, trace: files.trace,
            sinks: [TrainingConsole()])
        let last = try trainer.run()
        guard job?.rank ?? 0 == 0 else { return }
        RunConsole.print("run: \(options.output)")
        if let last {
            let result = last.validation.images > 0 ? last.validation.summary() : "no validation"
            RunConsole.print("last: \(result) after epoch \(last.epoch)")
            if !last.isBest, let best = trainer.bestTop1 {
                RunConsole.print(
                    "best: top-1 \(percent(best)), of an earlier epoch, is in "
                        + "\(options.output)/checkpoints/best")
            }
        } else {
            RunConsole.print("all \(options.epochs) epochs were finished before")
        }
        if let next = next(options, trainer, last) { RunConsole.print("next: " + next) }
    }

    /// Returns the command that shows what the network has learnt; nil if there is none that works.
    private func next(_ options: TrainingOptions, _ trainer: Trainer, _ last: EpochReport?) -> String? {
        let run = shellQuoted(options.output)
        // Without a photograph that was held out, evaluate would fail.
        guard last.map({ $0.validation.images > 0 }) ?? (trainer.bestTop1 != nil) else {
            return trainer.readablePhotograph.map { "trainer predict --checkpoint \(run) \(shellQuoted($0))" }
        }
        let labels = options.labels.map { " --labels " + shellQuoted($0) } ?? ""
        return "trainer evaluate --checkpoint \(run) --data \(shellQuoted(options.data))\(labels)"
    }
}

/// The set on which `train` trains without `--data`.
enum DemoSet {
    static let path = "scenes"

    static func drawIfMissing() throws {
        if FileManager.default.fileExists(atPath: path) { return }
        RunConsole.print("drawing the demo set in \(path)/")
        try drawingInterruptibly { isStopped in
            try Scenes.write(to: path, count: 2500, size: 96, seed: 1, isStopped: isStopped)
        }
    }
}
