import Configuration
import Basics
import Foundation

/// A run's folder: `metrics.jsonl`, `bad-files.txt`, and `checkpoints/step-N/` with the links `last` and
/// `best`.
///
/// A checkpoint is filled under another name and renamed when all of it is on the disk: whatever is called
/// `step-N` is whole.
public final class RunFolder {
    public let path: String
    private let lock: Int32

    /// Makes the folder; an existing one is refused, a run is never overwritten.
    ///
    /// - Throws: `TrainingError`
    public static func create(_ path: String) throws -> RunFolder {
        guard !FileManager.default.fileExists(atPath: path) else {
            throw TrainingError(
                "\(path): this exists already, and a run is never overwritten; go on with it (trainer --resume \(path)), give another --out or "
                    + "remove it")
        }
        try Folder.create(path + "/checkpoints")
        return try RunFolder(locking: path)
    }

    /// Opens the folder of a run to go on with it, and removes what killed writes have left.
    ///
    /// - Throws: `TrainingError` where there is none, or a process is at work in it; `FileError` where
    ///   it cannot be written.
    public static func open(_ path: String) throws -> RunFolder {
        try requireRun(path)
        let folder = try RunFolder(locking: path)
        for place in [path, path + "/checkpoints"]
            + checkpointSteps(path).map({ checkpointPath(path, step: $0) })
        {
            for name in try Folder.names(place) where isLeftover(name) {
                try Folder.remove(place + "/" + name)
            }
        }
        return folder
    }

    private static func requireRun(_ path: String) throws {
        guard FileManager.default.fileExists(atPath: path + "/checkpoints") else {
            throw TrainingError(
                "\(path): no run's folder, it has no checkpoints/ in it; check the path of --resume")
        }
    }

    private static func isLeftover(_ name: String) -> Bool {
        name.hasPrefix(".partial-") || name.hasPrefix(".step-")
    }

    private init(locking path: String) throws {
        self.path = path
        // The system lets go of the lock when the process ends, however it ends.
        lock = Foundation.open(path + "/.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
        guard lock >= 0 else { throw FileError.system(path + "/.lock", "opening") }
        guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
            close(lock)
            throw TrainingError("\(path): another process trains in this folder; wait for it or stop it")
        }
    }

    deinit { close(lock) }

    /// The first of `runs/NAME-1`, `runs/NAME-2`, … that does not exist.
    public static func unused(named name: String) -> String {
        var number = 1
        while FileManager.default.fileExists(atPath: "runs/\(name)-\(number)") { number += 1 }
        return "runs/\(name)-\(number)"
    }

    public var metricsPath: String { path + "/metrics.jsonl" }
    public var badFilesPath: String { path + "/bad-files.txt" }
    public func checkpointPath(step: Int) -> String { RunFolder.checkpointPath(path, step: step) }

    private static func checkpointPath(_ run: String, step: Int) -> String {
        run + "/checkpoints/step-\(step)"
    }

    // MARK: - Checkpoints

    /// The steps of the run's whole checkpoints, in rising order.
    package static func checkpointSteps(_ run: String) -> [Int] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: run + "/checkpoints")) ?? []
        return names.compactMap { $0.hasPrefix("step-") ? Int($0.dropFirst(5)) : nil }.filter { step in
            TrainingState.files.allSatisfy {
                FileManager.default.fileExists(atPath: checkpointPath(run, step: step) + "/" + $0)
            }
        }.sorted()
    }

    /// The newest whole checkpoint, whether or not the link `last` points at it.
    ///
    /// - Throws: `TrainingError` where there is none.
    package static func newestCheckpoint(_ run: String) throws -> String {
        try requireRun(run)
        guard let step = checkpointSteps(run).last else {
            throw TrainingError(
                "\(run): no whole checkpoint to go on from; start the run again with another --out, or remove this folder first"
            )
        }
        return checkpointPath(run, step: step)
    }

    /// Fills `checkpoints/step-N` under another name and renames it when whole.
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
        try AtomicFile.link(path + "/checkpoints/" + name, to: "step-\(step)")
    }

    /// Removes all checkpoints but the newest `count` and the best.
    package func prune(keep count: Int, best: Int?) throws {
        for step in RunFolder.checkpointSteps(path).dropLast(count) where step != best {
            try removeCheckpoint(step: step)
        }
    }

    private func removeCheckpoint(step: Int) throws {
        // Renamed first: a folder that is half removed must not look like a checkpoint.
        let doomed = path + "/checkpoints/.step-\(step).removed"
        try? FileManager.default.removeItem(atPath: doomed)
        try Folder.rename(checkpointPath(step: step), to: doomed)
        try Folder.remove(doomed)
    }
}

extension RunFolder {
    public var configurationPath: String { path + "/config.yaml" }

    package func writeConfiguration(_ options: TrainingOptions) throws {
        try AtomicFile.write(configurationPath, Array(TrainingConfiguration.text(options).utf8))
    }
}
