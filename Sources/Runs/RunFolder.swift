import Basics
import Configuration
import Foundation

/// Manages a run's folder: logs, and `checkpoints/step-N/` with the links `last` and `best`.
///
/// A checkpoint is written under another name and renamed when all of it is on the disk, so a folder `step-N`
/// is complete.
public final class RunFolder {
    private let path: String
    private let lock: FolderLock

    /// Creates the folder.
    ///
    /// - Throws: `TrainingError` if it exists, because a run is never overwritten.
    package static func create(_ path: String) throws -> RunFolder {
        guard !FileManager.default.fileExists(atPath: path) else {
            throw TrainingError(
                "\(path): this exists already, and a run is never overwritten", kind: .runExists(path))
        }
        try Folder.create(path + "/checkpoints")
        return try RunFolder(locking: path)
    }

    /// Creates the folder, or empties that of a run which ended before its first checkpoint.
    ///
    /// - Throws: `TrainingError` if the folder contains anything else, or another process trains in it.
    package static func replaceUnfinished(_ path: String) throws -> RunFolder {
        guard FileManager.default.fileExists(atPath: path) else { return try create(path) }
        try requireUnfinished(path)
        try Folder.create(path + "/checkpoints")
        let folder = try RunFolder(locking: path)
        // The process that had the lock until now may have written its first checkpoint.
        try requireUnfinished(path)
        for name in try Folder.names(path + "/checkpoints") {
            try Folder.remove(path + "/checkpoints/" + name)
        }
        for name in try Folder.names(path) where name != "checkpoints" && name != ".lock" {
            try Folder.remove(path + "/" + name)
        }
        return folder
    }

    /// Whether a folder is that of a run which ended before its first checkpoint.
    public static func isUnfinished(_ path: String) -> Bool { (try? requireUnfinished(path)) != nil }

    private static func requireUnfinished(_ path: String) throws {
        let checkpoints = path + "/checkpoints"
        let isThere = FileManager.default.fileExists(atPath: checkpoints)
        let strangers =
            try Folder.names(path).filter { !ownFiles.contains($0) && !$0.hasPrefix(".partial-") }
            + (isThere ? Folder.names(checkpoints) : []).filter { !$0.hasPrefix(".step-") }.map {
                "checkpoints/" + $0
            }
        guard strangers.isEmpty else {
            throw TrainingError(
                "\(path): no complete checkpoint to resume from, but it contains "
                    + strangers.sorted().listed(atMost: 3), kind: .runExists(path))
        }
    }

    /// What a run's folder contains before its first checkpoint.
    private static let ownFiles: Set = [
        "checkpoints", "config.yaml", "metrics.jsonl", "bad-files.txt", "log.txt", ".lock",
    ]

    /// Opens the folder of a run to resume, and removes what interrupted writes left.
    ///
    /// - Throws: `TrainingError` if it does not exist or another process trains in it; `FileError` if it
    ///   cannot be written.
    package static func open(_ path: String) throws -> RunFolder {
        try requireRun(path)
        let folder = try RunFolder(locking: path)
        let checkpoints = checkpointSteps(path).map { checkpointPath(path, step: $0) }
        for place in [path, path + "/checkpoints"] + checkpoints {
            for name in try Folder.names(place) where name.hasPrefix(".partial-") || name.hasPrefix(".step-")
            {
                try Folder.remove(place + "/" + name)
            }
        }
        return folder
    }

    /// The variable of the environment in which `launch` describes to the ranks how they were started.
    public static let launchVariable = "DEEP_IMAGE_LAUNCH"

    /// Returns whether a folder is that of a run, with or without a checkpoint.
    public static func isRun(_ path: String) -> Bool {
        FileManager.default.fileExists(atPath: path + "/checkpoints")
    }

    private static func requireRun(_ path: String) throws {
        guard isRun(path) else {
            throw TrainingError("\(path): no run's folder, it contains no checkpoints/", kind: .noRun)
        }
    }

    private init(locking path: String) throws {
        self.path = path
        // After a loss, the old ranks may take a while to end, on another machine perhaps.
        let isLaunched = ProcessInfo.processInfo.environment[RunFolder.launchVariable] != nil
        guard let lock = try FolderLock(path + "/.lock", patience: isLaunched ? 5 : 0) else {
            throw TrainingError("\(path): another process trains in this folder; wait for it or stop it")
        }
        self.lock = lock
    }

    /// Returns the first of `runs/NAME-1`, `runs/NAME-2`, … that does not exist.
    public static func unused(named name: String) -> String {
        var number = 1
        while FileManager.default.fileExists(atPath: "runs/\(name)-\(number)") { number += 1 }
        return "runs/\(name)-\(number)"
    }

    /// Returns the path of the file with the text of a run's console.
    public static func logPath(_ run: String) -> String { run + "/log.txt" }

    package var metricsPath: String { path + "/metrics.jsonl" }
    package var badFilesPath: String { path + "/bad-files.txt" }
    package func checkpointPath(step: Int) -> String { RunFolder.checkpointPath(path, step: step) }

    private static func checkpointPath(_ run: String, step: Int) -> String {
        run + "/checkpoints/step-\(step)"
    }

    // MARK: - Checkpoints

    /// Returns the steps of the run's complete checkpoints, in rising order.
    private static func checkpointSteps(_ run: String) -> [Int] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: run + "/checkpoints")) ?? []
        return names.compactMap { $0.hasPrefix("step-") ? Int($0.dropFirst(5)) : nil }.filter { step in
            TrainingState.files.allSatisfy {
                FileManager.default.fileExists(atPath: checkpointPath(run, step: step) + "/" + $0)
            }
        }.sorted()
    }

    /// Returns the step of a run's newest complete checkpoint; nil if it has none.
    public static func newestStep(_ run: String) -> Int? { checkpointSteps(run).last }

    /// Returns whether a folder is that of a run to resume.
    public static func hasCheckpoint(_ run: String) -> Bool { newestStep(run) != nil }

    /// Returns the path of the newest complete checkpoint, even if the link `last` does not point at it.
    ///
    /// - Throws: `TrainingError` if there is none.
    package static func newestCheckpoint(_ run: String) throws -> String {
        try requireRun(run)
        guard let step = checkpointSteps(run).last else {
            throw TrainingError("\(run): no complete checkpoint to resume from", kind: .noCheckpoint)
        }
        return checkpointPath(run, step: step)
    }

    /// Writes `checkpoints/step-N` under another name, and renames it when it is complete.
    ///
    /// - Parameter body: writes the files into the folder that it is given
    package func writeCheckpoint(step: Int, _ body: (String) throws -> Void) throws {
        let temporary = path + "/checkpoints/.step-\(step).partial"
        let files = FileManager.default
        try? files.removeItem(atPath: temporary)
        do {
            try Folder.create(temporary)
            try body(temporary)
            try AtomicFile.synchronizeFolder(temporary)
            if files.fileExists(atPath: checkpointPath(step: step)) { try removeCheckpoint(step: step) }
            try Folder.rename(temporary, to: checkpointPath(step: step))
            try AtomicFile.synchronizeFolder(path + "/checkpoints")
        } catch {
            try? files.removeItem(atPath: temporary)
            throw error
        }
    }

    /// Points `last` or `best` at the checkpoint of a step.
    package func link(_ name: String, step: Int) throws {
        let place = path + "/checkpoints/" + name
        var status = stat()
        // A copy may have a folder of this name with another copy of the checkpoint's files.
        if lstat(place, &status) == 0, status.st_mode & S_IFMT == S_IFDIR,
            RunFolder.checkpointSteps(path).contains(step)
        {
            try Folder.remove(place)
        }
        try AtomicFile.link(path + "/checkpoints/" + name, to: "step-\(step)")
    }

    /// Removes all checkpoints except the newest `count` and the best.
    package func prune(keep count: Int, best: Int?) throws {
        for step in RunFolder.checkpointSteps(path).dropLast(count) where step != best {
            try removeCheckpoint(step: step)
        }
    }

    private func removeCheckpoint(step: Int) throws {
        // A folder that is half removed must not look like a checkpoint.
        let doomed = path + "/checkpoints/.step-\(step).removed"
        try? FileManager.default.removeItem(atPath: doomed)
        try Folder.rename(checkpointPath(step: step), to: doomed)
        try Folder.remove(doomed)
    }

    /// Returns the path of a run's options.
    package static func configurationPath(_ run: String) -> String { run + "/config.yaml" }

    /// Writes the options as `config.yaml`, unless it says the same.
    package func writeConfiguration(_ options: TrainingOptions) throws {
        let file = RunFolder.configurationPath(path)
        let text = TrainingConfiguration.text(options)
        var found = TrainingConfiguration()
        if FileManager.default.fileExists(atPath: file), (try? found.read(file)) != nil,
            TrainingConfiguration.text(found.options) == text
        {
            return
        }
        try AtomicFile.write(file, Array(text.utf8))
    }
}
