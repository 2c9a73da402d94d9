import Foundation
import TestSupport
import Testing

@testable import Collectives

@Suite struct EndedJobsTests {
    @Test func onlyTheFirstRankRemovesThem() throws {
        let folder = try TemporaryFolder()
        for name in ["jf.5/file", "jf.6/file", "pid.5/file"] { try folder.write([1], name) }
        var environment = [
            EndedJobs.variable: "5,7,6/../pid.5", "OMPI_MCA_orte_top_session_dir": folder.path,
            "OMPI_COMM_WORLD_LOCAL_RANK": "1",
        ]
        EndedJobs.removeFiles(environment)
        #expect(try folder.names(".") == ["jf.5", "jf.6", "pid.5"])
        environment["OMPI_COMM_WORLD_LOCAL_RANK"] = "0"
        // Open MPI has used the number again.
        environment["OMPI_MCA_ess_base_jobid"] = "\((5 << 16) + 1)"
        EndedJobs.removeFiles(environment)
        #expect(try folder.names(".") == ["jf.5", "jf.6", "pid.5"])
        environment["OMPI_MCA_ess_base_jobid"] = "\((8 << 16) + 1)"
        EndedJobs.removeFiles(environment)
        #expect(try folder.names(".") == ["jf.6", "pid.5"])
    }
}
