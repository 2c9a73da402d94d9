/// Provides photographs with their classes, wherever they are: in folders, in a list, in an archive.
///
/// Another kind of source is a type that conforms to this protocol, and a line in `openPhotographs`.
public protocol PhotographSource: Sendable {
    /// What holds the photographs, as messages name it.
    var path: String { get }
    /// The names of the classes, sorted by Unicode scalars.
    var classes: [String] { get }
    var count: Int { get }
    /// How many files were left out because their names are not those of photographs.
    var ignoredFileCount: Int { get }

    /// Returns the index of a photograph's class in `classes`.
    func label(_ index: Int) -> Int

    /// Returns a photograph's name within the source, which is the same on every machine.
    func name(_ index: Int) -> String

    /// Returns where a photograph is, as messages name it.
    func location(_ index: Int) -> String

    /// Returns the size of a photograph's file in bytes.
    func byteCount(_ index: Int) throws -> Int

    /// Returns the content of a photograph's file, valid until the next call with the same `buffer`.
    ///
    /// The bytes may be in `buffer` or in memory of the source, such as a mapped file. Many threads call this
    /// at once.
    /// - Throws: `ImageError`.
    func bytes(_ index: Int, buffer: ByteBuffer) throws -> UnsafeRawBufferPointer
}

/// The two sets of photographs that one folder, list or archive may hold.
public enum DataPart: Sendable { case training, validation }

/// Opens one part of the photographs at a path that a user has named.
///
/// - Returns: nil if there is no such part. Photographs without a validation part are split by a hash.
/// - Throws: `DatasetError`.
func openPhotographs(_ path: String, _ part: DataPart) throws -> (any PhotographSource)? {
    try PhotographFiles.inClassFolders(of: path, part)
}
