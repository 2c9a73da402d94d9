import Basics
import Foundation
import Randomness
import TestSupport
import Testing

@testable import Photographs

/// Tests that lists and measurements of an earlier start are used as long as they are right.
@Suite struct StartCacheTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    /// A cache that keeps small sets, and folders that were changed a moment ago.
    private var cache: StartCache {
        StartCache(folder: folder.file("cache"), smallestSet: 0, smallestSample: 0, settlingSeconds: -60)
    }

    private var root: String { folder.file("set") }
    private var kept: FileIndex? { cache.list(of: root, classList: "") }

    private func writeSet() throws {
        for part in ["train", "val"] {
            for name in ["cat/2.jpg", "cat/deep/1.jpg", "cat/deep-1.jpg", "dog/é.jpg", "dog/3.png"] {
                try folder.write([1, 2], "set/\(part)/\(name)")
            }
        }
        try folder.write("x", "set/train/dog/notes.txt")
    }

    private func load() throws -> Dataset { try Dataset.load(root: root, cache: cache) }

    private func expectEqual(_ left: Dataset, _ right: Dataset) {
        #expect(
            left.training.files == right.training.files && left.validation.files == right.validation.files)
        #expect(left.fingerprint == right.fingerprint && left.remarks == right.remarks)
        #expect(left.unused.lines == right.unused.lines)
    }

    @Test func sameListFromTheCache() throws {
        try writeSet()
        let plain = try Dataset.load(root: root, cache: .none)
        #expect(kept == nil)
        let first = try load()
        let index = try #require(kept)
        #expect(index.count == 10 && index.header.folders.count == 9)
        expectEqual(first, plain)
        expectEqual(try load(), plain)
        let order = ["cat/2.jpg", "cat/deep-1.jpg", "cat/deep/1.jpg", "dog/3.png", "dog/é.jpg"]
        #expect(plain.training.files.map(\.path) == order.map { "train/" + $0 })
    }

    /// Every change of the photographs' list is noticed, at any depth.
    @Test func changesAreNoticed() throws {
        try writeSet()
        let files = FileManager.default
        let changes: [(String, () throws -> Void)] = [
            ("a new photograph", { try folder.write([1], "set/train/cat/deep/9.jpg") }),
            ("a removed photograph", { try folder.remove("set/train/cat/deep/9.jpg") }),
            (
                "a renamed photograph",
                {
                    try files.moveItem(
                        atPath: folder.file("set/val/dog/3.png"), toPath: folder.file("set/val/dog/4.png"))
                }
            ),
            ("a new class", { try folder.write([1], "set/train/eel/1.jpg") }),
            ("a new folder without photographs", { try folder.makeFolder("set/train/eel/empty") }),
            (
                "a folder that takes another's place",
                {
                    try files.moveItem(atPath: folder.file("set/train/eel"), toPath: folder.file("set/eel"))
                    try folder.write([1], "set/train/eel/2.jpg")
                }
            ),
        ]
        _ = try load()
        for (change, make) in changes {
            #expect(kept != nil, "before \(change)")
            try make()
            #expect(kept == nil, "\(change)")
            expectEqual(try load(), try Dataset.load(root: root, cache: .none))
        }
        // A content that changes is no change of the list.
        try Data([1, 2, 3]).write(to: URL(fileURLWithPath: folder.file("set/train/cat/2.jpg")), options: [])
        #expect(kept != nil)
        #expect(try load().fingerprint == Dataset.load(root: root, cache: .none).fingerprint)
    }

    /// A file of the cache that is damaged, of another set or of another version is not used.
    @Test func damagedFiles() throws {
        try writeSet()
        _ = try load()
        let name = try #require(folder.names("cache").first { $0.hasSuffix(".index") })
        let bytes = try folder.bytes("cache/" + name)
        for place in stride(from: 0, to: bytes.count, by: 7) {
            var damaged = bytes
            damaged[place] ^= 0x10
            try folder.write(damaged, "cache/" + name)
            #expect(kept == nil, "byte \(place)")
        }
        for length in [0, 8, 23, 24, bytes.count / 2, bytes.count - 1] {
            try folder.write(Array(bytes.prefix(length)), "cache/" + name)
            #expect(kept == nil, "\(length) bytes")
        }
        #expect(try load().training.count == 5)
        #expect(kept != nil)
    }

    /// What may change without a sign is not kept: folders that just changed, and links to files.
    @Test func whatIsNotKept() throws {
        try writeSet()
        var settling = cache
        settling.settlingSeconds = 2
        _ = try Dataset.load(root: root, cache: settling)
        #expect(kept == nil)
        var large = cache
        large.smallestSet = 11
        _ = try Dataset.load(root: root, cache: large)
        #expect(kept == nil)
        let link = folder.file("set/train/dog/link.jpg")
        try FileManager.default.createSymbolicLink(
            atPath: link, withDestinationPath: folder.file("set/nothing.jpg"))
        #expect(try load().training.count == 6)
        #expect(kept == nil)
        try FileManager.default.removeItem(atPath: link)
        // Links to folders are followed, and the folder that one leads to is checked.
        try folder.write([1], "elsewhere/1.jpg")
        try FileManager.default.createSymbolicLink(
            atPath: folder.file("set/train/eel"), withDestinationPath: folder.file("elsewhere"))
        #expect(try load().classes == ["cat", "dog", "eel"])
        #expect(kept != nil)
        try folder.write([1], "elsewhere/2.jpg")
        #expect(kept == nil)
        #expect(try load().training.count == 7)
        // Without a place for files, every start lists the folders.
        try folder.write("no folder", "file")
        let nowhere = StartCache(folder: folder.file("file/cache"), smallestSet: 0, settlingSeconds: -60)
        #expect(try Dataset.load(root: root, cache: nowhere).training.count == 7)
    }

    /// What files without an extension are is kept, with the names of what is not used.
    @Test func contents() throws {
        try writeSet()
        let jpeg: [UInt8] = [0xFF, 0xD8, 0xFF, 0xE0]
        try folder.write(jpeg, "set/train/cat/IMG_1")
        // What the names say is believed, and such files are not opened.
        try folder.write(jpeg, "set/train/cat/text.txt")
        try folder.write("text", "set/train/cat/text.jpg")
        try folder.write("text", "set/train/cat/README")
        let first = try load()
        #expect(first.training.files.map(\.path).contains("train/cat/IMG_1"))
        #expect(first.training.files.map(\.path).contains("train/cat/text.jpg"))
        let names = first.unused.files.map { "\($0.path) \($0.kind) \($0.reason)" }
        #expect(
            names == [
                "train/cat/README without an extension of a kind that is not read",
                "train/cat/text.txt .txt of a kind that is not read",
                "train/dog/notes.txt .txt of a kind that is not read",
            ])
        #expect(kept != nil)
        let second = try load()
        expectEqual(second, first)
        #expect(second.unused.files == first.unused.files)
    }

    /// The names that are stored are bounded, and the numbers are exact.
    @Test func manyUnusedFiles() throws {
        try writeSet()
        for number in 0..<2100 { try folder.write([1], "set/train/cat/\(number).xml") }
        _ = try load()
        for unused in [try load().unused, try Dataset.load(root: root, cache: .none).unused] {
            #expect(unused.count == 2101 && unused.files.count == 2000)
            #expect(unused.lines.first?.contains("2101 files of kinds that are not read (2100 .xml") == true)
        }
    }

    /// Another ground truth beside a flat part gives other classes.
    @Test func groundTruth() throws {
        for name in ["a", "b"] {
            try folder.write([1], "set/ILSVRC/Data/CLS-LOC/train/\(name)/1.JPEG")
            try folder.write([1], "set/ILSVRC/Data/CLS-LOC/val/\(name).JPEG")
        }
        for (list, labels) in [("a,a\nb,b", [0, 1]), ("a,b 1 2\nb,a 3", [1, 0])] {
            try folder.write("ImageId,PredictionString\n" + list, "set/LOC_val_solution.csv")
            for _ in 0..<2 {
                let set = try load().validation
                let found = (0..<set.count).map { (set.name($0), set.label($0)) }.sorted { $0.0 < $1.0 }
                #expect(found.map(\.1) == labels)
            }
        }
    }

    /// The held-out photographs are those of Webster's method, done in the plain way.
    @Test func holdOut() throws {
        var random = Philox(seed: 3, purpose: .shuffle)
        for _ in 0..<20 {
            let classes = 1 + random.integer(below: 6)
            let files = (0..<random.integer(below: 60)).map {
                ImageFile(path: "\($0 * 7 % 60).jpg", label: random.integer(below: classes))
            }
            let set = ImageSet(root: "", classes: (0..<classes).map { "\($0)" }, files: files)
            for fraction in [0, 0.01, 0.1, 0.3, 0.5, 0.95] {
                var order: [(share: Double, hash: UInt64, index: Int)] = []
                for label in 0..<classes {
                    let members = files.indices.filter { files[$0].label == label }
                        .map { (nameHash(files[$0].path), $0) }.sorted { $0 < $1 }
                    for (rank, member) in members.dropLast().enumerated() {
                        let share = rank == 0 ? 0 : (Double(rank) + 0.5) / Double(members.count)
                        order.append((share, member.0, member.1))
                    }
                }
                order.sort { ($0.share, $0.hash, $0.index) < ($1.share, $1.hash, $1.index) }
                let least = set.countsByClass.count { $0 > 1 }
                let count =
                    fraction == 0 ? 0 : max(least, Int((fraction * Double(files.count)).rounded()))
                let expected = Set(order.prefix(count).map { files[$0.index].path })
                let split = set.split(fraction)
                #expect(Set(split.heldOut.files.map(\.path)) == expected)
                #expect(split.rest.count + split.heldOut.count == files.count)
            }
        }
    }

    /// Mean and deviation are measured once, with the photographs that cannot be read, until a file changes.
    @Test func statistics() throws {
        for number in 0..<6 {
            let picture = noisePicture(width: 20, height: 30, seed: UInt64(number))
            try folder.write(encodeJPEG(picture), "set/\(number % 2)/\(number).jpg")
        }
        try folder.write("no photograph", "set/0/bad.jpg")
        let set = ImageSet(try #require(try openPhotographs(root, cache: cache).training))
        func measured(_ side: Int = 16) -> ChannelStatistics {
            set.channelStatistics(shortSide: side, workers: 2, cache: cache)
        }
        let first = measured()
        #expect(first == set.channelStatistics(shortSide: 16, workers: 1) && first.failures.count == 1)
        func keptFiles() throws -> [String] {
            try folder.names("cache").filter { $0.hasPrefix("statistics-") }
        }
        #expect(try keptFiles().count == 1)
        #expect(measured() == first)
        // The kept numbers are used: others in the file's place come back.
        let name = try #require(keptFiles().first)
        let text = try folder.text("cache/" + name)
        try folder.write(text.replacing("\"images\":6", with: "\"images\":5"), "cache/" + name)
        #expect(measured().imageCount == 5)
        try folder.write("{", "cache/" + name)
        #expect(measured() == first)
        #expect(measured(20) != first)
        try folder.write(encodeJPEG(smoothPicture(width: 20, height: 30)), "set/0/0.jpg")
        #expect(measured() != first && measured() == set.channelStatistics(shortSide: 16, workers: 1))
        var small = cache
        small.smallestSample = 8
        try folder.remove("cache")
        #expect(set.channelStatistics(shortSide: 16, workers: 2, cache: small).imageCount == 6)
        #expect(!folder.exists("cache"))
    }
}
