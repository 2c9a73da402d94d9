import Basics
import Foundation

/// Says how a rank ended, in a file for `trainer launch`, which cannot tell by mpirun's exit status.
///
/// The file is written only if the launcher named a folder that exists on this rank's node.
public struct RankReport: Equatable, Sendable {
    public enum End: String, Sendable {
        /// Stopped as asked, with a checkpoint.
        case stopped
        /// Stopped by SIGTERM, with a checkpoint. It comes from mpirun if that has lost a machine.
        case terminated
        /// Failed by itself: another try would fail as well.
        case failed
        /// Ended because another rank, or the connection to it, was lost.
        case lostRanks = "lost ranks"
    }

    /// The exit status of a rank that ends because another one was lost: EX_PROTOCOL of sysexits.h.
    ///
    /// mpirun passes it on, also from machines whose reports do not reach the launcher.
    public static let lostStatus: Int32 = 76

    /// The variable of the environment that names the folder.
    public static let variable = "DEEP_IMAGE_REPORTS"

    public let rank: Int
    public let end: End
    public let reason: String

    /// Makes the report of this process.
    public init(_ end: End, _ reason: String) {
        rank = MPICommunicator.launchedRank
        self.end = end
        self.reason = reason
    }

    private init?(_ json: JSON) {
        guard let rank = json["rank"]?.integer, let end = json["end"]?.string.flatMap(End.init(rawValue:)),
            let reason = json["reason"]?.string
        else { return nil }
        self.rank = rank
        self.end = end
        self.reason = reason
    }

    /// Writes the report if a launcher asked for it; a failure is ignored, because the report only helps.
    public func write() {
        guard let folder = ProcessInfo.processInfo.environment[RankReport.variable], !folder.isEmpty,
            FileManager.default.fileExists(atPath: folder)
        else { return }
        let json: JSON = ["rank": rank, "end": end.rawValue, "reason": reason]
        try? AtomicFile.write("\(folder)/rank-\(rank).json", Array(json.text.utf8))
    }

    /// Returns the reports in a folder, in the ranks' order.
    public static func all(in folder: String) -> [RankReport] {
        let names = (try? Folder.names(folder)) ?? []
        return names.filter { $0.hasPrefix("rank-") }.compactMap { name in
            guard let bytes = FileManager.default.contents(atPath: "\(folder)/\(name)") else { return nil }
            return (try? JSON.parse(Array(bytes))).flatMap { RankReport($0) }
        }.sorted { $0.rank < $1.rank }
    }
}
