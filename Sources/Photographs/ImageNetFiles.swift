import Basics
import Foundation

/// Finds what ImageNet is distributed with besides its photographs.
enum ImageNetFiles {
    /// The development kit's list of classes.
    static let kitName = "meta.mat"

    /// Returns the folder that holds `train` and `val` in Kaggle's layout; nil in another layout.
    static func kaggleFolder(in root: String) -> String? {
        let folder = root + "/ILSVRC/Data/CLS-LOC"
        return FileIdentity(path: folder + "/train") == nil ? nil : folder
    }

    /// Returns the path of a file beside the photographs, or in the development kit beside them.
    static func file(_ name: String, near root: String) -> String? {
        var status = stat()
        let isFolder = stat(root, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
        let above = root.lastIndex(of: "/").map { String(root[..<$0]) } ?? "."
        let folder = isFolder ? root : above.isEmpty ? "/" : above
        let kits = (try? Folder.names(folder))?.filter { $0.contains("devkit") }.sorted() ?? []
        let folders = [folder] + kits.flatMap { [folder + "/" + $0, folder + "/\($0)/data"] }
        return folders.map { $0 + "/" + name }.first { FileIdentity(path: $0) != nil }
    }

    /// Returns the lines of a text file.
    static func lines(_ path: String) throws -> [Substring] {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw DatasetError(.badList, "\(path): cannot be read")
        }
        return String(decoding: data, as: UTF8.self).split(whereSeparator: \.isNewline)
    }
}

/// The classes of photographs that are in no class folders, as ImageNet's validation part.
struct GroundTruth {
    private enum Form { case kaggle, synsets, numbers }

    private let path: String
    private let form: Form
    /// The file with the synsets of numbers: the kit's own, or the list of a later kit.
    private let mapping: String?
    /// Changes with the files.
    let identity: String

    private static let files: [(name: String, form: Form)] = [
        ("LOC_val_solution.csv", .kaggle),
        ("imagenet_2012_validation_synset_labels.txt", .synsets),
        ("ILSVRC2012_validation_ground_truth.txt", .numbers),
    ]

    /// Looks for one of the files that are known beside the photographs; nil if there is none.
    init?(near root: String) {
        let found = Self.files.lazy.compactMap { file in
            ImageNetFiles.file(file.name, near: root).map { ($0, file.form) }
        }.first
        guard let found else { return nil }
        (path, form) = found
        mapping =
            ImageNetFiles.file(ImageNetFiles.kitName, near: root)
            ?? ImageNetFiles.file("map_clsloc.txt", near: root)
        let stamps = [path, mapping].compactMap { $0 }.map { path in
            (try? FileStamp(path: path)).map { "\($0.byteCount) \($0.modified)" } ?? ""
        }
        identity = stamps.joined(separator: " ")
    }

    /// Returns the class of each photograph, by its name without folders and ending.
    ///
    /// - Throws: `DatasetError.badList`.
    func classes() throws -> [String: String] {
        let lines = try ImageNetFiles.lines(path)
        var classes: [String: String] = [:]
        switch form {
        case .kaggle:
            // The class is followed by the corners of a box, and by other boxes.
            for (number, line) in lines.enumerated().dropFirst() {
                let fields = line.split(separator: ",", maxSplits: 1)
                guard fields.count == 2, let name = fields[1].split(separator: " ").first else {
                    throw DatasetError(
                        .badList,
                        "\(path):\(number + 1): expected a photograph and its class, found “\(line)”")
                }
                classes[String(fields[0])] = String(name)
            }
        case .synsets:
            for (number, line) in lines.enumerated() {
                classes[Self.name(number + 1)] = line.trimmingCharacters(in: .whitespaces)
            }
        case .numbers:
            let synsets = try synsets()
            for (number, line) in lines.enumerated() {
                guard let index = Int(line.trimmingCharacters(in: .whitespaces)), let name = synsets[index]
                else {
                    throw DatasetError(
                        .badList,
                        "\(path):\(number + 1): found “\(line)”, expected the number of a class in "
                            + "\(mapping ?? "")")
                }
                classes[Self.name(number + 1)] = name
            }
        }
        return classes
    }

    private static func name(_ number: Int) -> String {
        let digits = String(number)
        return "ILSVRC2012_val_" + String(repeating: "0", count: max(0, 8 - digits.count)) + digits
    }

    /// Returns the synset of each number, from `meta.mat` or from lines such as `n02119789 1 kit_fox`.
    private func synsets() throws -> [Int: String] {
        guard let mapping else {
            throw DatasetError(
                .badList,
                "\(path): names classes by the numbers of the development kit, whose meta.mat is not there; "
                    + "put it, or Kaggle's LOC_val_solution.csv, beside the archives")
        }
        if mapping.hasSuffix(ImageNetFiles.kitName) {
            guard let list = KitClass.list(mapping) else {
                throw DatasetError(
                    .badList,
                    "\(mapping): expected the structures “synsets” with an ID, WNID and words in a file of "
                        + "MATLAB 5; copy it again, or put Kaggle's LOC_val_solution.csv beside the archives")
            }
            return Dictionary(list.map { ($0.number, $0.synset) }) { first, _ in first }
        }
        var synsets: [Int: String] = [:]
        for line in try ImageNetFiles.lines(mapping) {
            let fields = line.split(separator: " ")
            if fields.count >= 2, let number = Int(fields[1]) { synsets[number] = String(fields[0]) }
        }
        return synsets
    }

    /// Returns the name by which a photograph is listed.
    static func stem(_ name: some StringProtocol) -> String {
        let last = String(name).split(separator: "/").last.map { String($0) } ?? ""
        return last.lastIndex(of: ".").map { String(last[..<$0]) } ?? last
    }
}
