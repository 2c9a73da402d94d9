/// Lists a folder and the folders below it in groups, such as classes, each folder and each link once.
///
/// Links are followed when all folders that are no links have been listed. So a photograph is listed where it
/// is rather than where a link to it is, and no link can lead in a circle.
struct FolderTree {
    /// The photographs of one group.
    private struct Group {
        var paths: [String] = []
        var identities: [FileIdentity] = []
        /// Whether the paths may be out of order, because they are of several folders or of links.
        var isMixed = false
    }

    /// A link to follow later.
    private struct Link {
        let path: String
        let identity: FileIdentity?
        let group: Int?
    }

    let root: String
    /// What is not used, with places below the root.
    var unused = UnusedFiles()
    private var groups: [Group] = []
    private var listed: Set<FileIdentity> = []
    private var folderLinks: [Link] = []
    private var photographLinks: [Link] = []

    /// - Parameter root: without a slash at its end.
    init(root: String) {
        self.root = root
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
        guard listed.insert(listing.identity).inserted else { return nil }
        unused.add(.hidden, listing.hidden, in: path)
        for name in listing.brokenLinks { unused.add(.brokenLink, in: path.appending(name)) }
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
        if let link = folder.links.first(where: { $0.isFolder && $0.name == name }) {
            folderLinks.append(Link(path: path.appending(name), identity: link.identity, group: group))
        } else {
            try add(path.appending(name), to: group)
        }
    }

    /// Adds the photographs directly in a folder, and none of its folders.
    mutating func addImages(of listing: FolderListing, at path: String, to group: Int?) {
        if let group {
            unused.add(.otherKind, listing.others, in: path)
            let images = listing.images
            if !groups[group].paths.isEmpty { groups[group].isMixed = true }
            groups[group].paths += images.map { path.appending($0) }
            groups[group].identities += listing.inodes.map { FileIdentity(listing.identity.device, $0) }
        } else {
            var kinds = listing.others
            kinds.add("photographs", count: listing.imageCount)
            unused.add(.otherFolder, kinds, in: path)
        }
        for link in listing.links where !link.isFolder && group != nil {
            photographLinks.append(
                Link(path: path.appending(link.name), identity: link.identity, group: group))
        }
    }

    /// Follows the links, and returns the paths of each group's photographs, sorted by their bytes.
    mutating func finish() throws -> [[String]] {
        while !folderLinks.isEmpty {
            let links = folderLinks.sorted { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) }
            folderLinks = []
            for link in links { try add(link.path, to: link.group) }
        }
        addLinkedPhotographs()
        return groups.map { group in
            guard group.isMixed else { return group.paths }
            return group.paths.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        }
    }

    private mutating func addLinkedPhotographs() {
        guard !photographLinks.isEmpty else { return }
        var known = Set(groups.flatMap(\.identities))
        for link in photographLinks.sorted(by: { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) }) {
            guard let group = link.group else { continue }
            if let identity = link.identity, !known.insert(identity).inserted {
                unused.add(.repeated, in: link.path)
                continue
            }
            groups[group].paths.append(link.path)
            groups[group].isMixed = true
        }
        photographLinks = []
    }

    /// Adds everything in a folder and below it.
    private mutating func add(_ path: String, to group: Int?) throws {
        guard let listing = try list(path) else {
            unused.add(.repeated, in: path)
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
