import Collectives
import Testing

@Suite struct ForeignLauncherTests {
    @Test(arguments: [
        (["PMI_SIZE": "2", "PMI_RANK": "1"], "MPICH", 1, 2),
        (["SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "4", "SLURM_PROCID": "3"], "srun", 3, 4),
        (["SLURM_STEP_ID": "0", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"], "srun", 0, 2),
        (["SLURM_NTASKS": "2", "SLURM_PROCID": "1"], "srun", 1, 2),
        (["WORLD_SIZE": "8", "RANK": "0", "LOCAL_RANK": "0"], "torchrun", 0, 8),
        (["MV2_COMM_WORLD_SIZE": "2", "MV2_COMM_WORLD_RANK": "0"], "MVAPICH", 0, 2),
    ]) func found(_ environment: [String: String], _ launcher: String, _ rank: Int, _ ranks: Int) throws {
        let found = try #require(ForeignLauncher(environment))
        #expect(found.launcher.contains(launcher))
        #expect(found.rank == rank && found.ranks == ranks)
    }

    @Test(arguments: [
        [:],
        // One process, and ranks that Open MPI knows.
        ["PMI_SIZE": "1", "PMI_RANK": "0"], ["WORLD_SIZE": "1", "RANK": "0"], ["WORLD_SIZE": "4"],
        ["OMPI_COMM_WORLD_SIZE": "2", "PMIX_RANK": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"],
        ["PMIX_RANK": "1", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"],
        // A batch script; Slurm counts it as a step with a number near 2³². One task of a larger job.
        ["SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"],
        ["SLURM_STEP_ID": "4294967291", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"],
        ["SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"],
        // An allocation in which Open MPI's mpirun has started one rank.
        ["OMPI_COMM_WORLD_SIZE": "1", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_STEP_ID": "0"],
    ]) func none(_ environment: [String: String]) { #expect(ForeignLauncher(environment) == nil) }
}
