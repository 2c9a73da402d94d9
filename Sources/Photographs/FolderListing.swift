import Foundation

/// Identifies a file or folder, whatever path leads to it.
struct FileIdentity: Hashable {
    let device, inode: UInt64

    init(_ device: UInt64, _ inode: UInt64) { (self.device, self.inode) = (device, inode) }

    init(_ status: stat) { self.init(UInt64(truncatingIfNeeded: status.st_dev), UInt64(status.st_ino)) }

    /// Returns the identity of what a path leads to; nil if it leads to nothing.
    init?(path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        self.init(status)
    }
}

/// Lists the entries of one folder, except hidden ones and those that operating systems make.
///
/// The name says that a file is a photograph. Of other files, except those that are never photographs, the
/// first bytes are read.
///
/// Names are sorted by their bytes, which for UTF-8 is the order of Unicode scalars.
struct FolderListing {
    /// A link to a folder or to a photograph.
    struct Link {
        let name: String
        let isFolder: Bool
        /// Nil if a photograph's link leads to nothing.
        let identity: FileIdentity?
    }

    let stamp: FolderStamp
    /// Folders, not including links to folders.
    private(set) var folders: [String] = []
    /// Photographs, not including links, in order.
    private(set) var images = Names()
    /// The inodes of `images`.
    private(set) var inodes: [UInt64] = []
    private(set) var links: [Link] = []
    /// Files that are neither folders nor photographs, by the ends of their names and by content.
    private(set) var others = FileKinds()
    /// Hidden entries and those of an operating system, by their names.
    private(set) var hidden = FileKinds()
    /// Links that lead to nothing, and are not called like a photograph.
    private(set) var brokenLinks: [String] = []
    /// Whether something may change without a change of the folder: links to files or to nothing, and files
    /// that could not be opened.
    private(set) var changesUnseen = false
    /// Tar archives, including links.
    private(set) var archives: [String] = []
    /// The first few files that may be lists of labels.
    private(set) var tables: [String] = []

    /// The folders and the links to folders, sorted.
    var allFolders: [String] {
        let linked = links.filter(\.isFolder).map(\.name)
        if linked.isEmpty { return folders }
        return (folders + linked).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    /// How many photographs there are, including links.
    var imageCount: Int { images.count + links.count { !$0.isFolder } }

    /// The photographs, counted and named as files that are not used.
    var unusedImages: FileKinds {
        var kinds = FileKinds()
        let kind = FileKind("photographs")
        for image in 0..<images.count where kinds.storesMoreFiles {
            kinds.add(kind, name: images.text(image))
        }
        kinds.add(kind, count: images.count - kinds.count)
        for link in links where !link.isFolder { kinds.add(kind, name: link.name) }
        return kinds
    }

    var identity: FileIdentity { stamp.identity }

    /// Whether neither photographs nor more than a few folders are in it.
    var isWithoutPhotographs: Bool { imageCount == 0 && allFolders.count < 5 }

    /// Reads the folder's entries.
    ///
    /// An entry costs system calls only if it is a link, the file system does not say what it is, or a file's
    /// name does not.
    init(path: String) throws {
        guard let directory = opendir(path) else { throw Self.error(path) }
        defer { closedir(directory) }
        let descriptor = dirfd(directory)
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw Self.error(path) }
        stamp = FolderStamp(status)
        var folderNames = Names()
        var imageNames = Names()
        var imageInodes: [UInt64] = []
        while true {
            errno = 0
            guard let entry = readdir(directory) else {
                if errno != 0 { throw Self.error(path) }
                break
            }
            guard let offset = MemoryLayout<dirent>.offset(of: \.d_name) else { break }
            let name = UnsafeRawPointer(entry).advanced(by: offset).assumingMemoryBound(to: CChar.self)
            let bytes = UnsafeRawBufferPointer(start: name, count: strlen(name))
            if bytes.isEmpty || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 { continue }
            if Self.isSystemName(bytes) {
                hidden.add(FileKind(Self.text(bytes)), name: Self.text(bytes))
                continue
            }
            var type = Int(entry.pointee.d_type)
            if type == DT_UNKNOWN, fstatat(descriptor, name, &status, AT_SYMLINK_NOFOLLOW) == 0 {
                switch status.st_mode & S_IFMT {
                case S_IFDIR: type = Int(DT_DIR)
                case S_IFLNK: type = Int(DT_LNK)
                case S_IFREG: type = Int(DT_REG)
                default: break
                }
            }
            if type == DT_DIR {
                folderNames.append(bytes)
                continue
            }
            var isImage = isPhotographName(bytes)
            var isFolder = false
            var exists = true
            if type == DT_LNK {
                exists = fstatat(descriptor, name, &status, 0) == 0
                isFolder = exists && status.st_mode & S_IFMT == S_IFDIR
                if !isFolder { changesUnseen = true }
            }
            var kind = FileKind("")
            if !isImage, !isFolder, exists {
                let isFile = type == DT_REG || type == DT_LNK && status.st_mode & S_IFMT == S_IFREG
                switch UnnamedFile(
                    ending: Self.kind(bytes), open: { isFile ? open(name, in: descriptor) : nil })
                {
                case .photograph: isImage = true
                case .other(let found): kind = found
                }
            }
            if type == DT_LNK {
                if isFolder || isImage {
                    links.append(
                        Link(
                            name: Self.text(bytes), isFolder: isFolder,
                            identity: exists ? FileIdentity(status) : nil))
                } else if exists {
                    add(other: bytes, kind)
                } else {
                    brokenLinks.append(Self.text(bytes))
                }
            } else if isImage {
                // A name that is not UTF-8 is kept as messages show it.
                if bytes.contains(where: { $0 >= 0x80 }) {
                    imageNames.append(Self.text(bytes).utf8)
                } else {
                    imageNames.append(bytes)
                }
                imageInodes.append(UInt64(entry.pointee.d_ino))
            } else {
                add(other: bytes, kind)
            }
        }
        others.sortFiles()
        hidden.sortFiles()
        folders = folderNames.sorted().names
        let order = imageNames.order()
        images = Names(order.lazy.map { imageNames[$0] }, byteCount: imageNames.bytes.count)
        inodes = order.map { imageInodes[$0] }
        links.sort { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
        brokenLinks.sort()
        tables.sort()
        archives.sort { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    private mutating func add(other name: UnsafeRawBufferPointer, _ kind: FileKind) {
        others.add(kind, name: Self.text(name))
        if kind.text == ".tar" { archives.append(Self.text(name)) }
        if kind.text == ".csv" || kind.text == ".tsv", tables.count < 16 { tables.append(Self.text(name)) }
    }

    /// Opens a file to read its first bytes; nil if that is not possible.
    private mutating func open(_ name: UnsafePointer<CChar>, in folder: Int32) -> Int32? {
        let descriptor = openat(folder, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        if descriptor < 0 { changesUnseen = true }
        return descriptor < 0 ? nil : descriptor
    }

    private static func text(_ name: UnsafeRawBufferPointer) -> String {
        String(decoding: name, as: UTF8.self)
    }

    /// Names that are no user's files: those of Synology's servers, of macOS, Windows and Linux.
    ///
    /// Names with a dot at the front, such as `.DS_Store` and `.ipynb_checkpoints`, need no entry.
    private static let systemNames: Set<String> = [
        "@eadir", "#recycle", "#snapshot", "__macosx", "thumbs.db", "ehthumbs.db",
        "desktop.ini", "$recycle.bin", "system volume information", "lost+found",
    ]
    private static let systemLengths = Set(systemNames.map(\.utf8.count))

    static func isSystemName(_ name: UnsafeRawBufferPointer) -> Bool {
        if name[0] == UInt8(ascii: ".") { return true }
        return systemLengths.contains(name.count) && systemNames.contains(text(name).lowercased())
    }

    /// Returns the end of a name as a message shows it: `.png`.
    static func kind(_ name: UnsafeRawBufferPointer) -> String {
        guard let dot = name.lastIndex(of: UInt8(ascii: ".")), name.count - dot <= 10, dot + 1 < name.count
        else {
            return "without an extension"
        }
        return text(UnsafeRawBufferPointer(rebasing: name[dot...])).lowercased()
    }

    private static func error(_ path: String) -> DatasetError {
        let place = path.hasPrefix("/") ? "" : " in \(FileManager.default.currentDirectoryPath)"
        return switch errno {
        case ENOENT: DatasetError(.missingFolder, "\(path): \(nameProblem(path) ?? "no such folder\(place)")")
        case ENOTDIR: DatasetError(.notAFolder, "\(path): not a folder")
        case EACCES, EPERM:
            DatasetError(
                .noPermission, "\(path): no permission to list this folder; change its mode with chmod")
        default: DatasetError(.unreadable, "\(path): cannot be listed: \(String(cString: strerror(errno)))")
        }
    }
}
