import Foundation
import TestSupport
import Testing

@testable import Basics
@testable import Photographs

/// Tests rewriting photographs as archives.
@Suite struct PrepareTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    /// Writes pictures of several sizes and formats into class folders, one of which cannot be read.
    private func writeFolders(_ count: Int = 40) throws {
        for number in 0..<count {
            let part = number % 5 == 4 ? "val" : "train"
            let size = [(60, 40), (20, 30), (24, 24), (33, 90)][number % 4]
            let picture = noisePicture(width: size.0, height: size.1, seed: UInt64(number))
            let name = "in/\(part)/\(["cat", "dog"][number % 2])/\(number)"
            if number % 7 == 0 {
                try folder.makeFolder((name as NSString).deletingLastPathComponent)
                try AtomicFile.write(folder.file(name + ".a.png"), encodePNG(picture))
            } else {
                try folder.write(encodeJPEG(picture), name + ".JPEG")
            }
        }
        try folder.write("no picture", "in/train/cat/bad.jpg")
    }

    private func options(_ out: String = "out", workers: Int = 2, shortSides: [Int] = [24])
        -> Preparation.Options
    {
        var options = Preparation.Options(
            source: folder.file("in"), out: folder.file(out), shortSides: shortSides, workers: workers)
        options.archiveBytes = 20_000
        return options
    }

    /// Returns the content of all files of a folder.
    private func content(_ name: String) throws -> [String: [UInt8]] {
        try Dictionary(
            uniqueKeysWithValues: folder.names(name).map { ($0, try folder.bytes(name + "/" + $0)) })
    }

    /// The archives hold each readable photograph, resized and with its class, and are described beside them.
    @Test func archives() throws {
        try writeFolders()
        let summary = try Preparation(options()).run()
        #expect(summary.photographs == 40 && summary.badFiles.count == 1)
        #expect(summary.badFiles[0].contains("bad.jpg: not a JPEG"))
        #expect(try folder.text("out/bad-files.txt").contains("bad.jpg"))
        let names = try folder.names("out")
        #expect(names.contains("train-000001.tar") && names.contains("val-000000.tar"))
        #expect(
            try folder.names("out").filter { !$0.hasSuffix(".tar") } == [
                "bad-files.txt", "classes.txt", "manifest.json", "photographs.index",
            ])
        let set = try Dataset.load(root: folder.file("out"))
        #expect(set.classes == ["cat", "dog"] && set.training.count == 32 && set.validation.count == 8)
        let original = try Dataset.load(root: folder.file("in"))
        for index in 0..<set.training.count {
            let name = set.training.name(index).replacing(".jpg", with: "").replacing("_a", with: "")
            let place = try #require(
                (0..<original.training.count).first {
                    original.training.name($0).split(separator: ".")[0] == name
                })
            let stored = try set.training.decoded(index, shortSide: nil)
            let whole = try original.training.decoded(place, shortSide: nil)
            let target = min(24, min(whole.width, whole.height))
            #expect(min(stored.width, stored.height) == target)
            #expect(set.training.label(index) == original.training.label(place))
            if min(whole.width, whole.height) <= 24, original.training.name(place).hasSuffix("JPEG") {
                #expect(stored == whole, "a small JPEG file keeps its bytes")
            }
        }
        let manifest = try JSON.parse(folder.bytes("out/manifest.json"))
        #expect(manifest["photographs"]?.integer == 40 && manifest["bad_files"]?.integer == 1)
        #expect(manifest["classes"]?.array?[1]["photographs"] == ["train": 16, "val": 4])
        #expect(manifest["statistics"]?["mean"]?.array?.count == 3)
        let sizes = try #require(manifest["archives"]?.array).compactMap { $0["bytes"]?.integer }
        #expect(sizes.dropLast().allSatisfy { $0 > 5000 && $0 < 30_000 })
    }

    /// The bytes depend neither on the number of threads nor on where the source is.
    @Test func reproducible() throws {
        try writeFolders()
        let one = try Preparation(options("one", workers: 1)).run()
        let four = try Preparation(options("four", workers: 4)).run()
        #expect(one.archives == four.archives && one.archives > 3)
        #expect(try content("one") == content("four"))
        // A copy of the set needs no new index.
        try FileManager.default.copyItem(atPath: folder.file("one"), toPath: folder.file("copy"))
        _ = try Dataset.load(root: folder.file("copy"))
        #expect(try content("copy") == content("four"))
    }

    /// Several sizes are written at once, each as it is written alone.
    @Test func severalSizes() throws {
        try writeFolders()
        let both = try Preparation(options(shortSides: [16, 24])).run()
        #expect(both.folders == [folder.file("out/16"), folder.file("out/24")])
        _ = try Preparation(options("24")).run()
        _ = try Preparation(options("16", shortSides: [16])).run()
        for side in ["16", "24"] { #expect(try content(side) == content("out/" + side)) }
    }

    /// A run that stops anywhere continues, and ends with the same bytes.
    @Test(arguments: [0, 3, 17, 29, 38]) func interrupted(_ stop: Int) throws {
        try writeFolders()
        _ = try Preparation(options("whole", shortSides: [16, 24])).run()
        struct Stop: Error {}
        // A killed process leaves its files as they are.
        try interrupt(after: stop)
        let summary = try Preparation(options(shortSides: [16, 24])).run()
        #expect(summary.resumed <= stop && (stop < 29 || summary.resumed > 0))
        for side in ["16", "24"] { #expect(try content("whole/" + side) == content("out/" + side)) }
        // The complete result is recognised.
        let again = try Preparation(options(shortSides: [16, 24])).run()
        #expect(again.resumed == 41)
        for side in ["16", "24"] { #expect(try content("whole/" + side) == content("out/" + side)) }
    }

    private struct Stopped: Error {}

    private func interrupt(after count: Int) throws {
        #expect(throws: Stopped.self) {
            try Preparation(options(shortSides: [16, 24])).run { if $0.done > count { throw Stopped() } }
        }
    }

    /// What another command or other options have written is not overwritten.
    @Test func otherOutput() throws {
        try writeFolders()
        _ = try Preparation(options()).run()
        var other = options()
        other.quality = 80
        #expect(throws: DatasetError.self) { try Preparation(other).run() }
        try folder.write("x", "foreign/file")
        #expect(throws: DatasetError.self) { try Preparation(options("foreign")).run() }
        try interrupt(after: 20, "begun")
        var begun = options("begun")
        begun.quality = 80
        let error = #expect(throws: DatasetError.self) { try Preparation(begun).run() }
        #expect(error?.kind == .outputExists)
    }

    private func interrupt(after count: Int, _ out: String) throws {
        #expect(throws: Stopped.self) {
            try Preparation(options(out)).run { if $0.done > count { throw Stopped() } }
        }
    }

    /// Two processes do not write to one folder; when the first has ended, another continues.
    @Test func twoAtOnce() throws {
        try writeFolders()
        let options = options()
        try interrupt(after: 5, "out")
        let lock = try FolderLock(folder.file("out/.prepare/lock"))
        #expect(lock != nil)
        let error = #expect(throws: DatasetError.self) { try Preparation(options).run() }
        #expect(error?.kind == .inUse && error?.description.contains("another process prepares") == true)
        withExtendedLifetime(lock) {}
    }

    @Test func verification() throws {
        try writeFolders()
        let summary = try Preparation(options()).run()
        let found = try Preparation.verify(folder.file("out"), workers: 2)
        #expect(found.archives == summary.archives && found.photographs == 40)
        var bytes = try folder.bytes("out/train-000001.tar")
        bytes[bytes.count / 2] ^= 1
        try folder.write(bytes, "out/train-000001.tar")
        let error = #expect(throws: DatasetError.self) {
            try Preparation.verify(folder.file("out"), workers: 2)
        }
        #expect(error?.description.contains("out/train-000001.tar: the content is not that of") == true)
    }

    /// Keys are unique, without dots, and not among the names that are never read.
    @Test func keys() throws {
        for name in ["a/1.jpg", "a/1.png", "a/x.y.jpg", "a/x_y.jpg", "a/deep/2.jpg", "b/1.jpg"] {
            try folder.write([1], "in/" + name)
        }
        let source = try #require(try openPhotographs(folder.file("in")).training)
        let keys = Preparation.keys(source)
        #expect((0..<keys.count).map(keys.text) == ["a/1", "a/1-2", "a/deep/2", "a/x_y", "a/x_y-2", "b/1"])
    }

    /// The checksum is that of the standard's examples.
    @Test func checksum() {
        func text(_ parts: [String]) -> String {
            var hash = SHA256()
            for part in parts { hash.add(Array(part.utf8)) }
            return hash.text
        }
        #expect(text([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(text(["a", "bc"]) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        let two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"
        #expect(text([two]) == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1")
        let million = [String](repeating: String(repeating: "a", count: 1000), count: 1000)
        #expect(text(million) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
    }
}
