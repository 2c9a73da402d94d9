@testable import Basics
@testable import Runs
import Foundation
import Testing

@testable import Training

/// A run's folder that cannot be written is told by name, with what to do.
@Suite struct RunFolderTests {
    @Test func failuresAreTold() throws {
        let path = NSTemporaryDirectory() + "run-folder-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        var folder: RunFolder? = try RunFolder.create(path)
        // A file where the folder should be stands for a disk that lets nothing be made.
        try FileManager.default.removeItem(atPath: path + "/checkpoints")
        try Data().write(to: URL(fileURLWithPath: path + "/checkpoints"))
        let writing = #expect(throws: FileError.self) { try folder?.writeCheckpoint(step: 3) { _ in } }
        #expect(
            writing?.description
                == "\(path)/checkpoints/.step-3.partial: creating this folder failed: Not a directory. Check the path and the disk."
        )

        folder = nil
        try FileManager.default.removeItem(atPath: path + "/.lock")
        try FileManager.default.createDirectory(atPath: path + "/.lock", withIntermediateDirectories: false)
        let opening = #expect(throws: FileError.self) { _ = try RunFolder.open(path) }
        #expect(
            opening?.description
                == "\(path)/.lock: opening failed: Is a directory. Check the path and the disk.")
    }
}
