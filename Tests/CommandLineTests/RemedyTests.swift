import ArgumentParser
import Collectives
import Compute
import Configuration
import Photographs
import Testing

@testable import trainer

@Suite struct RemedyTests {
    private func text(_ kind: ComputeError.Kind, _ command: any ParsableCommand.Type) -> String? {
        Remedy.text(for: ComputeError("it failed", kind: kind), command: command)
    }

    private func text(
        _ kind: DatasetError.Kind, _ command: any ParsableCommand.Type, isResuming: Bool = false
    ) -> String? {
        Remedy.text(for: DatasetError(kind, "it failed"), command: command, isResuming: isResuming)
    }

    @Test func memory() {
        let batch = "try a smaller --batch or more --micro-batches"
        let memory = "the device has too little free memory"
        #expect(text(.outOfMemory, TrainCommand.self) == memory + ": " + batch)
        #expect(text(.bufferTooLarge, TrainCommand.self) == batch)
        #expect(text(.bufferTooLarge, BenchStep.self) == batch)
        #expect(text(.bufferTooLarge, EvaluateCommand.self) == "try a smaller --batch or smaller --scales")
        #expect(text(.bufferTooLarge, PredictCommand.self) == "try smaller --scales")
        #expect(text(.outOfMemory, BenchGEMM.self) == memory + ": try a smaller --size")
        #expect(text(.bufferTooLarge, AugmentCommand.self) == "try a smaller --image-size")
        #expect(text(.outOfMemory, KernelsCommand.self) == memory)
    }

    @Test func devices() throws {
        #expect(try #require(text(.deviceNotFound, PredictCommand.self)).contains("`trainer devices`"))
        #expect(
            text(.unknownDevice, PredictCommand.self)
                == "give one of these to --device; `trainer devices` lists the numbers")
        #expect(text(.tooManyDevices(2), CompareCommand.self) == "give a single device to --device")
        #expect(
            text(.tooManyDevices(2), TrainCommand.self)
                == "start one rank a device (mpirun -n 2 trainer …), or give fewer devices to --device")
        #expect(try #require(text(.tooFewDevices, TrainCommand.self)).contains("to --device for each rank"))
        for command in [TrainCommand.self, DevicesCommand.self] as [any ParsableCommand.Type] {
            #expect(try #require(text(.noPlatform, command)).contains("apt-get install pocl-opencl-icd"))
        }
    }

    @Test(arguments: [
        (TrainingError.Kind.changedOptions(["seed", "init"]), "omit --seed, --init, or start a new run"),
        (.changed(.device), "resume on that device, or train a new run from this one with --init"),
        (.changed(.version), "with that version"), (.changed(.photographs), "restore the files"),
        (.changed(.kernels), "--init"), (.foreignCheckpoint("run/step-6"), "--init run/step-6"),
        (.runExists("nowhere"), "give another --out"),
        (.noRun, "the path of --resume"), (.noCheckpoint, "again, with --resume-or-start"),
        (.initialModelDoesNotFit, "the --model that the checkpoint of --init has"),
        (.cacheTooLarge(room: "3G"), "--cache 3G or less, or --cache auto"),
        (.cacheTooLarge(room: nil), "give --cache auto"),
        (.tooLittleMemory(anyBatch: true), "a smaller --batch or more --micro-batches"),
        (.tooLittleMemory(anyBatch: false), "a smaller --model or --image-size"),
        (.diverged(learningRate: 0.5, hasLearnt: false), "a lower --learning-rate (0.05)"),
        (.diverged(learningRate: 0.5, hasLearnt: true), "--clip-norm 1, perhaps from this checkpoint"),
        (.tooManyBadFiles(count: 3, run: nil), "allow more with --max-bad 6"),
    ]) func training(_ kind: TrainingError.Kind, _ remedy: String) throws {
        let error = TrainingError("it failed", kind: kind)
        #expect(try #require(Remedy.text(for: error, command: TrainCommand.self)).contains(remedy))
    }

    /// The remedy names options of launchers, which no command of ours has.
    @Test func launchers() throws {
        let error = try #require(ForeignLauncher(["PMI_SIZE": "2", "PMI_RANK": "1"]))
        let text = Remedy.message(for: error, command: TrainCommand.self)
        for part in [
            "rank 1 of 2 by mpiexec of MPICH", "mpirun -n 2 trainer train …",
            "srun --mpi=pmix trainer train …", "env -u PMI_RANK trainer train …",
        ] { #expect(text.contains(part), "\(text)") }
        let remedy = try #require(Remedy.text(for: error, command: CompareCommand.self))
        #expect(remedy.contains("in one process"))
    }

    @Test func oneGroupOfAllRanks() {
        let text = Remedy.message(for: .indivisible(microBatches: 16, nodes: 5, ranksPerNode: 3))
        #expect(text.hasSuffix("5 nodes of 3 ranks; more --micro-batches may help"))
        #expect(Remedy.message(for: .unequalNodes(ranks: [2, 1])).hasSuffix("ranks: 2, 1"))
    }

    @Test func missingMPI() throws {
        let error = CollectiveError("Open MPI cannot be used here", kind: .noMPI)
        #expect(
            Remedy.message(for: error, command: TrainCommand.self)
                == "Open MPI cannot be used here; install openmpi-bin and libopenmpi-dev on every node, or "
                + "start without mpirun")
        #expect(Remedy.text(for: CollectiveError("it failed"), command: TrainCommand.self) == nil)
    }

    /// What to do about photographs is said in the words of the command.
    @Test func photographs() throws {
        #expect(
            try #require(text(.flat(list: "D/l.csv"), TrainCommand.self)).hasSuffix("with --labels D/l.csv"))
        #expect(
            try #require(text(.flat(list: nil), EvaluateCommand.self)).contains(
                "--labels FILE.csv; `trainer predict`"))
        #expect(
            try #require(text(.nested(folder: "D/p"), TrainCommand.self)).hasSuffix("give --data D/p"))
        #expect(text(.missingFolder, PredictCommand.self) == nil)
    }

    /// A list below an error's first line stays below its remedy.
    @Test func remedyFollowsTheFirstLine() {
        let error = TrainingError("too many\n  a.jpg\n  b.jpg", kind: .tooManyBadFiles(count: 2, run: nil))
        let remedy = "repair or remove the files, or allow more with --max-bad 4"
        #expect(
            Remedy.message(for: error, command: TrainCommand.self)
                == "too many; \(remedy)\n  a.jpg\n  b.jpg")
        #expect(Remedy.message(for: error, command: nil) == error.description)
    }

    @Test func resumedRunKeepsItsBatch() {
        let error = ComputeError("it failed", kind: .outOfMemory)
        let memory = Remedy.text(for: error, command: TrainCommand.self, isResuming: true)
        #expect(memory == "the device has too little free memory: try a smaller --cache")
        let tooLittle = TrainingError("it failed", kind: .tooLittleMemory(anyBatch: true))
        #expect(Remedy.text(for: tooLittle, command: TrainCommand.self, isResuming: true) == nil)
        #expect(text(.batchTooLarge(largestBatch: 4), TrainCommand.self, isResuming: true) == nil)
        #expect(
            text(.missingFolder, TrainCommand.self, isResuming: true)
                == "give --data with the folder in which the photographs are now")
    }

    @Test func nothingToAdd() {
        for kind in [ComputeError.Kind.bufferTooLarge, .deviceNotFound, .other] {
            #expect(text(kind, DevicesCommand.self) == nil)
        }
        struct Other: Error {}
        #expect(Remedy.text(for: Other(), command: TrainCommand.self) == nil)
    }

    /// No remedy names an option that the command does not have.
    @Test func namesOnlyOptionsOfTheCommand() {
        let errors: [any Error] =
            [.outOfMemory, .bufferTooLarge, .unknownDevice].map { ComputeError("it failed", kind: $0) }
            + [.flat(list: nil), .missingFolder, .noneHeldOut].map { DatasetError($0, "it failed") }
            + [TrainingError("it failed", kind: .cacheTooLarge(room: nil))]
        let commands = TrainerCommand.configuration.subcommands + BenchCommand.configuration.subcommands
        for command in commands where command != BenchCommand.self {
            let names = command.optionNames
            for error in errors {
                let text = Remedy.text(for: error, command: command) ?? ""
                for name in text.matches(of: #/--([a-z-]+)/#).map({ String($0.1) }) {
                    #expect(names.contains(name), "\(command): \(text)")
                }
            }
        }
    }

    @Test func optionNamesAreThoseOfTheHelp() {
        let names = DevicesCommand.optionNames
        #expect(names == ["ranks", "device", "version", "help"])
        #expect(TrainCommand.optionNames.contains("micro-batches"))
    }
}
