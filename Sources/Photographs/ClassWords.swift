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
        return words
    }
}
