@testable import Basics
import Foundation
import Models
import TestSupport
import Testing

@Suite struct AtomicFileTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    @Test func writesAndReplaces() throws {
        try AtomicFile.write(folder.file("a"), [1, 2, 3])
        try AtomicFile.write(folder.file("a"), [4])
        try AtomicFile.write(folder.file("empty"), [])
        #expect(try folder.bytes("a") == [4])
        #expect(try folder.bytes("empty") == [])
        #expect(try folder.names() == ["a", "empty"])
    }

    @Test func longestNameIsNotTooLong() throws {
        let name = String(repeating: "n", count: 255)
        try AtomicFile.write(folder.file(name), [1])
        #expect(try folder.names() == [name])
    }

    @Test func failureLeavesTheOldFileAndNothingElse() throws {
        struct Interruption: Error {}
        try AtomicFile.write(folder.file("a"), [1, 2, 3])
        #expect(throws: Interruption.self) {
            try AtomicFile.write(folder.file("a")) {
                try $0.write([9, 9])
                #expect(try folder.names().count == 2)
                throw Interruption()
            }
        }
        #expect(try folder.bytes("a") == [1, 2, 3])
        #expect(try folder.names() == ["a"])
    }

    @Test func missingFolderIsNamed() throws {
        let path = folder.file("missing/a")
        let error = #expect(throws: FileError.self) { try AtomicFile.write(path, [1]) }
        #expect(error?.path == path)
        #expect(error?.description.contains("No such file or directory") == true)
    }

    @Test func folderInThePlaceOfAFileStays() throws {
        try FileManager.default.createDirectory(atPath: folder.file("a"), withIntermediateDirectories: false)
        #expect(throws: FileError.self) { try AtomicFile.write(folder.file("a"), [1]) }
        #expect(try folder.names() == ["a"])
    }

    /// A limit on the size of files stands in for a full disk: both fail in the middle of a write.
    @Test func fullDiskLeavesTheOldFileAndNothingElse() throws {
        try AtomicFile.write(folder.file("a"), [1, 2, 3])
        // The limit is the whole process's, so it is high enough for the tests that run at the same time.
        let limit = 64 << 20
        signal(SIGXFSZ, SIG_IGN)
        var old = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &old)
        var low = rlimit(rlim_cur: rlim_t(limit), rlim_max: old.rlim_max)
        setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &low)
        defer { setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &old) }
        let error = #expect(throws: FileError.self) {
            try SafetensorsFile.write(folder.file("a"), shapes: ["w": [limit / 4 + 1]]) { _ in
                [Float](repeating: 1, count: limit / 4 + 1)
            }
        }
        #expect(error?.path == folder.file("a"))
        #expect(error?.description.contains("File too large") == true)
        #expect(try folder.bytes("a") == [1, 2, 3])
        #expect(try folder.names() == ["a"])
    }

    @Test func linksAreReplaced() throws {
        try AtomicFile.link(folder.file("last"), to: "step-1")
        try AtomicFile.link(folder.file("last"), to: "step-2")
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: folder.file("last")) == "step-2")
        #expect(try folder.names() == ["last"])
    }

    @Test func manyThreadsDoNotDisturbEachOther() async throws {
        let path = folder.path
        try await withThrowingTaskGroup(of: Void.self) { group in
            for index in 0..<16 {
                let content = [UInt8](repeating: UInt8(index), count: 10_000)
                group.addTask { try AtomicFile.write("\(path)/\(index % 4)", content) }
            }
            try await group.waitForAll()
        }
        #expect(try folder.names() == ["0", "1", "2", "3"])
        for name in try folder.names() {
            let content = try folder.bytes(name)
            #expect(content.count == 10_000 && Set(content).count == 1)
        }
    }
}
