@testable import DemoScenes
import Foundation
import TestSupport
import Testing

@testable import Photographs

@Suite struct ScenesTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func changedPixels(_ one: DecodedImage, _ other: DecodedImage) -> [Int] {
        (0..<one.width * one.height).filter {
            one.pixels[3 * $0..<3 * $0 + 3] != other.pixels[3 * $0..<3 * $0 + 3]
        }
    }

    @Test func writesASetThatLoads() throws {
        let path = folder.file("scenes")
        try Scenes.write(to: path, count: 103, size: 32, classes: 10, seed: 1, workers: 3)
        let dataset = try Dataset.load(root: path)
        #expect(dataset.classes == Scenes.classNames(10).sorted())
        #expect(dataset.training.count == 83 && dataset.validation.count == 20)
        #expect(dataset.unused.lines.isEmpty)
        #expect(try folder.names() == ["scenes"])
        let picture = try loadImage(path: dataset.training.location(0), shortSide: 32)
        #expect(picture.width == 32 && picture.height == 32)
        // Another number of threads writes the same bytes.
        try Scenes.write(to: folder.file("again"), count: 103, size: 32, classes: 10, seed: 1, workers: 1)
        for file in dataset.training.files {
            #expect(try folder.bytes("scenes/\(file.path)") == folder.bytes("again/\(file.path)"))
        }
    }

    /// Above 14 classes each has a colour: pictures of one shape differ in the object's colour alone.
    @Test func manyClassesAreColoured() throws {
        let names = Scenes.classNames(112)
        #expect(Set(names).count == 112 && names[0] == "red-striped-disc")
        #expect(names[111] == "white-striped-diamond")
        func meanRed(_ label: Int) -> Double {
            let picture = Scenes.draw(label: label, classes: 112, index: 3, size: 64, seed: 1)
            let reds = stride(from: 0, to: picture.pixels.count, by: 3).map { Double(picture.pixels[$0]) }
            return reds.reduce(0, +) / Double(reds.count)
        }
        // Red and green rings.
        #expect(meanRed(2) > meanRed(14 + 2) + 10)
    }

    @Test func picturesDiffer() {
        let first = Scenes.draw(label: 0, index: 0, size: 32, seed: 1)
        #expect(first == Scenes.draw(label: 0, index: 0, size: 32, seed: 1))
        #expect(first != Scenes.draw(label: 0, index: 10, size: 32, seed: 1))
        #expect(first != Scenes.draw(label: 0, index: 0, size: 32, seed: 2))
    }

    /// The same scene with another class differs only at the object, so the background is independent of it.
    @Test(arguments: 0..<10) func onlyTheObjectShowsTheClass(label: Int) {
        let size = 64
        for index in 0..<5 {
            let one = Scenes.draw(label: label, index: index, size: size, seed: 1)
            let other = Scenes.draw(label: (label + 1) % 10, index: index, size: size, seed: 1)
            let changed = changedPixels(one, other)
            // An object fits a square of 75 % of the side and its border.
            let columns = changed.map { $0 % size }
            #expect(changed.count > 40)
            #expect((columns.max() ?? 0) - (columns.min() ?? 0) <= size * 7 / 8)
        }
    }

    /// The hard set has the same training pictures, and other validation pictures of the same scenes.
    @Test func hardSetDiffersOnlyInValidation() throws {
        try Scenes.write(to: folder.file("plain"), count: 50, size: 32, classes: 5, seed: 3)
        try Scenes.write(
            to: folder.file("hard"), count: 50, size: 32, classes: 5, seed: 3,
            validationHardships: Set(Scenes.Hardship.allCases))
        let plain = try Dataset.load(root: folder.file("plain"))
        let hard = try Dataset.load(root: folder.file("hard"))
        func bytes(_ set: ImageSet, _ index: Int) throws -> Data {
            try Data(contentsOf: URL(fileURLWithPath: set.location(index)))
        }
        #expect(
            plain.training.files == hard.training.files && plain.validation.files == hard.validation.files)
        for index in 0..<plain.training.count {
            #expect(try bytes(plain.training, index) == bytes(hard.training, index))
        }
        for index in 0..<plain.validation.count {
            #expect(try bytes(plain.validation, index) != bytes(hard.validation, index))
        }
    }

    @Test func hardConditionsDarken() {
        func mean(_ picture: DecodedImage) -> Double {
            Double(picture.pixels.reduce(0) { $0 + Int($1) }) / Double(picture.pixels.count)
        }
        func brightness(_ hardships: Set<Scenes.Hardship>) -> Double {
            (0..<20).reduce(0) { sum, index in
                sum + mean(Scenes.draw(label: 1, index: index, size: 32, seed: 1, hardships: hardships))
            }
        }
        // Exposure is at most 0.85 and light at most 1.3, and fall-off never brightens.
        #expect(brightness(Set(Scenes.Hardship.allCases)) < 0.8 * brightness([]))
    }

    /// The small objects change at most a quarter of what the normal ones do, by area.
    @Test func smallObjectsAreSmall() {
        func changed(_ scale: Scenes.ObjectScale) -> Int {
            (0..<10).map { index in
                let one = Scenes.draw(label: 2, index: index, size: 64, seed: 1, objectScale: scale)
                let other = Scenes.draw(label: 9, index: index, size: 64, seed: 1, objectScale: scale)
                return changedPixels(one, other).count
            }.reduce(0, +)
        }
        let (small, normal) = (changed(.small), changed(.normal))
        // The radii give a quarter, and the soft border adds some.
        #expect(small > 0 && Double(small) < 0.35 * Double(normal), "\(small) and \(normal)")
    }

    @Test func emptyFolderMayBeFilled() throws {
        try folder.makeFolder("here")
        try Scenes.write(to: folder.file("here/"), count: 10, size: 16, classes: 2, seed: 1)
        #expect(
            try Dataset.load(root: folder.file("here")).classes == ["checkered-square", "striped-disc"])
    }

    /// Drawing removes what a killed call has left, and keeps what another call is drawing.
    @Test func leftoversAreRemoved() throws {
        // A process that has ended, and this test's parent, which lives.
        let ended = try Process.run(URL(fileURLWithPath: "/bin/true"), arguments: [])
        ended.waitUntilExit()
        let names = [
            ".new.partial-\(ended.processIdentifier)", ".new.partial-\(getppid())",
            ".newer.partial-\(ended.processIdentifier)", ".new.partial-x",
        ]
        for name in names { try folder.write([1], name + "/train/file") }
        try Scenes.write(to: folder.file("new"), count: 10, size: 16, classes: 2, seed: 1)
        #expect(try folder.names() == (names.dropFirst() + ["new"]).sorted())
    }

    @Test func mistakes() throws {
        func kind(to name: String, count: Int = 50, size: Int = 16, classes: Int = 10) -> DatasetError.Kind? {
            #expect(throws: DatasetError.self) {
                try Scenes.write(
                    to: folder.file(name), count: count, size: size, classes: classes, seed: 1)
            }?.kind
        }
        try folder.write([1], "full/file")
        try folder.write([1], "file")
        #expect(kind(to: "full") == .outputExists)
        #expect(kind(to: "file") == .outputExists)
        #expect(kind(to: "new", count: 49) == .badOption)
        #expect(kind(to: "new", size: 15) == .badOption)
        #expect(kind(to: "new", classes: 1) == .badOption)
        #expect(kind(to: "new", classes: 11) == .badOption)
        #expect(kind(to: "file/below") == .cannotWrite)
        #expect(try folder.names() == ["file", "full"])
    }
}
