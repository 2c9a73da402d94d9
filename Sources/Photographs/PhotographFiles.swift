import Foundation

/// One labelled file.
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

/// Photographs that are files of their own.
public struct PhotographFiles: PhotographSource {
    public let path: String
    public let classes: [String]
    public private(set) var ignoredFileCount = 0
    /// The folder that names start from; empty if names are whole paths.
    private let root: String
    private let files: [ImageFile]

    /// - Parameter path: what holds the files, as messages name it; `root` by default.
    public init(path: String? = nil, root: String, classes: [String], files: [ImageFile]) {
        self.path = path ?? root
        self.root = root
        self.classes = classes
        self.files = files
    }

    public var count: Int { files.count }

    public func label(_ index: Int) -> Int { files[index].label }

    public func name(_ index: Int) -> String { files[index].path }

    public func location(_ index: Int) -> String {
        root.isEmpty ? files[index].path : root + "/" + files[index].path
    }

    public func byteCount(_ index: Int) throws -> Int {
        var status = stat()
        guard stat(location(index), &status) == 0 else { throw Self.systemError(location(index)) }
        return Int(status.st_size)
    }

    public func bytes(_ index: Int, buffer: ByteBuffer) throws -> UnsafeRawBufferPointer {
        let path = location(index)
        // O_NONBLOCK: opening a named pipe that is called .jpg must not wait for a writer.
        let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else { throw Self.systemError(path) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw Self.systemError(path) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw ImageError(.unreadable, file: path, detail: "not a regular file")
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
            // The file was cut short after its size was read: the decoder reports it.
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
    /// Lists a folder of one of these forms, in one pass over its class folders:
    /// - `root/train/CLASS/*` and `root/val/CLASS/*`, the training and the validation part;
    /// - `root/CLASS/*` or only `root/train/CLASS/*`, which have no validation part.
    ///
    /// Files are in the order of classes, then of names. Hidden files and folders within a class folder are
    /// ignored.
    static func inClassFolders(of root: String, _ part: DataPart) throws -> PhotographFiles? {
        let root = root.withoutTrailingSlashes
        let top = try FolderListing(path: root)
        let hasVal = top.folders.contains("val")
        let train = top.folders.contains("train") ? try FolderListing(path: root + "/train") : nil
        // A class may be called "train" or "val": such a folder is a part only if it holds folders itself or
        // stands beside the other part.
        let isSplit = train.map { hasVal || !$0.folders.isEmpty } ?? false
        switch part {
        case .training:
            if top.folders == ["val"] { return nil }
            let files =
                if isSplit, let train {
                    try PhotographFiles(root, "train/", train, ignored: top.images.count + top.otherCount)
                } else {
                    try PhotographFiles(root, "", top)
                }
            guard !files.classes.isEmpty else {
                throw DatasetError(
                    .noClasses,
                    "\(files.path): no class folders in it; put the JPEG files of each class into a folder "
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
    ///   - ignored: files that the caller has found in other folders.
    private init(_ root: String, _ prefix: String, _ listing: FolderListing, ignored: Int = 0) throws {
        path = prefix.isEmpty ? root : root + "/" + prefix.dropLast()
        self.root = root
        classes = listing.folders
        var files: [ImageFile] = []
        ignoredFileCount = ignored + listing.images.count + listing.otherCount
        for (label, name) in classes.enumerated() {
            let folder = try FolderListing(path: path + "/" + name)
            ignoredFileCount += folder.otherCount
            files += folder.images.map { ImageFile(path: prefix + name + "/" + $0, label: label) }
        }
        self.files = files
    }
}

extension String {
    /// The path of a folder as file names can be appended to it.
    package var withoutTrailingSlashes: String {
        var path = self
        while path.count > 1 && path.hasSuffix("/") { path.removeLast() }
        return path
    }
}
