import Basics
import Foundation

/// Removes what Open MPI's daemons have left on this machine when they were killed or cut off.
public enum EndedJobs {
    /// The variable with the numbers of the launcher's earlier jobs, separated by commas.
    public static let variable = "DEEP_IMAGE_ENDED_JOBS"

    /// Removes the folders of earlier jobs, which the first rank of each machine does.
    static func removeFiles(_ environment: [String: String] = ProcessInfo.processInfo.environment) {
        guard environment["OMPI_COMM_WORLD_LOCAL_RANK"] == "0",
            let folder = environment["OMPI_MCA_orte_top_session_dir"]
        else { return }
        // Open MPI may use a number again.
        let own = environment["OMPI_MCA_ess_base_jobid"].flatMap { UInt32($0) }.map { String($0 >> 16) } ?? ""
        for job in (environment[variable] ?? "").split(separator: ",")
        where job.allSatisfy(\.isNumber) && job != own {
            try? Folder.remove("\(folder)/jf.\(job)")
        }
    }
}
