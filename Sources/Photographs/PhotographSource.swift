import Basics

/// Provides photographs with their classes, wherever they are: in folders, in a list, in an archive.
///
/// Another kind of source is a type that conforms to this protocol, and a line in `openPhotographs`.
public protocol PhotographSource: Sendable {
    /// What holds the photographs, as messages name it.
    var path: String { get }
    /// The names of the classes, sorted by Unicode scalars.
    var classes: [String] { get }
    var count: Int { get }

    /// Returns the index of a photograph's class in `classes`.
    func label(_ index: Int) -> Int

    /// Returns a photograph's name within the source, which is the same on every machine.
    func name(_ index: Int) -> String

    /// Calls `body` with the bytes of a photograph's name, in pieces; faster than a text for a million names.
    func withName(_ index: Int, _ body: (UnsafeRawBufferPointer) -> Void)

    /// Returns a photograph's name within its class, by which photographs are chosen for validation.
    func nameInClass(_ index: Int) -> String

    /// Returns where a photograph is, as messages name it.
    func location(_ index: Int) -> String

    /// Returns the file that a photograph is in, alone or with others.
    func file(_ index: Int) -> String

    /// Returns the size of a photograph's file in bytes.
    func byteCount(_ index: Int) throws -> Int

    /// Adds the state of a photograph's file, such as its time of change, to a hash.
    ///
    /// - Returns: false if the state is not known.
    func addState(_ index: Int, to hash: inout FNVHash) -> Bool

    /// Returns the content of a photograph's file, valid until the next call with the same `buffer`.
    ///
    /// The bytes may be in `buffer` or in memory of the source, such as a mapped file. Many threads call this
    /// at once.
    /// - Throws: `ImageError`.
    func bytes(_ index: Int, buffer: ByteBuffer) throws -> UnsafeRawBufferPointer
}

extension PhotographSource {
    public func nameInClass(_ index: Int) -> String { name(index) }

    public func withName(_ index: Int, _ body: (UnsafeRawBufferPointer) -> Void) {
        var name = name(index)
        name.withUTF8 { body(UnsafeRawBufferPointer($0)) }
    }

    public func file(_ index: Int) -> String { location(index) }

    public func addState(_ index: Int, to hash: inout FNVHash) -> Bool { false }
}

/// The photographs that one folder, list or archive holds, in one or two parts.
struct PhotographParts {
    /// Nil if there is only a validation part.
    var training: (any PhotographSource)?
    /// Nil if the photographs for validation are to be chosen from the others.
    var validation: (any PhotographSource)?
    var unused = UnusedFiles()
    /// What a user should know about how the photographs were read.
    var notes: [String] = []
}

/// Opens the photographs at a path that a user has named.
///
/// - Parameters:
///   - labels: a list of files and classes; nil takes the names of folders as classes.
///   - cache: keeps lists of folders for the next start.
/// - Throws: `DatasetError`.
func openPhotographs(_ path: String, labels: String? = nil, cache: StartCache = .standard) throws
    -> PhotographParts
{
    if let set = try ArchiveSet(path.withoutTrailingSlashes) {
        guard labels == nil else {
            throw DatasetError(
                .badList, "\(path): holds archives, in which the classes are; a list of labels is for files")
        }
        return try ArchivedPhotographs.open(set)
    }
    let root = path.withoutTrailingSlashes
    if isRun(root) {
        throw DatasetError(.run(root), "\(path): the folder of a run, which has no photographs")
    }
    if let labels { return try ListedPhotographs.open(root, list: labels) }
    return try PhotographFiles.inClassFolders(
        of: ImageNetFiles.kaggleFolder(in: root) ?? root, truth: GroundTruth(near: root), cache: cache)
}

/// Whether a folder is that of a run of `train`.
private func isRun(_ folder: String) -> Bool {
    ["checkpoints", "config.yaml"].allSatisfy { FileIdentity(path: folder + "/" + $0) != nil }
}
