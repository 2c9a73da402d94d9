import ArgumentParser
import Basics
import Foundation

struct LaunchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "launch",
        abstract: "Train on several processes or machines, and continue when one is lost.",
        usage: "trainer launch [-n RANKS] [--hosts FILE] [OPTION VALUE ...] -- train [OPTION VALUE ...]",
        discussion: """
            Starts mpirun and watches it. When a rank or a machine is lost, the ranks start again from the \
            newest checkpoint, without machines of --hosts that do not answer. Results are bit-identical to \
            those of an uninterrupted run. A rank's own error ends the job. A run that has a checkpoint is \
            resumed, so a job that is queued again repeats the same line.

            Examples:
              trainer launch -n 2 -- train --data photos --out runs/a
              trainer launch --hosts hosts --restarts 5 -- train --data /data/photos --out /shared/runs/a
            """)

    @Option(
        name: .short,
        help: "Number of ranks. Default: the slots of --hosts, or the tasks that Slurm has allotted.")
    var n: Int?

    @Option(
        help: """
            File with a line NAME slots=4 for each machine. Default: this machine, or what Slurm has allotted.
            """) var hosts: String?

    @Option(help: "Most failures in a row without a newer checkpoint.") var restarts = 3

    @Option(help: "Smallest number of ranks to train with after a loss.") var minRanks = 1

    @Option(
        help: """
            Network that connects the machines: an interface such as eth0, or addresses such as 10.0.0.0/24.
            """) var interface: String?

    @Argument(parsing: .postTerminator, help: "The command to run: train with its options.")
    var command: [String] = []

    func validate() throws {
        try require("-n", n, in: 1...1024, "ranks")
        try require("--restarts", restarts, in: 0...1_000_000, "failures")
        try require("--min-ranks", minRanks, in: 1...1024, "ranks")
        guard command.first == "train" else {
            let found = command.first.map { "found '\($0)'" } ?? "found nothing"
            throw ValidationError("launch: \(found) after --, expected train with its options")
        }
    }

    /// The command line up to `--`.
    private var typed: String {
        var words = ["trainer", "launch"]
        if let n { words += ["-n", "\(n)"] }
        if let hosts { words += ["--hosts", hosts] }
        if restarts != 3 { words += ["--restarts", "\(restarts)"] }
        if minRanks != 1 { words += ["--min-ranks", "\(minRanks)"] }
        if let interface { words += ["--interface", interface] }
        return words.map(shellQuoted).joined(separator: " ")
    }

    func run() throws {
        let list = try hosts.map { try HostList(path: $0) } ?? HostList.allotted()
        let environment = ProcessInfo.processInfo.environment
        let allotted = environment["SLURM_NTASKS"].flatMap { Int($0) }
        guard let ranks = n ?? list?.slots ?? allotted else {
            throw ValidationError("launch: give the number of ranks by -n, or the machines by --hosts")
        }
        if let list, ranks > list.slots {
            throw ValidationError(
                "-n \(ranks): "
                    + (hosts.map { "--hosts \($0) has \(list.slots) slots; add slots=NUMBER to its lines" }
                        ?? "Slurm has allotted \(list.slots) tasks; ask sbatch for more --ntasks"))
        }
        guard minRanks <= ranks else {
            throw ValidationError("--min-ranks \(minRanks): expected at most the number of ranks, \(ranks)")
        }
        let words = Array(command.dropFirst())
        let parsed: TrainCommand
        do { parsed = try TrainCommand.parse(words) } catch {
            throw ValidationError("train: " + TrainCommand.message(for: error))
        }
        let training = try parsed.launched()
        // mpirun tests its connections once a second at most.
        let isAlone = (list?.hosts.count ?? 1) == 1 && interface == nil
        guard isAlone || training.peerTimeout >= 3 else {
            throw ValidationError(
                "--peer-timeout \(String(format: "%g", training.peerTimeout)): expected 3 seconds or more "
                    + "with several machines; mpirun needs 2 to miss one")
        }
        if let microBatches = training.microBatches, microBatches < ranks {
            let parts = microBatches == 1 ? "1 micro-batch" : "\(microBatches) micro-batches"
            let other =
                microBatches == 1
                ? "trainer --resume \(shellQuoted(training.run))"
                : "trainer launch -n \(microBatches) -- train --resume \(shellQuoted(training.run))"
            throw ValidationError(
                "-n \(ranks): the run in \(training.run) has \(parts), and each rank needs one; continue it "
                    + "with \(other), or start a new run with another --out")
        }
        Supervisor.watchSignals()
        let supervisor = Supervisor(
            ranks: ranks, hosts: list, interface: interface, peerTimeout: training.peerTimeout,
            restarts: restarts, minimumRanks: minRanks, run: training.run, maximumTime: training.maximumTime,
            command: [CommandLine.programPath, "train"] + words + training.added, typed: typed,
            console: LaunchConsole(run: training.run))
        let status = try supervisor.supervise()
        guard status == 0 else { throw ExitCode(status) }
    }
}

extension CommandLine {
    /// The path of the running program, which ranks on other machines have too.
    fileprivate static var programPath: String {
        (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? arguments[0]
    }
}
