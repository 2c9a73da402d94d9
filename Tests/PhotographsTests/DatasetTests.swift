import Foundation
import TestSupport
import Testing

@testable import Photographs

@Suite struct DatasetTests {
    private func load(_ folder: TemporaryFolder, fraction: Double = 0.1) throws -> Dataset {
        try Dataset.load(root: folder.path, validationFraction: fraction)
    }

    private func failure(_ folder: TemporaryFolder, fraction: Double = 0.1) -> DatasetError? {
        #expect(throws: DatasetError.self) { try load(folder, fraction: fraction) }
    }

    /// A name that is not UTF-8 is reported as such, not as a missing file.
    @Test func namesThatAreNotUTF8() throws {
        let folder = try TemporaryFolder()
        try folder.write(encodeJPEG(smoothPicture(width: 8, height: 8)), "a/1.jpg")
        try folder.write(encodeJPEG(smoothPicture(width: 8, height: 8)), "b/1.jpg")
        let name = Array(folder.path.utf8) + Array("/a/".utf8) + [0xE9] + Array(".jpg".utf8) + [0]
        try #require(
            name.withUnsafeBufferPointer {
                $0.withMemoryRebound(to: CChar.self) { rename(folder.file("a/1.jpg"), $0.baseAddress) }
            } == 0)
        let set = try Dataset.load(root: folder.path, validationFraction: 0).training
        let error = #expect(throws: ImageError.self) {
            try loadImage(path: set.location(0), shortSide: 8)
        }
        #expect(error?.description.contains("not UTF-8") == true, "\(error?.description ?? "")")
    }

    /// Models are measured with all of `val`, even without `train`; else with what `load` holds out, or with
    /// all. The training part may be anything.
    @Test func evaluation() throws {
        let folder = try TemporaryFolder()
        for index in 0..<40 { try folder.write([], "set/\(index % 4 == 0 ? "a" : "b")/\(index).jpg") }
        func paths(_ name: String, _ fraction: Double) throws -> [String] {
            try Dataset.evaluation(root: folder.file(name), fraction: fraction).set.files.map(\.path)
        }
        let held = try Dataset.load(root: folder.file("set"), validationFraction: 0.5).validation.files
        let part = try Dataset.evaluation(root: folder.file("set/"), fraction: 0.5)
        #expect(part.set.files == held && part.total == 40 && !part.isValidationFolder && held.count < 40)
        #expect(try paths("set", 1).count == 40)
        // Classes of one and of no photograph are allowed.
        try folder.write([], "few/a/1.jpg")
        try folder.write([], "few/b/note.txt")
        let few = try Dataset.evaluation(root: folder.file("few"), fraction: 1).set
        #expect(few.classes == ["a", "b"] && few.files == [ImageFile(path: "a/1.jpg", label: 0)])
        try folder.write([], "both/train/a/1.jpg")
        try folder.write([], "both/val/c/2.jpg")
        try folder.write([], "only/val/c/2.jpg")
        #expect(try paths("both", 0.1) == ["val/c/2.jpg"] && paths("only", 0.1) == ["val/c/2.jpg"])
        try folder.write([], "train/train/a/1.jpg")
        #expect(try paths("train", 1) == ["train/a/1.jpg"])
        for (name, fraction, found) in [
            ("few", 1e-9, "holds out none of its 1 photographs"), ("none", 1, "none"),
            ("few/a", 1, "no class folders"),
        ] {
            let error = #expect(throws: DatasetError.self) { try paths(name, fraction) }
            #expect(error?.description.contains(found) == true, "\(String(describing: error))")
        }
    }

    @Test func trainAndValFolders() throws {
        let folder = try TemporaryFolder()
        for name in [
            "train/b/2.jpg", "train/b/10.JPG", "train/b/1.JpEg", "train/a/x.jpeg", "train/É/x.jpg",
            "val/b/y.jpg", "train/b/notes.txt", "train/b/.hidden.jpg", "train/b/jpg", "train/readme",
            "top.jpg", "train/a/deeper/z.jpg", "train/.git/z.jpg", "val/a/x.png",
        ] { try folder.write([1], name) }
        try folder.write([1], "target.png")
        symlink(folder.file("target.png"), folder.file("train/a/link.jpg"))
        let dataset = try load(folder)
        #expect(dataset.classes == ["a", "b", "É"])
        #expect(
            dataset.training.files == [
                ImageFile(path: "train/a/link.jpg", label: 0), ImageFile(path: "train/a/x.jpeg", label: 0),
                ImageFile(path: "train/b/1.JpEg", label: 1), ImageFile(path: "train/b/10.JPG", label: 1),
                ImageFile(path: "train/b/2.jpg", label: 1), ImageFile(path: "train/É/x.jpg", label: 2),
            ])
        #expect(dataset.validation.files == [ImageFile(path: "val/b/y.jpg", label: 1)])
        // notes.txt, jpg, readme, top.jpg, x.png, target.png
        #expect(dataset.ignoredFileCount == 6)
        #expect(dataset.training.location(0) == folder.file("train/a/link.jpg"))
        #expect(
            try Dataset.load(root: folder.file("/")).training.location(0)
                == folder.file("train/a/link.jpg"))
    }

    @Test func splitByHash() throws {
        let folder = try TemporaryFolder()
        for number in 0..<600 { try folder.write([1], "\(["cat", "dog"][number % 2])/\(number).jpg") }
        let dataset = try load(folder, fraction: 0.2)
        let training = Set(dataset.training.files.map(\.path))
        let validation = Set(dataset.validation.files.map(\.path))
        #expect(training.count + validation.count == 600 && training.isDisjoint(with: validation))
        // 120 expected; four standard deviations of a fair split are 39
        #expect((81...159).contains(validation.count))
        // a larger share keeps what was in the smaller one
        #expect(validation.isSubset(of: Set(try load(folder, fraction: 0.4).validation.files.map(\.path))))
        #expect(try load(folder, fraction: 0).validation.count == 0)
        // elsewhere on disk, the same split
        let other = try TemporaryFolder()
        try FileManager.default.moveItem(atPath: folder.path, toPath: other.file("moved"))
        let moved = try Dataset.load(root: other.file("moved"), validationFraction: 0.2)
        #expect(moved.validation.files == dataset.validation.files)
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
        let folder = try TemporaryFolder()
        for number in 0..<40 { try folder.write([1], "set/\(["cat", "dog"][number % 2])/\(number).jpg") }
        func fingerprint(_ name: String = "set", fraction: Double = 0.2) throws -> String {
            try Dataset.load(root: folder.file(name), validationFraction: fraction).fingerprint
        }
        var seen = try [fingerprint(), fingerprint(fraction: 0.5)]
        let moves = [
            ("set/cat/0.jpg", "set/cat/41.jpg"), ("set/dog/1.jpg", "set/cat/1.jpg"), ("set/dog", "set/doe"),
        ]
        for (from, to) in moves {
            try FileManager.default.moveItem(atPath: folder.path + "/" + from, toPath: folder.path + "/" + to)
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
        let folder = try TemporaryFolder()
        for number in 0..<100 { try folder.write([1], "train/\(["cat", "dog"][number % 2])/\(number).jpg") }
        let dataset = try load(folder, fraction: 0.3)
        #expect(dataset.classes == ["cat", "dog"])
        #expect(dataset.training.count + dataset.validation.count == 100 && dataset.validation.count > 10)
    }

    @Test func classMayBeCalledTrain() throws {
        let folder = try TemporaryFolder()
        for name in ["train/1.jpg", "train/2.jpg", "car/1.jpg", "car/2.jpg"] { try folder.write([1], name) }
        #expect(try load(folder, fraction: 0).classes == ["car", "train"])
    }

    @Test func mistakes() throws {
        let missing = #expect(throws: DatasetError.self) { try Dataset.load(root: "/nonexistent/photos") }
        #expect(missing?.kind == .missingFolder)
        #expect(missing?.description.contains("/nonexistent/photos: no such folder") == true)

        let none = try TemporaryFolder()
        #expect(failure(none)?.kind == .noClasses)
        let file = try none.write([1], "photo.jpg")
        #expect(#expect(throws: DatasetError.self) { try Dataset.load(root: file) }?.kind == .notAFolder)
        #expect(failure(none)?.kind == .noClasses)
        #expect(failure(none, fraction: 1)?.kind == .badOption)
        #expect(failure(none, fraction: .nan)?.kind == .badOption)

        let one = try TemporaryFolder()
        try one.write([1], "cat/1.jpg")
        #expect(failure(one)?.kind == .oneClass)
        #expect(failure(one)?.description.contains("“cat”") == true)
        try one.write([1], "dog/1.png")
        #expect(failure(one)?.kind == .emptyClass)
        #expect(failure(one)?.description.contains("/dog: an empty class") == true)
        try one.write([1], "dog/1.jpg")
        #expect(failure(one, fraction: 0.999_999)?.kind == .emptyClass)

        let val = try TemporaryFolder()
        for name in ["train/cat/1.jpg", "train/dog/1.jpg", "val/cow/1.jpg"] { try val.write([1], name) }
        #expect(failure(val)?.kind == .unknownClass)
        #expect(failure(val)?.description.contains("“cow”") == true)

        let empty = try TemporaryFolder()
        for name in ["train/cat/1.jpg", "train/dog/1.jpg"] { try empty.write([1], name) }
        try empty.makeFolder("val/cat")
        #expect(failure(empty)?.kind == .emptyClass)

        let onlyVal = try TemporaryFolder()
        try onlyVal.write([1], "val/cat/1.jpg")
        #expect(failure(onlyVal)?.kind == .noTrainingFolder)
    }

    @Test(.enabled(if: geteuid() != 0, "root may list everything")) func noPermission() throws {
        let folder = try TemporaryFolder()
        try folder.write([1], "cat/1.jpg")
        try folder.write([1], "locked/1.jpg")
        chmod(folder.file("locked"), 0)
        defer { chmod(folder.file("locked"), 0o755) }
        #expect(failure(folder)?.kind == .noPermission)
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
        // any file's place in the folder is as good as any other's: 50 from the first half expected, 5
        // deviations are 24
        #expect((26...74).contains(sample.files.filter { files[0..<500].contains($0) }.count))
        #expect(set.statisticsSample(limit: 1000).files == files)
    }

    @Test func channelStatistics() throws {
        let folder = try TemporaryFolder()
        var files: [ImageFile] = []
        for number in 0..<70 {
            let picture = smoothPicture(width: 30 + number, height: 40, phase: Double(number))
            try folder.write(encodeJPEG(picture), "\(number).jpg")
            files.append(ImageFile(path: "\(number).jpg", label: 0))
        }
        try folder.write([], "bad.jpg")
        files.insert(ImageFile(path: "bad.jpg", label: 0), at: 33)
        let set = ImageSet(root: folder.path, classes: ["a"], files: files)
        let measured = set.channelStatistics(shortSide: 24, workers: 1)
        #expect(measured == set.channelStatistics(shortSide: 24, workers: 4))
        #expect(measured.imageCount == 70)
        #expect(measured.failures == [ImageError(.empty, file: folder.file("bad.jpg"))])

        var values: [[Double]] = [[], [], []]
        for (index, file) in files.enumerated() where file.path != "bad.jpg" {
            let picture = try loadImage(path: set.location(index), shortSide: 24)
            for (at, byte) in picture.pixels.enumerated() { values[at % 3].append(Double(byte) / 255) }
        }
        for channel in 0..<3 {
            let mean = values[channel].reduce(0, +) / Double(values[channel].count)
            let variance =
                values[channel].map { ($0 - mean) * ($0 - mean) }.reduce(0, +) / Double(values[channel].count)
            // double rounding only
            #expect(abs(measured.mean[channel] - mean) < 1e-9)
            #expect(abs(measured.deviation[channel] - variance.squareRoot()) < 1e-9)
        }
    }
}
