import Foundation
import ImageData
import ModelFiles

/// A run's folder: `metrics.jsonl`, and `checkpoints/step-N/` with the links `last` and `best`.
public struct RunFolder: Sendable {
    public let path: String

    /// Makes the folder; an existing one is refused, a run is never overwritten.
    ///
    /// - Throws: `TrainingError`
    public static func create(_ path: String) throws -> RunFolder {
        guard !FileManager.default.fileExists(atPath: path) else {
            throw TrainingError("\(path): this exists already, and a run is never overwritten; give another --out or remove it")
        }
        do {
            try FileManager.default.createDirectory(atPath: path + "/checkpoints", withIntermediateDirectories: true)
        } catch {
            throw TrainingError("\(path): cannot make the run's folder (\(error.reason)); give another --out")
        }
        return RunFolder(path: path)
    }

    /// The first of `runs/NAME-1`, `runs/NAME-2`, … that does not exist.
    public static func unused(named name: String) -> String {
        var number = 1
        while FileManager.default.fileExists(atPath: "runs/\(name)-\(number)") { number += 1 }
        return "runs/\(name)-\(number)"
    }

    public var metricsPath: String { path + "/metrics.jsonl" }
    public func checkpointPath(step: Int) -> String { path + "/checkpoints/step-\(step)" }

    /// Fills `checkpoints/step-N` under another name and renames it when whole.
    func writeCheckpoint(step: Int, _ body: (String) throws -> Void) throws {
        let final = checkpointPath(step: step)
        let temporary = path + "/checkpoints/.step-\(step).partial"
        let files = FileManager.default
        try? files.removeItem(atPath: temporary)
        do {
            try files.createDirectory(atPath: temporary, withIntermediateDirectories: true)
            try body(temporary)
            try AtomicFile.synchronizeFolder(temporary)
            try? files.removeItem(atPath: final)
            try files.moveItem(atPath: temporary, toPath: final)
            try AtomicFile.synchronizeFolder(path + "/checkpoints")
        } catch {
            try? files.removeItem(atPath: temporary)
            throw error
        }
    }

    /// Points `last` or `best` at the checkpoint of a step.
    func link(_ name: String, step: Int) throws {
        try AtomicFile.link(path + "/checkpoints/" + name, to: "step-\(step)")
    }
}
