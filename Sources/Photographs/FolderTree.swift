/// Lists a folder and the folders below it in groups, such as classes, each folder and each link once.
///
/// Links are followed when all folders that are no links have been listed. So a photograph is listed where it
/// is rather than where a link to it is, and no link can lead in a circle.
struct FolderTree {
    /// The photographs of one group.
    struct Group {
        /// The names without their folders.
        fileprivate(set) var names = Names()
        /// The number of each photograph's folder in `folders`.
        fileprivate(set) var folders: [UInt32] = []
        /// Empty for groups that are read.
        fileprivate var inodes: [UInt64] = []
        /// Whether the photographs may be out of order, because they are of several folders or of links.
        fileprivate var isMixed = false

        var count: Int { names.count }
    }

    /// A link to a folder, to follow later.
    private struct FolderLink {
        let path: String
        let group: Int?
    }

    /// A link to a photograph, to follow later.
    private struct PhotographLink {
        let path, name: String
        let folder: UInt32
        let identity: FileIdentity?
        let group: Int?
    }

    let root: String
    /// What is not used, with places below the root.
    var unused = UnusedFiles()
    /// The folders that were listed, each time that a path led to them.
    private(set) var folders: [FileIndex.Listed] = []
    /// Whether something may change without a change of a folder; see `FolderListing`.
    private(set) var changesUnseen = false
    private var groups: [Group] = []
    private var listed: Set<FileIdentity> = []
    private var folderLinks: [FolderLink] = []
    private var photographLinks: [PhotographLink] = []

    /// - Parameter root: without a slash at its end.
    init(root: String) {
        self.root = root
        unused.roots = [root]
        guard root != "/" else { return }
        // A link to a folder above would list the root again, and much else.
        var above = root
        for _ in 0..<256 {
            above += "/.."
            guard let identity = FileIdentity(path: above), listed.insert(identity).inserted else { break }
        }
    }

    /// Lists one folder below the root without what is in its folders.
    ///
    /// - Parameter path: empty for the root itself.
    /// - Returns: nil if the folder is listed already, by another path.
    mutating func list(_ path: String) throws -> FolderListing? {
        let listing = try FolderListing(path: path.isEmpty ? root : root + "/" + path)
        folders.append(FileIndex.Listed(path: path, stamp: listing.stamp))
        if listing.changesUnseen { changesUnseen = true }
        guard listed.insert(listing.identity).inserted else { return nil }
        unused.add(.hidden, listing.hidden, in: path)
        for name in listing.brokenLinks { unused.add(.brokenLink, file: path.appending(name)) }
        return listing
    }

    /// Makes an empty group, and returns its number.
    mutating func makeGroup() -> Int {
        groups.append(Group())
        return groups.count - 1
    }

    /// Adds the photographs in a folder's subfolder `name`, which may be a link, and below it.
    ///
    /// - Parameter group: nil counts the files as unused.
    mutating func add(_ name: String, of folder: FolderListing, at path: String, to group: Int?) throws {
        if folder.links.contains(where: { $0.isFolder && $0.name == name }) {
            folderLinks.append(FolderLink(path: path.appending(name), group: group))
        } else {
            try add(path.appending(name), to: group)
        }
    }

    /// Adds the photographs directly in a folder, and none of its folders.
    mutating func addImages(of listing: FolderListing, at path: String, to group: Int?) {
        if let group {
            unused.add(.otherKind, listing.others, in: path)
            if groups[group].count == 0 {
                groups[group].names = listing.images
            } else {
                groups[group].isMixed = true
                for image in 0..<listing.images.count { groups[group].names.append(listing.images[image]) }
            }
            groups[group].folders += repeatElement(number(of: path), count: listing.images.count)
            groups[group].inodes += listing.inodes
        } else {
            var kinds = listing.others
            kinds.add(listing.unusedImages)
            unused.add(.otherFolder, kinds, in: path)
        }
        for link in listing.links where !link.isFolder && group != nil {
            photographLinks.append(
                PhotographLink(
                    path: path.appending(link.name), name: link.name, folder: number(of: path),
                    identity: link.identity, group: group))
        }
    }

    /// Returns the number of a folder; a listed folder is usually the last one.
    private mutating func number(of path: String) -> UInt32 {
        if let number = folders.lastIndex(where: { $0.path == path }) { return UInt32(number) }
        preconditionFailure("the folder \(path) was not listed")
    }

    /// Follows the links, and returns each group's photographs, sorted by the bytes of their paths.
    mutating func finish() throws -> [Group] {
        while !folderLinks.isEmpty {
            let links = folderLinks.sorted { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) }
            folderLinks = []
            for link in links { try add(link.path, to: link.group) }
        }
        addLinkedPhotographs()
        for group in groups.indices {
            groups[group].inodes = []
            if groups[group].isMixed { sort(group) }
        }
        return groups
    }

    /// Returns the path of a photograph below the root.
    func path(_ photograph: Int, of group: Group) -> String {
        folders[Int(group.folders[photograph])].path.appending(group.names.text(photograph))
    }

    private mutating func sort(_ group: Int) {
        let unsorted = groups[group]
        var paths = Names()
        for photograph in 0..<unsorted.count { paths.append(path(photograph, of: unsorted).utf8) }
        let order = paths.order()
        groups[group].names = Names(
            order.lazy.map { unsorted.names[$0] }, byteCount: unsorted.names.bytes.count)
        groups[group].folders = order.map { unsorted.folders[$0] }
    }

    private mutating func addLinkedPhotographs() {
        guard !photographLinks.isEmpty else { return }
        var known: Set<FileIdentity> = []
        for group in groups {
            for (folder, inode) in zip(group.folders, group.inodes) {
                known.insert(FileIdentity(folders[Int(folder)].stamp.identity.device, inode))
            }
        }
        for link in photographLinks.sorted(by: { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) }) {
            guard let group = link.group else { continue }
            if let identity = link.identity, !known.insert(identity).inserted {
                unused.add(.repeated, file: link.path)
                continue
            }
            groups[group].names.append(link.name.utf8)
            groups[group].folders.append(link.folder)
            groups[group].isMixed = true
        }
        photographLinks = []
    }

    /// Adds everything in a folder and below it.
    private mutating func add(_ path: String, to group: Int?) throws {
        guard let listing = try list(path) else {
            unused.add(.repeated, file: path)
            return
        }
        addImages(of: listing, at: path, to: group)
        for name in listing.allFolders { try add(name, of: listing, at: path, to: group) }
    }
}

extension String {
    /// Returns the path of `name` in the folder that this is; an empty path is the root.
    fileprivate func appending(_ name: String) -> String { isEmpty ? name : self + "/" + name }
}
