import Foundation
import TestSupport
import Testing

@testable import Photographs

@Suite struct DatasetTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    /// Writes `count` files, one after the other into each class's folder.
    private func write(_ count: Int, to prefix: String = "") throws {
        for number in 0..<count {
            try folder.write([1], "\(prefix)\(["cat", "dog"][number % 2])/\(number).jpg")
        }
    }

    private func load(fraction: Double = 0.1) throws -> Dataset {
        try Dataset.load(root: folder.path, validationFraction: fraction)
    }

    private func failure(fraction: Double = 0.1) -> DatasetError? {
        #expect(throws: DatasetError.self) { try load(fraction: fraction) }
    }

    /// A name that is not UTF-8 is reported as such, not as a missing file.
    @Test func namesThatAreNotUTF8() throws {
        try folder.write(encodeJPEG(smoothPicture(width: 8, height: 8)), "a/1.jpg")
        try folder.write(encodeJPEG(smoothPicture(width: 8, height: 8)), "b/1.jpg")
        let name = Array(folder.path.utf8) + Array("/a/".utf8) + [0xE9] + Array(".jpg".utf8) + [0]
        try #require(
            name.withUnsafeBufferPointer {
                $0.withMemoryRebound(to: CChar.self) { rename(folder.file("a/1.jpg"), $0.baseAddress) }
            } == 0)
        let set = try load(fraction: 0).training
        let error = #expect(throws: ImageError.self) { try set.decoded(0, shortSide: 8) }
        #expect(error?.description.contains("not UTF-8") == true, "\(error?.description ?? "")")
    }

    /// Models are measured with what `load` holds out of a folder, or with all of it.
    @Test func measured() throws {
        for index in 0..<40 { try folder.write([], "set/\(index % 4 == 0 ? "a" : "b")/\(index).jpg") }
        func measured(_ name: String, _ choice: LabelledFolder.Choice) throws -> LabelledFolder.Measured {
            try LabelledFolder(root: folder.file(name)).measured(choice)
        }
        func paths(_ name: String, _ choice: LabelledFolder.Choice) throws -> [String] {
            try measured(name, choice).set.files.map(\.path)
        }
        let held = try Dataset.load(root: folder.file("set"), validationFraction: 0.5)
        let part = try measured("set/", .heldOut(fraction: 0.5))
        #expect(part.set.files == held.validation.files && part.total == 40 && !part.isValidationPart)
        #expect(try paths("set", .all).count == 40)
        let set = try LabelledFolder(root: folder.file("set"))
        #expect(set.fingerprint(validationFraction: 0.5) == held.fingerprint)
        #expect(set.fingerprint(validationFraction: 0.4) != held.fingerprint)
        // Classes of one and of no photograph are allowed.
        try folder.write([], "few/a/1.jpg")
        try folder.write([], "few/b/note.txt")
        let few = try measured("few", .all).set
        #expect(few.classes == ["a", "b"] && few.files == [ImageFile(path: "a/1.jpg", label: 0)])
        for name in ["both/train/a/1.jpg", "both/val/c/2.jpg", "only/val/c/2.jpg"] {
            try folder.write([], name)
        }
        #expect(try paths("both", .heldOut(fraction: 0.1)) == ["val/c/2.jpg"])
        #expect(try paths("only", .heldOut(fraction: 0.1)) == ["val/c/2.jpg"])
        let both = try measured("both", .all).set
        #expect(
            both.files.map(\.path) == ["train/a/1.jpg", "val/c/2.jpg"] && both.files.map(\.label) == [0, 1])
        #expect(try paths("only", .all) == ["val/c/2.jpg"])
        for (name, choice, found) in [
            ("few", .heldOut(fraction: 0.5), "none of its 1 photographs is held out"), ("none", .all, "none"),
            ("few/a", .all, "no class folders"),
        ] as [(String, LabelledFolder.Choice, String)] {
            let error = #expect(throws: DatasetError.self) { try paths(name, choice) }
            #expect(error?.description.contains(found) == true, "\(String(describing: error))")
        }
    }

    @Test func trainAndValFolders() throws {
        for name in [
            "train/b/2.jpg", "train/b/10.JPG", "train/b/1.JpEg", "train/a/x.jpeg", "train/É/x.jpg",
            "val/b/y.jpg", "train/b/notes.txt", "train/b/.hidden.jpg", "train/b/jpg", "train/readme",
            "top.jpg", "train/a/deeper/z.jpg", "train/.git/z.jpg", "val/a/x.gif",
        ] { try folder.write([1], name) }
        try folder.write([1], "target.gif")
        symlink(folder.file("target.gif"), folder.file("train/a/link.jpg"))
        let dataset = try load()
        #expect(dataset.classes == ["a", "b", "É"])
        #expect(
            dataset.training.files == [
                ImageFile(path: "train/a/deeper/z.jpg", label: 0),
                ImageFile(path: "train/a/link.jpg", label: 0), ImageFile(path: "train/a/x.jpeg", label: 0),
                ImageFile(path: "train/b/1.JpEg", label: 1), ImageFile(path: "train/b/10.JPG", label: 1),
                ImageFile(path: "train/b/2.jpg", label: 1), ImageFile(path: "train/É/x.jpg", label: 2),
            ])
        #expect(dataset.validation.files == [ImageFile(path: "val/b/y.jpg", label: 1)])
        #expect(dataset.validationPath == folder.file("val"))
        #expect(
            dataset.unused.lines == [
                "not used: 1 photograph outside class folders, in the folder itself",
                "not used: 3 files of kinds that are not read (2 without an extension, 1 .txt), in train, "
                    + "train/b",
                "not used: 2 GIF photographs cannot be read, in the folder itself, val/a; convert them: find "
                    + folder.path
                    + " -iname '*.gif' -exec sh -c 'magick \"$1[0]\" \"$1.jpg\"' sh {} \\;",
                "not used: 2 hidden or system entries (1 .git, 1 .hidden.jpg), in train, train/b",
            ])
        #expect(dataset.training.location(0) == folder.file("train/a/deeper/z.jpg"))
        #expect(
            try Dataset.load(root: folder.path + "//").training.location(0) == dataset.training.location(0))
    }

    @Test func splitByHash() throws {
        try write(600)
        let dataset = try load(fraction: 0.2)
        let training = Set(dataset.training.files.map(\.path))
        let validation = Set(dataset.validation.files.map(\.path))
        #expect(training.count + validation.count == 600 && training.isDisjoint(with: validation))
        #expect(dataset.validation.countsByClass == [60, 60] && dataset.validationPath == nil)
        // A larger share keeps what was in the smaller one.
        #expect(validation.isSubset(of: Set(try load(fraction: 0.4).validation.files.map(\.path))))
        #expect(try load(fraction: 0).validation.count == 0)
        // The split depends neither on the folder's path nor on the layout.
        let other = try TemporaryFolder()
        try other.makeFolder("moved")
        try FileManager.default.moveItem(atPath: folder.path, toPath: other.file("moved/train"))
        let moved = try Dataset.load(root: other.file("moved"), validationFraction: 0.2)
        #expect(moved.validation.files.map(\.path) == dataset.validation.files.map { "train/" + $0.path })
    }

    /// The photographs that are held out depend on the names in their class; few change sides later.
    @Test func splitByClass() throws {
        func files(_ counts: [Int]) -> ImageSet {
            let files = counts.enumerated().flatMap { label, count in
                (0..<count).map { ImageFile(path: "c\(label)/\($0 * 7919 % 10_007).jpg", label: label) }
            }
            let index = FileIndex(classes: counts.indices.map { "c\($0)" }, files: files)
            return ImageSet(PhotographFiles(index, index.header.parts[0], root: "r"))
        }
        func heldOut(_ counts: [Int], _ fraction: Double) -> [Int] {
            files(counts).split(fraction).heldOut.countsByClass
        }
        #expect(heldOut([12, 12], 0.1) == [1, 1])
        #expect(heldOut([1, 2, 3, 100], 0.1) == [0, 1, 1, 9])
        #expect(heldOut([1, 2, 2], 0.999) == [0, 1, 1])
        #expect(heldOut([1, 2, 2], 1e-9) == [0, 1, 1])
        #expect(heldOut([20, 30, 50], 0.2) == [4, 6, 10])
        #expect(heldOut([Int](repeating: 15, count: 10), 0.1).reduce(0, +) == 15)
        // The share of a large class does not make a small one lose its photograph.
        #expect(heldOut([1000, 5], 0.1) == [100, 1])
        // With a tenth more photographs in each class, few of the others change sides.
        let before = Set(files([500, 300]).split(0.1).heldOut.files)
        let all = files([500, 300]).files
        let after = Set(files([550, 330]).split(0.1).heldOut.files)
        let moved = all.count { before.contains($0) != after.contains($0) }
        #expect(moved <= 16, "\(moved) of \(all.count)")
    }

    /// A changed hash would silently move photographs between training and validation of existing runs.
    @Test func hashIsFixed() {
        #expect(nameHash("") == 0xEFD0_1F60_BA99_2926)
        #expect(nameHash("cat/1.jpg") != nameHash("cat/2.jpg"))
        #expect(nameHash("a", salt: 1) != nameHash("a"))
    }

    /// Every change of names, classes or the split changes the fingerprint, and so does the size of a small
    /// set's file; the folder's own path does not.
    @Test func fingerprint() throws {
        try write(40, to: "set/")
        func fingerprint(_ name: String = "set", fraction: Double = 0.2) throws -> String {
            try Dataset.load(root: folder.file(name), validationFraction: fraction).fingerprint
        }
        var seen = try [fingerprint(), fingerprint(fraction: 0.5)]
        let moves = [
            ("set/cat/0.jpg", "set/cat/41.jpg"), ("set/dog/1.jpg", "set/cat/1.jpg"), ("set/dog", "set/doe"),
        ]
        for (from, to) in moves {
            try FileManager.default.moveItem(atPath: folder.file(from), toPath: folder.file(to))
            seen.append(try fingerprint())
        }
        try folder.write([1, 2], "set/cat/2.jpg")
        seen.append(try fingerprint())
        try FileManager.default.removeItem(atPath: folder.file("set/cat/4.jpg"))
        seen.append(try fingerprint())
        #expect(Set(seen).count == seen.count)
        try FileManager.default.moveItem(atPath: folder.file("set"), toPath: folder.file("moved"))
        #expect(try fingerprint("moved") == seen.last)
    }

    @Test func trainFolderWithoutVal() throws {
        try write(100, to: "train/")
        let dataset = try load(fraction: 0.3)
        #expect(dataset.classes == ["cat", "dog"])
        #expect(dataset.training.count + dataset.validation.count == 100 && dataset.validation.count > 10)
    }

    /// Files of a folder (or an empty folder, written with a slash at its end), and what is wrong with them.
    @Test(
        arguments: [
            ([], 0.1, .noClasses, "no class folders"),
            (["photo.jpg"], 0.1, .flat(list: nil), "1 photograph in it and no class folders"),
            (["photo.jpg"], 1, .badOption, "validation fraction 1.0"),
            (["photo.jpg"], .nan, .badOption, "validation fraction nan"),
            (["cat/1.jpg"], 0.1, .oneClass, "“cat”"),
            (["cat/1.jpg", "dog/1.gif"], 0.1, .emptyClass, "/dog: an empty class"),
            (["train/cat/1.jpg", "train/dog/1.jpg", "val/cow/1.jpg"], 0.1, .unknownClass, "“cow”"),
            (["train/cat/1.jpg", "train/dog/1.jpg", "val/cat/"], 0.1, .emptyClass, "no photograph in it"),
            (["val/cat/1.jpg"], 0.1, .noTrainingFolder, "no photographs to train on"),
        ] as [([String], Double, DatasetError.Kind, String)])
    func mistakes(names: [String], fraction: Double, kind: DatasetError.Kind, message: String) throws {
        for name in names {
            if name.hasSuffix("/") { try folder.makeFolder(name) } else { try folder.write([1], name) }
        }
        let error = failure(fraction: fraction)
        #expect(
            error?.kind == kind && error?.description.contains(message) == true,
            "\(String(describing: error))")
    }

    @Test func notAFolder() throws {
        let missing = #expect(throws: DatasetError.self) { try Dataset.load(root: "/nonexistent/photos") }
        #expect(missing?.kind == .missingFolder)
        #expect(missing?.description.contains("/nonexistent/photos: no such folder") == true)
        let file = try folder.write([1], "photo.jpg")
        #expect(#expect(throws: DatasetError.self) { try Dataset.load(root: file) }?.kind == .notAFolder)
    }

    @Test(.enabled(if: geteuid() != 0, "root may list everything")) func noPermission() throws {
        try folder.write([1], "cat/1.jpg")
        try folder.write([1], "locked/1.jpg")
        chmod(folder.file("locked"), 0)
        defer { chmod(folder.file("locked"), 0o755) }
        #expect(failure()?.kind == .noPermission)
    }

    @Test func relabelling() throws {
        let set = ImageSet(
            root: "r", classes: ["a", "b", "c"],
            files: [ImageFile(path: "a/1", label: 0), ImageFile(path: "c/1", label: 2)])
        #expect(try set.relabelled(classes: ["c", "x", "a"]).files.map(\.label) == [2, 0])
        let error = #expect(throws: DatasetError.self) { try set.relabelled(classes: ["a", "b"]) }
        #expect(error?.kind == .unknownClass)
        #expect(error?.description.contains("“c”") == true)
    }

    @Test func sampleForStatistics() {
        let files = (0..<1000).map { ImageFile(path: "a/\($0).jpg", label: 0) }
        let set = ImageSet(root: "r", classes: ["a"], files: files)
        let sample = set.statisticsSample(limit: 100)
        #expect(sample.count == 100)
        #expect(Set(sample.files.map(\.path)).count == 100)
        // Every place in the folder is equally likely. The mean is 50, and five deviations are 24.
        #expect((26...74).contains(sample.files.filter { files[0..<500].contains($0) }.count))
        #expect(set.statisticsSample(limit: 1000).files == files)
    }

    @Test func channelStatistics() throws {
        var files: [String] = []
        for number in 0..<70 {
            let picture = smoothPicture(width: 30 + number, height: 40, phase: Double(number))
            files.append(try folder.write(encodeJPEG(picture), "\(number).jpg"))
        }
        files.insert(try folder.write([], "bad.jpg"), at: 33)
        let set = ImageSet(paths: files, classes: ["a"])
        let measured = set.channelStatistics(shortSide: 24, workers: 1)
        #expect(measured == set.channelStatistics(shortSide: 24, workers: 4))
        #expect(measured.imageCount == 70)
        #expect(measured.failures == [ImageError(.empty, file: folder.file("bad.jpg"))])

        var values: [[Double]] = [[], [], []]
        for index in files.indices where index != 33 {
            let picture = try set.decoded(index, shortSide: 24)
            for (at, byte) in picture.pixels.enumerated() { values[at % 3].append(Double(byte) / 255) }
        }
        for channel in 0..<3 {
            let count = Double(values[channel].count)
            let mean = values[channel].reduce(0, +) / count
            let variance = values[channel].reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / count
            // Both are computed in double precision.
            #expect(abs(measured.mean[channel] - mean) < 1e-9)
            #expect(abs(measured.deviation[channel] - variance.squareRoot()) < 1e-9)
        }
    }
}
