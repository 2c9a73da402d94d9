@testable import Basics
import Foundation
import TestSupport
import Testing

@Suite struct FolderTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    @Test func makesRenamesListsAndRemoves() throws {
        try Folder.create(folder.file("a/b"))
        try AtomicFile.write(folder.file("a/b/c"), [1])
        try Folder.rename(folder.file("a/b"), to: folder.file("a/d"))
        #expect(try Folder.names(folder.file("a")) == ["d"])
        try Folder.remove(folder.file("a"))
        #expect(try folder.names() == [])
    }

    /// After a loss, the old process may end a little later than the new one starts.
    @Test func locksAreWaitedFor() throws {
        let path = folder.file("lock")
        nonisolated(unsafe) var first = try FolderLock(path)
        #expect(first != nil)
        #expect(try FolderLock(path, patience: 0.1) == nil)
        DispatchQueue.global().asyncAfter(deadline: .now() + 0.2) { first = nil }
        #expect(try FolderLock(path, patience: 30) != nil)
    }

    /// Errors name the file, the system's message and the remedy, not Foundation's number.
    @Test func failuresAreExplained() throws {
        try AtomicFile.write(folder.file("file"), [1])
        let missing = folder.file("missing")
        let below = folder.file("file/below")
        func expect(_ message: String, _ call: () throws -> Void) {
            let text = #expect(throws: FileError.self) { try call() }?.description ?? ""
            #expect(
                text.hasPrefix(message) && text.contains(". C") && !text.contains("NSCocoa"), "\(text)")
        }
        expect("\(below): creating this folder failed: Not a directory") { try Folder.create(below) }
        expect("\(missing): listing this folder failed: No such file") { _ = try Folder.names(missing) }
        expect("\(missing): removing it failed: No such file") { try Folder.remove(missing) }
        expect("\(missing): renaming it to \(below) failed: ") { try Folder.rename(missing, to: below) }
    }
}
