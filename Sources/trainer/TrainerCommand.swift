import ArgumentParser

/// The program's version, for `--version` and for the run's log.
let programVersion = "0.1.0"

struct TrainerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trainer",
        abstract: "Trains convolutional networks on folders of photographs, on any OpenCL device.",
        discussion: """
            Exit status:
              0        The command succeeded.
              1        The work failed.
              2        The command line or the configuration file is wrong.
              75       Training stopped as asked, with a checkpoint: resume it.
              76       Another rank, its machine or the network was lost: resume the run.
              128 + n  Signal n ended the command.
            """, version: programVersion,
        subcommands: [
            TrainCommand.self, EvaluateCommand.self, PredictCommand.self, CompareCommand.self,
            InspectCommand.self, PrepareCommand.self, ScenesCommand.self, AugmentCommand.self,
            BenchCommand.self, PlanCommand.self, SimulateCommand.self, LaunchCommand.self,
            FindRateCommand.self, DevicesCommand.self, KernelsCommand.self, TuneCommand.self,
            SelfTestCommand.self, CheckGradientsCommand.self,
        ], defaultSubcommand: TrainCommand.self)
}

/// Marks a command that several ranks run together; every other command runs in one process.
protocol RunsOnRanks {}
