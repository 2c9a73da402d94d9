import TestSupport
import Testing

@testable import Basics
@testable import Runs
@testable import Training

/// Errors of a run's folder that cannot be written name the file and say what to do.
@Suite struct RunFolderTests {
    @Test func failuresAreNamed() throws {
        let place = try TemporaryFolder()
        let path = place.file("run")
        var folder: RunFolder? = try RunFolder.create(path)
        // A file where the folder should be stands for a disk that lets nothing be made.
        try place.remove("run/checkpoints")
        try place.write("", "run/checkpoints")
        let writing = #expect(throws: FileError.self) { try folder?.writeCheckpoint(step: 3) { _ in } }
        #expect(
            writing?.description
                == "\(path)/checkpoints/.step-3.partial: creating this folder failed: Not a directory. "
                + "Check the path and the disk.")

        folder = nil
        try place.remove("run/.lock")
        try place.makeFolder("run/.lock")
        let opening = #expect(throws: FileError.self) { _ = try RunFolder.open(path) }
        #expect(
            opening?.description
                == "\(path)/.lock: opening failed: Is a directory. Check the path and the disk.")
    }
}
