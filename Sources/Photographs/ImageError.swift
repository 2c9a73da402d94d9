/// Explains why a path does not exist if its name is not UTF-8, whose bytes are read as U+FFFD; else nil.
func nameProblem(_ path: String) -> String? {
    path.contains("\u{FFFD}") ? "its name is not UTF-8; rename it" : nil
}

/// Explains why one photograph cannot be used: the file, what was found and what to do.
public struct ImageError: Error, Equatable, CustomStringConvertible {
    public enum Kind: String, Sendable, CaseIterable {
        case missing, noPermission, unreadable, empty, otherFormat, unknownFormat, truncated, damaged,
            tooLarge, unsupported, isFolder
    }

    public let kind: Kind
    /// Where the photograph is; see `PhotographSource.location`.
    public let file: String
    /// What was found, in a few words; may be empty.
    public let detail: String

    public init(_ kind: Kind, file: String, detail: String = "") {
        self.kind = kind
        self.file = file
        self.detail = detail
    }

    /// Turns an error of any kind, such as a source's own, into one about a photograph.
    init(_ error: any Error, file: String) {
        self = error as? ImageError ?? ImageError(.unreadable, file: file, detail: "\(error)")
    }

    public var description: String {
        let found = detail.isEmpty ? "" : " (\(detail))"
        return switch kind {
        case .missing: "\(file): " + (nameProblem(file) ?? "no such file; check the path")
        case .isFolder: "\(file): a folder; expected a photograph"
        case .noPermission: "\(file): no permission to read it; change its mode with chmod or remove it"
        case .unreadable: "\(file): cannot be read\(found); check the disk, or remove the file"
        case .empty: "\(file): an empty file, 0 bytes; copy it again or remove it"
        case .otherFormat: "\(file): not a JPEG, PNG or WebP file; it is \(detail)"
        case .unknownFormat:
            "\(file): not a JPEG, PNG or WebP file\(found); convert it to JPEG, or remove it if it is no "
                + "photograph"
        case .truncated:
            "\(file): truncated, the data ends before the picture does\(found); copy it again or remove it"
        case .damaged: "\(file): damaged\(found); copy it again or remove it"
        case .tooLarge: "\(file): too large\(found); make it smaller or remove it"
        case .unsupported:
            "\(file): a variant of its format that is not supported\(found); save it as an 8-bit baseline or "
                + "progressive JPEG"
        }
    }
}

/// Explains why photographs, a plan or an output folder cannot be used.
public struct DatasetError: Error, Equatable, CustomStringConvertible {
    public enum Kind: Sendable, Equatable {
        case missingFolder, notAFolder, noPermission, unreadable, noTrainingFolder, noClasses, oneClass,
            emptyClass, unknownClass, severalParts
        /// Photographs are there only in formats that are not read.
        case otherFormats
        /// The folder is that of a run.
        case run(String)
        /// The photographs are in this folder below.
        case setBelow(String)
        /// There are photographs but no class folders; `list` is a file that may list their classes.
        case flat(list: String?)
        /// There is one class, with folders that may be the classes.
        case nested(folder: String)
        /// The folders of two classes are called like parts of a set.
        case partsAsClasses(training: String)
        /// The list of labels cannot be used.
        case badList
        /// An archive cannot be used.
        case badArchive(ArchiveProblem)
        /// Training has held out none of these photographs.
        case noneHeldOut
        case badOption, outputExists, cannotWrite
        /// Another process writes to the folder.
        case inUse
        /// The photographs do not fill a mini-batch; they would fill one of `largestBatch`, if that is not 0.
        case batchTooLarge(largestBatch: Int)
    }

    /// What is wrong with an archive.
    public enum ArchiveProblem: Sendable, Equatable {
        case notTar, truncated, damaged, unsupported
        /// Two members have the same name.
        case repeated
        /// A member has no class.
        case noClass
        /// An archive that the manifest names does not exist, or is another one.
        case missing
        /// The manifest or the list of classes cannot be read.
        case badManifest
    }

    public let kind: Kind
    public let description: String

    /// Whether a value that the user gave is wrong.
    public var isUsage: Bool {
        switch kind {
        case .badOption, .batchTooLarge: true
        default: false
        }
    }

    public init(_ kind: Kind, _ description: String) {
        self.kind = kind
        self.description = description
    }

    /// Explains that there is nothing in class folders, and what else is there.
    static func noPhotographs(in paths: [String]) -> DatasetError {
        let places = paths.joined(separator: ", ")
        let found = paths.compactMap { Dataset.otherFormats(below: $0) }
        return found.isEmpty
            ? DatasetError(.emptyClass, "\(places): no photograph in its class folders; add some")
            : DatasetError(
                .otherFormats,
                "\(places): no photograph in its class folders that can be read; "
                    + found.joined(separator: "; "))
    }

    /// Whether the folder has no class folders as they are expected, so that nothing was read.
    var isAboutLayout: Bool {
        switch kind {
        case .noClasses, .severalParts, .flat, .partsAsClasses: true
        default: false
        }
    }
}
