import Foundation

/// The part of a set that a folder's name stands for, such as `train` or `val`.
enum FolderRole: Equatable {
    case training
    /// The folder with the lowest rank is the one that is used.
    case validation(rank: Int)

    private static let trainingNames = ["train", "training"]
    private static let validationNames = ["val", "valid", "validation", "dev", "test", "testing"]

    /// Reads a folder's name in any letter case; nil if it may be the name of a class.
    init?(_ name: String) {
        let name = name.lowercased()
        if Self.trainingNames.contains(name) {
            self = .training
        } else if let rank = Self.validationNames.firstIndex(of: name) {
            self = .validation(rank: rank)
        } else {
            return nil
        }
    }

    /// Whether photographs without classes are usual in a folder of this name, as in competitions.
    static func mayLackClasses(_ name: String) -> Bool { name.lowercased().hasPrefix("test") }
}

extension PhotographFiles {
    /// Lists the photographs in class folders, in the order of classes, then of names.
    ///
    /// A folder has one of these forms:
    /// - `root/train/CLASS/…` and perhaps `root/val/CLASS/…`, the training and the validation part;
    /// - `root/CLASS/…` and perhaps `root/val/CLASS/…`;
    /// - `root/val/CLASS/…`, which can only be measured.
    ///
    /// `FolderRole` lists the names of parts. Folders in a class folder belong to the class.
    ///
    /// - Parameters:
    ///   - truth: the classes of photographs in a part without class folders.
    ///   - cache: has the list if no folder was changed since an earlier start.
    static func inClassFolders(of root: String, truth: GroundTruth? = nil, cache: StartCache = .none) throws
        -> PhotographParts
    {
        let classList = truth?.identity ?? ""
        if let index = cache.list(of: root, classList: classList) { return parts(of: index, root: root) }
        let began = Date().timeIntervalSince1970
        var folders = try ClassFolders(root: root, truth: truth)
        let index = try folders.index()
        if folders.canBeKept { cache.keep(index, of: root, began: began) }
        return parts(of: index, root: root)
    }

    private static func parts(of index: FileIndex, root: String) -> PhotographParts {
        var parts = PhotographParts(unused: index.header.unused, notes: index.header.notes)
        // A kept list may have been made under another path to the same folder.
        parts.unused.roots = [root]
        for part in index.header.parts {
            let files = PhotographFiles(index, part, root: root)
            if part.isValidation { parts.validation = files } else { parts.training = files }
        }
        return parts
    }
}

/// Finds the parts and the classes of a folder.
private struct ClassFolders {
    /// The class folders of one part.
    private struct Part {
        let path: String
        /// The names of the classes, each once.
        let classes: [String]
        /// The group of each class.
        let groups: [Int]
        let listing: FolderListing
        /// Whether the classes of the photographs are in the ground truth; they are one group then.
        var isListed = false
    }

    private let root: String
    private let truth: GroundTruth?
    private let top: FolderListing
    private var tree: FolderTree
    private var notes: [String] = []

    init(root: String, truth: GroundTruth?) throws {
        (self.root, self.truth) = (root, truth)
        tree = FolderTree(root: root)
        guard let top = try tree.list("") else {
            throw DatasetError(.unreadable, "\(root): cannot be listed")
        }
        self.top = top
    }

    /// Whether the list stays right as long as the folders' own times do.
    var canBeKept: Bool { !tree.changesUnseen }

    mutating func index() throws -> FileIndex {
        let names = top.allFolders
        let training = names.filter { FolderRole($0) == .training }
        guard training.count < 2 else {
            throw DatasetError(
                .severalParts,
                "\(root): has the folders \(quoted(training)), and only one of them can be used")
        }
        let classes = names.filter { FolderRole($0) == nil }
        var trainingPart: Part?
        if let name = training.first {
            trainingPart = try part(name)
            tree.unused.add(.outsideClasses, top.unusedImages, in: "")
            tree.unused.add(.otherKind, top.others, in: "")
        } else if !classes.isEmpty {
            try requireNoParts(among: classes)
            trainingPart = try part("", listing: top, classes: classes)
            try requireNoSets(among: classes)
        }
        let validationPart = try validation(in: names, known: trainingPart?.classes)
        if !training.isEmpty { for name in classes { try tree.add(name, of: top, at: "", to: nil) } }
        if trainingPart == nil, validationPart == nil { throw nothing(in: top, at: "") }

        let groups = try tree.finish()
        var header = FileIndex.Header(folders: tree.folders, classList: truth?.identity ?? "")
        var contents: [Content] = []
        for (part, isValidation) in [(trainingPart, false), (validationPart, true)] {
            guard let part else { continue }
            let content = try content(of: part, groups)
            if content.count == 0, part.listing.imageCount > 0 {
                throw nothing(in: part.listing, at: part.path)
            }
            let first = header.parts.last?.rows.upperBound ?? 0
            header.parts.append(
                FileIndex.Part(
                    path: part.path, isValidation: isValidation, classes: content.classes,
                    rows: first..<first + content.count))
            contents.append(content)
        }
        header.unused = tree.unused
        header.notes = notes
        return FileIndex(
            header, count: contents.reduce(0) { $0 + $1.count },
            nameBytes: contents.reduce(0) { $0 + $1.nameBytes }
        ) { add in
            for content in contents { content.forEach(add) }
        }
    }

    /// The photographs of one part.
    private struct Content {
        let classes: [String]
        /// The group of each class, or one group if the ground truth has the classes.
        let groups: [FolderTree.Group]
        /// The photographs of the only group in order, with their classes; nil in class folders.
        var listed: [(photograph: Int, label: Int)]?

        var count: Int { listed?.count ?? groups.reduce(0) { $0 + $1.count } }
        var nameBytes: Int {
            listed.map { $0.reduce(0) { $0 + groups[0].names.range($1.photograph).count } }
                ?? groups.reduce(0) { $0 + $1.names.bytes.count }
        }

        /// Calls `body` with each photograph in order.
        func forEach(_ body: (FileIndex.Entry) -> Void) {
            func add(_ group: FolderTree.Group, _ photograph: Int, _ label: Int) {
                body(
                    FileIndex.Entry(
                        folder: Int(group.folders[photograph]), name: group.names[photograph], label: label))
            }
            if let listed {
                for (photograph, label) in listed { add(groups[0], photograph, label) }
            } else {
                for (label, group) in groups.enumerated() {
                    for photograph in 0..<group.count { add(group, photograph, label) }
                }
            }
        }
    }

    /// Returns the validation part that is used, and counts the files of the others as unused.
    ///
    /// - Parameter known: the classes of the training part, if there is one.
    private mutating func validation(in names: [String], known: [String]?) throws -> Part? {
        func rank(_ name: String) -> Int? {
            if case .validation(let rank) = FolderRole(name) { rank } else { nil }
        }
        let candidates = names.filter { rank($0) != nil }.sorted {
            // The lower-case name comes first; it has the largest bytes.
            (rank($0) ?? 0, $1) < (rank($1) ?? 0, $0)
        }
        var used: Part?
        for name in candidates {
            if used == nil {
                used = try part(name, known: known)
            } else {
                try tree.add(name, of: top, at: "", to: nil)
            }
        }
        return used
    }

    /// Lists the class folders in a part; nil if it is a part that is not used.
    private mutating func part(_ name: String, known: [String]? = nil) throws -> Part? {
        guard let listing = try tree.list(name) else {
            tree.unused.add(.repeated, file: name)
            return nil
        }
        let classes = listing.allFolders
        // The photographs of a competition's test may be in a folder, which is no class then.
        let isUnlabelled = known.map { Set($0).isDisjoint(with: classes) } ?? classes.isEmpty
        if FolderRole.mayLackClasses(name), isUnlabelled {
            tree.addImages(of: listing, at: name, to: nil)
            for folder in classes { try tree.add(folder, of: listing, at: name, to: nil) }
            return nil
        }
        if classes.isEmpty, truth != nil, listing.imageCount > 0 {
            let group = tree.makeGroup()
            tree.addImages(of: listing, at: name, to: group)
            return Part(path: name, classes: [], groups: [group], listing: listing, isListed: true)
        }
        guard !classes.isEmpty else { throw nothing(in: listing, at: name) }
        return try part(name, listing: listing, classes: classes)
    }

    private mutating func part(_ path: String, listing: FolderListing, classes: [String]) throws -> Part {
        tree.unused.add(.otherKind, listing.others, in: path)
        tree.unused.add(.outsideClasses, listing.unusedImages, in: path)
        // Names that differ only in their Unicode form are one class.
        var groups: [String: Int] = [:]
        for folder in classes {
            let name = folder.inOneForm
            if groups[name] != nil {
                notes.append(
                    "class “\(name)” is two folders, whose names differ only in their Unicode form"
                )
            }
            let group = groups[name] ?? tree.makeGroup()
            groups[name] = group
            try tree.add(folder, of: listing, at: path, to: group)
        }
        let order = groups.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
        return Part(path: path, classes: order.map(\.key), groups: order.map(\.value), listing: listing)
    }

    /// Refuses folders that are all sets with a training part.
    private func requireNoSets(among classes: [String]) throws {
        let parts = tree.folders.compactMap { folder -> String? in
            let names = folder.path.split(separator: "/").map(String.init)
            return names.count == 2 && FolderRole(names[1]) == .training ? names[0] : nil
        }
        guard classes.count > 1, Set(parts) == Set(classes) else { return }
        throw DatasetError(
            .setBelow(root + "/" + classes[0]),
            "\(root): its folders \(quoted(classes)) each contain a training part, so they are sets, "
                + "not classes")
    }

    /// Refuses folders such as `train_images` and `test_images`, which are parts under names of their own.
    private func requireNoParts(among classes: [String]) throws {
        func words(_ name: String) -> [String] {
            name.lowercased().split { !$0.isLetter }.map {
                $0.hasSuffix("set") ? String($0.dropLast(3)) : String($0)
            }
        }
        let roles = classes.map { words($0).compactMap { FolderRole($0) } }
        let training = zip(classes, roles).filter { $1.contains(.training) }.map(\.0)
        let others = zip(classes, roles).filter { !$1.contains(.training) && !$1.isEmpty }.map(\.0)
        guard let first = training.first, let second = others.first else { return }
        throw DatasetError(
            .partsAsClasses(training: root + "/" + first),
            "\(root): its folders “\(first)” and “\(second)” are called like parts of a set, not like classes"
        )
    }

    /// Returns the photographs of a part, whose classes are its folders or in the ground truth.
    private mutating func content(of part: Part, _ groups: [FolderTree.Group]) throws -> Content {
        guard part.isListed, let truth else {
            return Content(classes: part.classes, groups: part.groups.map { groups[$0] })
        }
        let known = try truth.classes()
        let group = groups[part.groups[0]]
        var files: [(name: String, photograph: Int)] = []
        for photograph in 0..<group.count {
            if let name = known[GroundTruth.stem(group.names.text(photograph))] {
                files.append((name, photograph))
            } else {
                tree.unused.add(.notListed, file: tree.path(photograph, of: group))
            }
        }
        let classes = Set(files.map(\.name)).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        let labels = Dictionary(uniqueKeysWithValues: zip(classes, 0...))
        // Photographs are in the order of their names already.
        let listed = files.map { (photograph: $0.photograph, label: labels[$0.name] ?? 0) }.sorted {
            ($0.label, $0.photograph) < ($1.label, $1.photograph)
        }
        return Content(classes: classes, groups: [group], listed: listed)
    }

    /// Explains that a folder has no class folders.
    private func nothing(in listing: FolderListing, at path: String) -> DatasetError {
        let place = path.isEmpty ? root : root + "/" + path
        guard listing.imageCount > 0 else {
            if let found = Dataset.otherFormats(below: place) {
                return DatasetError(.otherFormats, "\(place): no class folders in it, and \(found)")
            }
            return DatasetError(.noClasses, "\(place): no class folders in it")
        }
        let number = listing.imageCount == 1 ? "1 photograph" : "\(listing.imageCount) photographs"
        let lists = [(path, listing.tables), ("", top.tables)].flatMap { folder, names in
            names.map { folder.isEmpty ? root + "/" + $0 : root + "/" + folder + "/" + $0 }
        }
        let list =
            lists.first { $0.lowercased().contains("label") }
            ?? lists.first { $0.lowercased().contains("train") } ?? lists.first
        return DatasetError(
            .flat(list: list), "\(place): \(number) in it and no class folders, so their classes are unknown")
    }
}
