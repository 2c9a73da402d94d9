import Foundation

/// Says that a launcher which this program does not know started it as one of several ranks.
///
/// Each rank would otherwise train by itself, from the beginning.
public struct ForeignLauncher: Error, CustomStringConvertible, Equatable {
    public let launcher: String
    public let rank, ranks: Int
    /// The variable of the environment that holds the rank.
    public let variable: String

    public var description: String {
        "this was started as rank \(rank) of \(ranks) by \(launcher) (\(variable)=\(rank)), which this "
            + "program cannot join: each rank would work alone"
    }

    /// Finds the launcher in an environment; nil if there is none, only one rank, or Open MPI's own.
    public init?(_ environment: [String: String] = ProcessInfo.processInfo.environment) {
        func number(_ name: String) -> Int? { environment[name].flatMap { Int($0) } }
        // Open MPI's mpirun, also inside an allocation of Slurm, and srun with PMIx.
        guard number("OMPI_COMM_WORLD_SIZE") == nil, number("PMIX_RANK") == nil else { return nil }
        var ranksOfStep = number("SLURM_STEP_NUM_TASKS")
        // A batch script has the number of tasks too, but it is no step, or one with a number near 2³².
        let isStep = number("SLURM_STEP_ID").map { $0 < 4_294_967_280 } ?? false
        if isStep || number("SLURM_PROCID") ?? 0 > 0 { ranksOfStep = ranksOfStep ?? number("SLURM_NTASKS") }
        let known: [(launcher: String, ranks: Int?, variable: String)] = [
            ("mpiexec of MVAPICH", number("MV2_COMM_WORLD_SIZE"), "MV2_COMM_WORLD_RANK"),
            ("srun without PMIx", ranksOfStep, "SLURM_PROCID"),
            ("mpiexec of MPICH or Intel MPI", number("PMI_SIZE"), "PMI_RANK"),
            ("flux run", number("FLUX_JOB_SIZE"), "FLUX_TASK_RANK"),
            ("torchrun", number("WORLD_SIZE"), "RANK"),
        ]
        for candidate in known {
            guard let ranks = candidate.ranks, ranks > 1, let rank = number(candidate.variable) else {
                continue
            }
            (launcher, variable) = (candidate.launcher, candidate.variable)
            (self.rank, self.ranks) = (rank, ranks)
            return
        }
        return nil
    }
}
