import Basics
import Foundation

/// Names one labelled file.
public struct ImageFile: Sendable, Hashable {
    /// The path below the source's root, parts separated by "/".
    public let path: String
    /// The index of its class.
    public let label: Int

    public init(path: String, label: Int) {
        self.path = path
        self.label = label
    }
}

/// Reads photographs that are files of their own.
///
/// ClassFolders.swift lists those in class folders, ListedPhotographs.swift those in a list.
struct PhotographFiles: PhotographSource {
    let path: String
    /// The folder that names start from; empty if names are whole paths.
    private let root: String
    let classes: [String]
    private let index: FileIndex
    private let rows: Range<Int>
    /// How many bytes of a path come before the folder of its class; nil if classes are no folders.
    private let prefixLength: Int?

    var count: Int { rows.count }

    /// Takes one part of a list of class folders.
    init(_ index: FileIndex, _ part: FileIndex.Part, root: String) {
        (self.index, self.root, rows, classes) = (index, root, part.rows, part.classes)
        path = part.path.isEmpty ? root : root + "/" + part.path
        prefixLength = part.path.isEmpty ? 0 : part.path.utf8.count + 1
    }

    /// Takes labelled files, whose folders may be no classes.
    init(path: String, root: String, classes: [String], files: [ImageFile]) {
        (self.path, self.root, self.classes, prefixLength) = (path, root, classes, nil)
        index = FileIndex(classes: classes, files: files)
        rows = 0..<files.count
    }

    func label(_ index: Int) -> Int { self.index.label(rows.lowerBound + index) }

    func name(_ index: Int) -> String { self.index.path(rows.lowerBound + index) }

    func withName(_ index: Int, _ body: (UnsafeRawBufferPointer) -> Void) {
        self.index.withPath(rows.lowerBound + index, body)
    }

    /// A file's path below its class's folder, in one Unicode form because file systems change it.
    func nameInClass(_ index: Int) -> String {
        let path = name(index)
        guard let prefixLength else { return path.inOneForm }
        let rest = path.utf8.dropFirst(prefixLength)
        guard let slash = rest.firstIndex(of: UInt8(ascii: "/")) else {
            return String(path[rest.startIndex...]).inOneForm
        }
        return String(path[rest.index(after: slash)...]).inOneForm
    }

    func location(_ index: Int) -> String { root.isEmpty ? name(index) : root + "/" + name(index) }

    func byteCount(_ index: Int) throws -> Int {
        var status = stat()
        guard stat(location(index), &status) == 0 else { throw Self.systemError(location(index)) }
        return Int(status.st_size)
    }

    func addState(_ index: Int, to hash: inout FNVHash) -> Bool {
        guard let stamp = try? FileStamp(path: location(index)) else { return false }
        hash.add(UInt64(stamp.byteCount))
        hash.add(UInt64(bitPattern: Int64(stamp.modified)))
        return true
    }

    func bytes(_ index: Int, buffer: ByteBuffer) throws -> UnsafeRawBufferPointer {
        let path = location(index)
        // Without O_NONBLOCK, opening a named pipe that is called .jpg would wait for a writer.
        let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else { throw Self.systemError(path) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw Self.systemError(path) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            let isFolder = status.st_mode & S_IFMT == S_IFDIR
            throw ImageError(isFolder ? .isFolder : .unreadable, file: path, detail: "not a regular file")
        }
        let size = Int(status.st_size)
        guard size > 0 else { throw ImageError(.empty, file: path) }
        guard size <= ImageLimits.fileBytes else {
            throw ImageError(.tooLarge, file: path, detail: "\(size) bytes")
        }
        buffer.reserve(size)
        var count = 0
        while count < size {
            let got = read(descriptor, buffer.bytes + count, size - count)
            if got < 0 && errno == EINTR { continue }
            guard got >= 0 else { throw Self.systemError(path) }
            // The file was truncated after its size was read, which the decoder reports.
            if got == 0 { break }
            count += got
        }
        return UnsafeRawBufferPointer(start: buffer.bytes, count: count)
    }

    private static func systemError(_ path: String) -> ImageError {
        switch errno {
        case ENOENT, ENOTDIR: ImageError(.missing, file: path)
        case EACCES, EPERM: ImageError(.noPermission, file: path)
        default: ImageError(.unreadable, file: path, detail: String(cString: strerror(errno)))
        }
    }
}

extension String {
    /// The path of a folder, to which file names can be appended.
    package var withoutTrailingSlashes: String {
        var path = self
        while path.count > 1 && path.hasSuffix("/") { path.removeLast() }
        return path
    }

    /// The text in Unicode's form NFC: equal texts have equal bytes.
    var inOneForm: String { utf8.allSatisfy { $0 < 0x80 } ? self : precomposedStringWithCanonicalMapping }
}
