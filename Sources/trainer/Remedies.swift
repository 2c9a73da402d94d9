import ArgumentParser
import Basics
import Collectives
import Compute
import Configuration
import Evaluation
import Foundation
import NeuralNet
import Photographs
import Runs
import Training

/// Says what to do about an error in the words of the command that was typed.
///
/// Errors carry facts only, because the code that throws them does not know which options a command has.
enum Remedy {
    /// Returns what the user can do about an error; nil if there is nothing to add to its description.
    ///
    /// - Parameter isResuming: whether `train --resume` failed: a resumed run keeps its batch.
    static func text(for error: any Error, command: any ParsableCommand.Type, isResuming: Bool = false)
        -> String?
    {
        if let error = error as? ForeignLauncher { return launcherAdvice(error, command) }
        guard let text = advice(on: error, command: command, isResuming: isResuming) else { return nil }
        // What the command cannot do is no remedy.
        let named = text.matches(of: #/(?:^|[ (])--([a-z-]+)/#).map { String($0.1) }
        let known =
            command.optionNames
            + (command is TrainCommand.Type ? LaunchCommand.optionNames + Job.mpirunFlags : [])
        return Set(named).isSubset(of: known) ? text : nil
    }

    /// Returns what to type instead of another launcher; its options are not the command's.
    private static func launcherAdvice(_ error: ForeignLauncher, _ command: any ParsableCommand.Type)
        -> String
    {
        let alone = "env -u \(error.variable) trainer \(command.name) …"
        return command is any RunsOnRanks.Type
            ? "type mpirun -n \(error.ranks) trainer \(command.name) … with Open MPI's mpirun, under Slurm "
                + "srun --mpi=pmix trainer \(command.name) …, or for independent processes \(alone)"
            : "\(command.name) runs in one process: start it without a launcher, or for independent "
                + "processes type \(alone)"
    }

    /// Returns an error's description with its remedy behind the first line, which a list may follow.
    static func message(
        for error: any Error, command: (any ParsableCommand.Type)?, isResuming: Bool = false
    ) -> String {
        let lines = "\(error)".split(separator: "\n", maxSplits: 1, omittingEmptySubsequences: false)
        let remedy = command.flatMap { text(for: error, command: $0, isResuming: isResuming) }
        return lines[0] + (remedy.map { "; " + $0 } ?? "") + lines.dropFirst().map { "\n" + $0 }.joined()
    }

    /// Returns why all ranks exchange as one group, and what may change that.
    static func message(for reason: Topology.FlatReason) -> String {
        switch reason {
        case .unequalNodes: reason.description
        case .indivisible: reason.description + "; more --micro-batches may help"
        }
    }

    private static func advice(on error: any Error, command: any ParsableCommand.Type, isResuming: Bool)
        -> String?
    {
        switch error {
        case let error as ComputeError:
            text(
                for: error.kind, command: command,
                lessMemory: isResuming ? "try a smaller --cache" : lessMemory(command))
        case let error as TrainingError: text(for: error.kind, isResuming: isResuming)
        case let error as TrainingInterrupted:
            "resume with: " + Job.line("--resume " + shellQuoted(error.run))
        case let error as NetworkError: text(for: error.kind)
        case let error as DatasetError: text(for: error.kind, command: command, isResuming: isResuming)
        case let error as EvaluationError: text(for: error.kind)
        case let error as TopologyError: text(for: error.kind)
        case let error as CollectiveError where error.kind == .noMPI:
            "install openmpi-bin and libopenmpi-dev on every node, or start without mpirun"
        case is WindowsUnavailable: "choose --transport sendrecv"
        default: nil
        }
    }

    private static func text(
        for kind: ComputeError.Kind, command: any ParsableCommand.Type, lessMemory: String?
    ) -> String? {
        switch kind {
        case .outOfMemory: "the device has too little free memory" + (lessMemory.map { ": " + $0 } ?? "")
        case .bufferTooLarge: lessMemory
        case .parameterTooLarge: "give another device to --device, or choose a network with smaller layers"
        case .deviceNotFound:
            command == DevicesCommand.self ? nil : "run `trainer devices` to list the devices"
        case .noPlatform:
            "install a runtime: `apt-get install pocl-opencl-icd` runs the kernels on the CPU, "
                + "and a GPU needs its vendor's OpenCL driver"
        case .unwritableCache: "set POCL_CACHE_DIR, or HOME, to a folder that can be written"
        case .limitedMemory: AddressSpace.remedy
        case .silentRuntime: "run `clinfo` to see what this runtime says"
        case .unknownDevice: "give one of these to --device; `trainer devices` lists the numbers"
        case .tooManyDevices(let count):
            command is any RunsOnRanks.Type
                ? "start one rank a device (mpirun -n \(count) trainer …), or give fewer devices to --device"
                : "give a single device to --device"
        case .tooFewDevices:
            "start one rank a device, or give one to --device for each rank (opencl:0,opencl:0 shares a "
                + "device)"
        case .other: nil
        }
    }

    private static func text(for kind: TrainingError.Kind, isResuming: Bool) -> String? {
        switch kind {
        case .unusableFile(.configuration): "give --config a YAML file, such as a run's config.yaml"
        case .unusableFile(.machine):
            "give --machine \(MachineOptions.names) or a YAML file with its numbers"
        case .changedOptions(let names): unchanged(names)
        case .changedConfiguration(let file):
            "undo this change in \(file), or start a new run (trainer train --config \(file))"
        case .changed(.device): "resume on that device, or \(fromThisRun)"
        case .changed(.version): "resume with that version, or \(fromThisRun)"
        case .changed(.photographs):
            "restore the files that were added, removed or changed, or \(fromThisRun)"
        case .changed(.kernels): fromThisRun
        case .foreignCheckpoint(let checkpoint):
            "start a new run from its weights with --init \(checkpoint)"
        case .runExists(let run): existing(run)
        case .noRun: "check the path of --resume"
        case .noCheckpoint:
            "type the line that started the run again, with --resume-or-start, or start a new run"
        case .initialModelDoesNotFit: "give the --model that the checkpoint of --init has"
        case .cacheTooLarge(let room):
            "give " + (room.map { "--cache \($0) or less, or " } ?? "") + "--cache auto"
        case .tooLittleMemory where isResuming: nil
        case .tooLittleMemory(anyBatch: true): "try a smaller --batch or more --micro-batches"
        case .tooLittleMemory: "try a smaller --model or --image-size"
        case .diverged(let learningRate, let hasLearnt):
            "try a new run with a lower --learning-rate (\(String(format: "%.2g", learningRate / 10))), a "
                + "longer --warmup-epochs or --clip-norm 1"
                + (hasLearnt ? ", perhaps from this checkpoint (--init)" : "")
        case .tooManyBadFiles(let count, let run): afterBadFiles(count, run)
        case .usage, .other: nil
        }
    }

    /// Returns what to do about a folder that is there already.
    private static func existing(_ path: String) -> String {
        let folder = shellQuoted(path)
        if RunFolder.hasCheckpoint(path) {
            return "resume it (\(Job.line("--resume " + folder))), give another --out or remove it"
        }
        return RunFolder.isUnfinished(path)
            ? "it has no checkpoint to resume from: type the line again with --resume-or-start, which "
                + "replaces it, or give another --out" : "give another --out"
    }

    /// Returns what to do after too many photographs could not be used.
    ///
    /// - Parameter run: the run that has found them; nil before training.
    private static func afterBadFiles(_ count: Int, _ run: String?) -> String {
        let more = "allow more with --max-bad \(2 * count)"
        guard let run else { return "repair or remove the files, or \(more)" }
        let folder = shellQuoted(run)
        return RunFolder.hasCheckpoint(run)
            ? "allow more (\(Job.line("--resume \(folder) --max-bad \(2 * count)"))), or repair or remove "
                + "the files and start a new run"
            : "repair or remove the files, or \(more), and type the line again with --out \(folder) "
                + "--resume-or-start, which replaces this run"
    }

    private static let fromThisRun = "train a new run from this one with --init"

    /// Returns what to do about options that a resumed run must keep.
    private static func unchanged(_ names: [String]) -> String {
        func list(_ names: [String]) -> String { names.map { "--" + $0 }.joined(separator: ", ") }
        let changeable = TrainingOption.all.filter { [.conduct, .rank].contains($0.effect) }
        return
            "omit \(list(names)), or start a new run. These may change: \(list(changeable.map(\.name))) "
            + "(--data to the same files in another folder, --device to one of the same model)"
    }

    private static func text(for kind: NetworkError.Kind) -> String? {
        switch kind {
        case .tooManyPoolings: "give a larger --image-size or fewer poolings (M)"
        case .viewTooSmall, .other: nil
        }
    }

    private static func text(
        for kind: DatasetError.Kind, command: any ParsableCommand.Type, isResuming: Bool
    ) -> String? {
        let names = command.optionNames
        return switch kind {
        case .batchTooLarge where isResuming: nil
        case .batchTooLarge(let largest) where largest > 0: "give --batch \(largest) or less"
        case .batchTooLarge: "give fewer --micro-batches"
        case .badArchive(let problem): text(for: problem)
        case .outputExists where command == PrepareCommand.self:
            "give another --out, or remove this folder"
        case .missingFolder where command == PrepareCommand.self: "check the path of the photographs"
        case _ where !names.contains("data"): nil
        case .missingFolder where isResuming: "give --data with the folder in which the photographs are now"
        case .missingFolder, .notAFolder, .noClasses:
            "give --data the folder that holds a folder of photographs for each class"
        case .setBelow(let folder): "give --data \(shellQuoted(folder))"
        case .run(let run): aboutRun(run, command)
        case .nested(let folder): "if these folders are the classes, give --data \(folder)"
        case .flat(let list):
            "put the photographs of each class into a folder of the class's name"
                + (names.contains("labels")
                    ? ", or give a list of their classes with --labels "
                        + (list ?? "FILE.csv") : "")
                + (command == EvaluateCommand.self ? "; `trainer predict` needs no classes" : "")
        case .partsAsClasses(let training):
            "rename them to train and val, or give only \(training) with --data"
        case .noneHeldOut where names.contains("val-fraction"):
            "give --val-fraction 1 to measure all of them, or --data with other photographs"
        default: nil
        }
    }

    /// Returns what works instead of giving a run's folder as photographs.
    private static func aboutRun(_ run: String, _ command: any ParsableCommand.Type) -> String {
        let data = (try? Trainer.options(ofRun: run).data).map(shellQuoted) ?? "PHOTOGRAPHS"
        let folder = shellQuoted(run)
        return switch command {
        case is TrainCommand.Type where RunFolder.hasCheckpoint(run):
            "continue it (trainer --resume \(folder)), or give photographs (--data \(data))"
        case is EvaluateCommand.Type:
            "type trainer evaluate --checkpoint \(folder) --data \(data)"
        default: "give photographs (--data \(data))"
        }
    }

    private static func text(for problem: DatasetError.ArchiveProblem) -> String? {
        switch problem {
        case .notTar: "unpack it first if it is compressed, or remove it from the folder"
        case .truncated: "copy or download it again"
        case .damaged: "copy it again, and check it with `tar tf`"
        case .unsupported: "unpack it, and pack it again with `tar cf`"
        case .repeated: "remove one of them"
        case .noClass: "add it, or put the photographs into class folders"
        case .missing: "copy all archives that belong to the set"
        case .badManifest: "restore the file, or remove it to read the archives without it"
        }
    }

    private static func text(for kind: EvaluationError.Kind) -> String? {
        switch kind {
        case .viewTooSmall(isDense: true): "give larger --scales"
        case .viewTooSmall: "give larger --scales, or --dense for a smaller window"
        case .viewTooLarge: "give smaller --scales"
        case .unknownClass: "give one of these to --heat"
        case .other: nil
        }
    }

    private static func text(for kind: TopologyError.Kind) -> String {
        switch kind {
        case .microBatches: "start fewer ranks, or a new run with more --micro-batches"
        case .nodeSize: "give a --node-size that divides the number of ranks, or none"
        case .transport: "choose --transport auto, onesided or sendrecv"
        }
    }

    /// Returns the options with which the command takes less device memory; nil if it has none.
    private static func lessMemory(_ command: any ParsableCommand.Type) -> String? {
        let names = command.optionNames
        var ways = [
            ("batch", "a smaller --batch"), ("micro-batches", "more --micro-batches"),
            ("scales", "smaller --scales"), ("size", "a smaller --size"),
            ("inputs", "fewer --inputs"), ("outputs", "fewer --outputs"),
        ].filter { names.contains($0.0) }
        if ways.isEmpty, names.contains("image-size") { ways = [("image-size", "a smaller --image-size")] }
        return ways.isEmpty ? nil : "try " + ways.map(\.1).joined(separator: " or ")
    }
}
