import Foundation

/// Names one labelled file.
public struct ImageFile: Sendable, Equatable {
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
struct PhotographFiles: PhotographSource {
    let path: String
    /// The folder that names start from; empty if names are whole paths.
    let root: String
    let classes: [String]
    let files: [ImageFile]
    var ignoredFileCount = 0

    var count: Int { files.count }

    func label(_ index: Int) -> Int { files[index].label }

    func name(_ index: Int) -> String { files[index].path }

    func location(_ index: Int) -> String { root.isEmpty ? name(index) : root + "/" + name(index) }

    func byteCount(_ index: Int) throws -> Int {
        var status = stat()
        guard stat(location(index), &status) == 0 else { throw Self.systemError(location(index)) }
        return Int(status.st_size)
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

extension PhotographFiles {
    /// Lists the photographs of one part in class folders, in the order of classes, then of names.
    ///
    /// A folder has one of these forms:
    /// - `root/train/CLASS/*` and `root/val/CLASS/*`, the training and the validation part;
    /// - `root/CLASS/*` or only `root/train/CLASS/*`, which have no validation part.
    ///
    /// Hidden files and folders within a class folder are ignored.
    static func inClassFolders(of root: String, _ part: DataPart) throws -> PhotographFiles? {
        let root = root.withoutTrailingSlashes
        let top = try FolderListing(path: root)
        let hasVal = top.folders.contains("val")
        let train = top.folders.contains("train") ? try FolderListing(path: root + "/train") : nil
        // A class may be called "train" or "val". Such a folder is a part only if it holds folders itself or
        // is beside the other part.
        let isSplit = train.map { hasVal || !$0.folders.isEmpty } ?? false
        switch part {
        case .training:
            if top.folders == ["val"] { return nil }
            var files = try PhotographFiles(root, isSplit ? "train/" : "", isSplit ? train ?? top : top)
            if isSplit { files.ignoredFileCount += top.images.count + top.otherCount }
            guard !files.classes.isEmpty else {
                throw DatasetError(
                    .noClasses,
                    "\(files.path): no class folders in it; put the photographs of each class into a folder "
                        + "of the class's name")
            }
            return files
        case .validation:
            guard hasVal else { return nil }
            let val = try FolderListing(path: root + "/val")
            guard isSplit || (!val.folders.isEmpty && val.images.isEmpty) else { return nil }
            return try PhotographFiles(root, "val/", val)
        }
    }

    /// - Parameters:
    ///   - prefix: the path of the class folders below `root`, empty or with "/" at its end.
    ///   - listing: of the folder that holds the class folders.
    private init(_ root: String, _ prefix: String, _ listing: FolderListing) throws {
        let path = prefix.isEmpty ? root : root + "/" + prefix.dropLast()
        var files: [ImageFile] = []
        var ignored = listing.images.count + listing.otherCount
        for (label, name) in listing.folders.enumerated() {
            let folder = try FolderListing(path: path + "/" + name)
            ignored += folder.otherCount
            files += folder.images.map { ImageFile(path: prefix + name + "/" + $0, label: label) }
        }
        self.init(path: path, root: root, classes: listing.folders, files: files, ignoredFileCount: ignored)
    }
}

extension String {
    /// The path of a folder, to which file names can be appended.
    package var withoutTrailingSlashes: String {
        var path = self
        while path.count > 1 && path.hasSuffix("/") { path.removeLast() }
        return path
    }
}
