import Foundation

/// The words for classes whose names are numbers or synsets.
enum ClassWords {
    /// The files in which ImageNet's words are, as they are distributed.
    static let fileNames = [
        ArchiveSet.classListName, "LOC_synset_mapping.txt", "synset_words.txt", "map_clsloc.txt",
    ]

    /// Returns the words for classes that files in a folder say.
    ///
    /// Lines are `n01440764 tench, Tinca tinca`, or `n02119789 1 kit_fox`.
    static func read(near path: String) -> [String: String] {
        var words: [String: String] = [:]
        for name in fileNames {
            guard let file = ImageNetFiles.file(name, near: path), let lines = try? ImageNetFiles.lines(file)
            else { continue }
            for line in lines {
                let isList = name == ArchiveSet.classListName
                let fields = line.split(maxSplits: 1) { $0 == "\t" || !isList && $0 == " " }
                guard fields.count == 2 else { continue }
                var text = fields[1].trimmingCharacters(in: .whitespaces)
                if name == "map_clsloc.txt" {
                    text = text.split(separator: " ").dropFirst().joined(separator: " ").replacing(
                        "_", with: " ")
                }
                words[String(fields[0]).trimmingCharacters(in: .whitespaces)] = text
            }
        }
        if words.isEmpty, let kit = ImageNetFiles.file(ImageNetFiles.kitName, near: path) {
            for entry in KitClass.list(kit) ?? [] { words[entry.synset] = entry.words }
        }
        return words
    }
}

/// The names of a set's classes in their order, with words for them.
public struct ClassNames: Sendable {
    public let names: [String]
    public let words: [String: String]

    public init(_ names: [String]) { (self.names, words) = (names, [:]) }

    /// Reads the classes of a prepared set, of other photographs, or of a list with a name on each line.
    ///
    /// Behind a name in a list, a tab or a space, there may be words: `n01440764 tench, Tinca tinca`.
    /// - Throws: `DatasetError`.
    public init(path: String) throws {
        var status = stat()
        guard stat(path, &status) == 0 else {
            throw DatasetError(.missingFolder, "\(path): no such file or folder")
        }
        let isFolder = status.st_mode & S_IFMT == S_IFDIR
        let manifest = isFolder ? path + "/" + ArchiveSet.manifestName : path
        var words = ClassWords.read(near: path)
        if let manifest = try Manifest(path: manifest, mustBeOne: path.hasSuffix(".json")) {
            names = manifest.classes
        } else if isFolder {
            let parts = try openPhotographs(path)
            names = Set([parts.training, parts.validation].flatMap { $0?.classes ?? [] }).sorted {
                $0.utf8.lexicographicallyPrecedes($1.utf8)
            }
        } else {
            let lines = try ImageNetFiles.lines(path)
            // Names with spaces are names unless all lines begin like synsets.
            let isSynsets = lines.allSatisfy { $0.prefixMatch(of: /n[0-9]{8}(\s|$)/) != nil }
            names = lines.map { line in
                let fields = line.split(maxSplits: 1) { $0 == "\t" || isSynsets && $0 == " " }
                let name = fields.first.map { $0.trimmingCharacters(in: .whitespaces) } ?? ""
                if fields.count > 1 { words[name] = fields[1].trimmingCharacters(in: .whitespaces) }
                return name.inOneForm
            }
        }
        self.words = words
        guard Set(names).count == names.count, !names.isEmpty else {
            throw DatasetError(
                .badList, "\(path): expected the name of each class once, found \(quoted(names))")
        }
    }
}
