import Foundation
import TestSupport
import Testing

@testable import Photographs

/// Tests reading ImageNet in the forms in which it is distributed.
@Suite struct ImageNetTests {
    private let folder: TemporaryFolder
    private let synsets = ["n01440764", "n02119789", "n15075141"]
    /// The name, the synset and the content of each photograph.
    private let training: [(name: String, synset: String, content: [UInt8])]
    private let validation: [(name: String, synset: String, content: [UInt8])]

    init() throws {
        folder = try TemporaryFolder()
        let synsets = synsets
        func content(_ seed: Int) throws -> [UInt8] {
            try encodeJPEG(noisePicture(width: 20 + seed % 9, height: 24, seed: UInt64(seed)))
        }
        training = try (0..<30).map { number in
            let synset = synsets[number % 3]
            return ("\(synset)_\(number * 37 % 1000).JPEG", synset, try content(number))
        }
        validation = try (1...12).map { number in
            let digits = number < 10 ? "0\(number)" : "\(number)"
            return (
                "ILSVRC2012_val_000000\(digits).JPEG", synsets[number * number % 3], try content(100 + number)
            )
        }
    }

    /// Writes the training archive, which holds an archive for each synset, and the flat validation archive.
    private func writeArchives(_ name: String) throws {
        var outer = Tar(.gnu)
        for synset in synsets {
            var inner = Tar(.gnu)
            for entry in training where entry.synset == synset { inner.add(entry.name, entry.content) }
            outer.add(synset + ".tar", inner.finished())
        }
        try folder.write(outer.finished(), name + "/ILSVRC2012_img_train.tar")
        var flat = Tar(.gnu)
        for entry in validation { flat.add(entry.name, entry.content) }
        try folder.write(flat.finished(), name + "/ILSVRC2012_img_val.tar")
    }

    /// Writes the development kit's numbers, in another order than that of the synsets.
    private func writeKit(_ name: String, mapping: Bool = true) throws {
        let numbers = [2, 3, 1]
        let truth = validation.map { "\(numbers[synsets.firstIndex(of: $0.synset) ?? 0])\n" }.joined()
        let data = name + "/ILSVRC2012_devkit_t12/data/"
        try folder.write(truth, data + "ILSVRC2012_validation_ground_truth.txt")
        guard mapping else { return }
        let lines = zip(synsets, numbers).map { "\($0) \($1) kit_fox\n" }.joined()
        try folder.write(lines, data + "map_clsloc.txt")
    }

    /// Returns `meta.mat` as MATLAB writes it: an array of structures, packed by zlib or not.
    private func metaFile(_ numbers: [Int], isPacked: Bool) -> [UInt8] {
        func word(_ value: Int) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
        func element(_ type: Int, _ data: [UInt8]) -> [UInt8] {
            let zeros = [UInt8](repeating: 0, count: (8 - data.count % 8) % 8)
            return 1...4 ~= data.count
                ? word(type | data.count << 16) + (data + [0, 0, 0]).prefix(4)
                : word(type) + word(data.count) + data + zeros
        }
        func array(_ kind: Int, _ sizes: [Int], _ name: String, _ rest: [UInt8]) -> [UInt8] {
            element(
                14,
                element(6, word(kind) + word(0)) + element(5, sizes.flatMap(word))
                    + element(1, Array(name.utf8)) + rest)
        }
        func text(_ text: String) -> [UInt8] {
            array(4, [1, text.utf16.count], "", element(4, text.utf16.flatMap { word(Int($0)).prefix(2) }))
        }
        let fields = ["ILSVRC2012_ID", "WNID", "words", "gloss"]
        let rows = zip(synsets, numbers).flatMap { synset, number -> [UInt8] in
            let value = Double(number).bitPattern
            let bytes = (0..<8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
            return array(6, [1, 1], "", element(9, bytes)) + text(synset) + text("kit fox, Vulpes")
                + text("small gr\u{E9}y fox")
        }
        let names = fields.flatMap { ($0.utf8 + [UInt8](repeating: 0, count: 16)).prefix(16) }
        let other = isPacked ? [] : array(1, [0, 0], "other", [])
        let content =
            other
            + array(2, [synsets.count, 1], "synsets", element(5, word(16)) + element(1, names) + rows)
        let header = Array("MATLAB 5.0 MAT-file".utf8)
        let start = header + [UInt8](repeating: 32, count: 124 - header.count) + [0, 1] + Array("IM".utf8)
        guard isPacked else { return start + content }
        // A stream of zlib with one block that is stored as it is, and Adler's checksum.
        var (low, high) = (1, 0)
        for byte in content {
            low = (low + Int(byte)) % 65_521
            high = (high + low) % 65_521
        }
        let length = Array(word(content.count).prefix(2))
        var packed: [UInt8] = [0x78, 0x01, 1]
        packed += length + length.map { ~$0 } + content
        packed += word(high << 16 | low).reversed()
        return start + word(15) + word(packed.count) + packed
    }

    /// The development kit's own list of classes is read, with its words.
    @Test(arguments: [false, true]) func kitOf2012(isPacked: Bool) throws {
        try writeArchives("kit")
        try writeKit("kit", mapping: false)
        let place = "kit/ILSVRC2012_devkit_t12/data/meta.mat"
        let content = metaFile([2, 3, 1], isPacked: isPacked)
        try folder.write(content, place)
        let list = KitClass.list(folder.file(place))
        #expect(list?.map(\.synset) == synsets && list?.map(\.number) == [2, 3, 1])
        let set = try load("kit")
        #expect(set.validation.files.map(\.label).count == validation.count)
        for index in 0..<set.validation.count {
            let name = set.validation.name(index)
            let expected = validation.first { name.hasSuffix($0.name) }?.synset
            #expect(set.classes[set.validation.label(index)] == expected)
        }
        #expect(set.words[synsets[1]] == "kit fox, Vulpes")
        // No damage ends the program.
        for length in stride(from: 0, to: content.count, by: 5) {
            _ = try? MatlabFile(Array(content.prefix(length)))
            var damaged = content
            damaged[length] ^= 0xFF
            _ = try? MatlabFile(damaged)
        }
        try folder.write(Array(content.prefix(300)), place)
        let error = #expect(throws: DatasetError.self) { try load("kit") }
        #expect(error?.description.contains("meta.mat: expected the structures") == true)
    }

    private var solution: String {
        "ImageId,PredictionString\n"
            + validation.reversed().map {
                "\($0.name.dropLast(5)),\($0.synset) 1 2 3 4 \($0.synset) 5 6 7 8 \n"
            }
            .joined()
    }

    private func load(_ name: String) throws -> Dataset { try Dataset.load(root: folder.file(name)) }

    /// The archives, Kaggle's layout and class folders are the same photographs.
    @Test func forms() throws {
        for entry in training {
            try folder.write(entry.content, "folders/train/\(entry.synset)/\(entry.name)")
        }
        for entry in validation {
            try folder.write(entry.content, "folders/val/\(entry.synset)/\(entry.name)")
        }
        try writeArchives("kit")
        try writeKit("kit")
        try writeArchives("solution")
        try folder.write(solution, "solution/LOC_val_solution.csv")
        try writeArchives("labels")
        try folder.write(
            validation.map { $0.synset + "\n" }.joined(), "labels/imagenet_2012_validation_synset_labels.txt")
        let data = "kaggle/ILSVRC/Data/CLS-LOC/"
        for entry in training {
            try folder.write(entry.content, data + "train/\(entry.synset)/\(entry.name)")
        }
        for entry in validation { try folder.write(entry.content, data + "val/\(entry.name)") }
        try folder.write([1], data + "test/ILSVRC2012_test_00000001.JPEG")
        try folder.write(solution, "kaggle/LOC_val_solution.csv")
        let expected = try load("folders")
        for name in ["kit", "solution", "labels", "kaggle"] {
            let set = try load(name)
            #expect(set.classes == synsets)
            #expect(set.training.files == expected.training.files, "\(name)")
            #expect(set.validation.files.map(\.label) == expected.validation.files.map(\.label), "\(name)")
            for index in 0..<set.training.count {
                #expect(
                    try set.training.decoded(index, shortSide: nil)
                        == expected.training.decoded(index, shortSide: nil))
            }
            for index in 0..<set.validation.count {
                #expect(
                    try set.validation.decoded(index, shortSide: nil)
                        == expected.validation.decoded(index, shortSide: nil))
            }
        }
        #expect(try load("kaggle").unused.lines.joined().contains("1 file (1 photographs)"))
        // All of them are prepared to the same archives.
        for name in ["folders", "kit", "kaggle"] {
            _ = try Preparation(
                .init(
                    source: folder.file(name), out: folder.file("out-" + name), shortSides: [16], workers: 2)
            ).run()
        }
        for name in ["kit", "kaggle"] {
            #expect(
                try folder.bytes("out-\(name)/train-000000.tar")
                    == folder.bytes("out-folders/train-000000.tar"),
                "\(name)")
        }
        #expect(try folder.bytes("out-kit/val-000000.tar") == folder.bytes("out-kaggle/val-000000.tar"))
        #expect(try folder.text("out-kit/classes.txt").hasPrefix("n01440764\tkit fox\n"))
    }

    /// What is missing for the classes of the validation part is said.
    @Test func missingTruth() throws {
        try writeArchives("none")
        var error = #expect(throws: DatasetError.self) { try load("none") }
        #expect(error?.kind == .badArchive(.noClass))
        try writeArchives("kit")
        try writeKit("kit", mapping: false)
        error = #expect(throws: DatasetError.self) { try load("kit") }
        #expect(error?.description.contains("whose meta.mat is not there; put it, or Kaggle's") == true)
        try writeKit("kit")
        try folder.write("9\n", "kit/ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt")
        error = #expect(throws: DatasetError.self) { try load("kit") }
        #expect(error?.description.contains("ground_truth.txt:1: found “9”") == true)
        // Fewer lines than photographs.
        try folder.write("1\n", "kit/ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt")
        error = #expect(throws: DatasetError.self) { try load("kit") }
        #expect(error?.description.contains("ILSVRC2012_val_00000002.JPEG: its class is unknown") == true)
    }
}
