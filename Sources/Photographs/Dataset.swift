import Foundation

/// One labelled file.
public struct ImageFile: Sendable, Equatable {
    /// Below the set's root, parts separated by "/".
    public let path: String
    /// Index into the set's `classes`.
    public let label: Int

    public init(path: String, label: Int) {
        self.path = path
        self.label = label
    }
}

/// A list of labelled JPEG files in a fixed order: by class, then by name.
public struct ImageSet: Sendable {
    public let root: String
    /// Names of the classes, sorted by Unicode scalars; a label is an index into it.
    public let classes: [String]
    public let files: [ImageFile]

    public init(root: String, classes: [String], files: [ImageFile]) {
        self.root = root
        self.classes = classes
        self.files = files
    }

    /// Photographs by their paths, without labels of their own (all are of class 0).
    public init(paths: [String], classes: [String]) {
        self.init(root: "", classes: classes, files: paths.map { ImageFile(path: $0, label: 0) })
    }

    public var count: Int { files.count }

    /// Where file `index` lies on disk.
    public func absolutePath(_ index: Int) -> String {
        root.isEmpty ? files[index].path : root + "/" + files[index].path
    }

    /// The same files labelled by another list of classes (a checkpoint's).
    /// - Throws: `DatasetError.unknownClass` where a class that has files is not in the list.
    public func relabelled(classes newClasses: [String]) throws(DatasetError) -> ImageSet {
        if newClasses == classes { return self }
        let known = Dictionary(
            newClasses.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
        let used = Set(files.map(\.label))
        let unknown = used.sorted().map { classes[$0] }.filter { known[$0] == nil }
        guard unknown.isEmpty else {
            throw DatasetError(
                .unknownClass,
                "\(root): class \(quoted(unknown)) is not among the model's \(newClasses.count) classes (\(quoted(newClasses))); "
                    + (unknown.contains { name in newClasses.contains { $0.lowercased() == name.lowercased() }
                    }
                        ? "names count as they are written: rename the folder"
                        : "rename its folder or leave it out"))
        }
        let newLabels = classes.map { known[$0] ?? -1 }
        return ImageSet(
            root: root, classes: newClasses,
            files: files.map { ImageFile(path: $0.path, label: newLabels[$0.label]) })
    }

    /// At most `limit` of the files, chosen by a hash of their paths, so that every run and machine measures
    /// the same ones.
    public func statisticsSample(limit: Int = 10_000) -> ImageSet {
        guard count > limit else { return self }
        // A salt of its own: the split into training and validation took the other hash's low values away.
        let hashes = files.map { pathHash($0.path, salt: 0x5EED) }
        let chosen = files.indices.sorted { (hashes[$0], $0) < (hashes[$1], $1) }.prefix(limit).sorted()
        return ImageSet(root: root, classes: classes, files: chosen.map { files[$0] })
    }
}

/// The training and the validation files of a folder.
public struct Dataset: Sendable {
    public let training: ImageSet
    public let validation: ImageSet
    /// Files below the class folders, and beside them, that are not .jpg or .jpeg; hidden ones are not
    /// counted.
    public let ignoredFileCount: Int

    public var classes: [String] { training.classes }

    /// A sentence on the classes of which no photograph is held out, so that validation tells nothing of
    /// them; nil where each has one.
    public var holdOutGap: String? {
        let heldOut = Set(validation.files.map(\.label))
        let missing = classes.indices.filter { !heldOut.contains($0) }.map { classes[$0] }
        guard !missing.isEmpty else { return nil }
        return
            "no photograph of class \(quoted(missing)) is held out, so validation tells nothing of \(missing.count == 1 ? "it" : "them"): "
            + "put some into val/, or without val/ give a larger --val-fraction"
    }

    /// Lists a folder of one of these forms:
    /// - `root/train/CLASS/*` and `root/val/CLASS/*`;
    /// - `root/CLASS/*` (or `root/train/CLASS/*` alone), split by a hash of each file's path below `root`:
    ///   the same on every machine.
    ///
    /// Files end in .jpg or .jpeg in any case; hidden files and folders within a class folder are left alone.
    /// - Parameter validationFraction: 0 ..< 1, the share of files for validation where there is no `val`
    ///   folder.
    /// - Throws: `DatasetError` for a missing folder, no class folders, one class, an empty class, a class in
    ///   `val` that `train` lacks ….
    public static func load(root: String, validationFraction: Double = 0.1) throws(DatasetError) -> Dataset {
        guard validationFraction >= 0 && validationFraction < 1 else {
            throw DatasetError(
                .badOption,
                "validation fraction \(validationFraction): must be at least 0 and below 1; 0.1 is usual")
        }
        let root = withoutLastSlash(root)
        let top = try FolderListing(path: root)
        var ignored = top.images.count + top.otherCount

        let train = try trainingFolder(root, top)
        let isSplit = train != nil
        if top.folders == ["val"] {
            throw DatasetError(
                .noTrainingFolder,
                "\(root): has a folder val but none named train; add \(root)/train/CLASS/*.jpg")
        }

        let prefix = isSplit ? "train/" : ""
        let classes = isSplit ? train?.folders ?? [] : top.folders
        let place = isSplit ? root + "/train" : root
        if isSplit, let train { ignored += train.images.count + train.otherCount }
        guard !classes.isEmpty else { throw noClassFolders(place) }
        guard classes.count > 1 else {
            throw DatasetError(
                .oneClass,
                "\(place): only one class folder, \(quoted(classes)); a classifier needs two or more")
        }

        var files: [ImageFile] = []
        for (label, name) in classes.enumerated() {
            let listing = try FolderListing(path: place + "/" + name)
            ignored += listing.otherCount
            guard !listing.images.isEmpty else {
                let others = listing.otherCount + listing.folders.count
                throw DatasetError(
                    .emptyClass,
                    "\(place)/\(name): an empty class, no .jpg or .jpeg file in it (\(others) other entries); add some or remove the folder"
                )
            }
            files += listing.images.map { ImageFile(path: prefix + name + "/" + $0, label: label) }
        }

        guard isSplit && top.folders.contains("val") else {
            return try split(
                root: root, classes: classes, files: files, fraction: validationFraction, ignored: ignored)
        }
        let val = try FolderListing(path: root + "/val")
        ignored += val.images.count + val.otherCount
        let labels = Dictionary(
            classes.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
        let unknown = val.folders.filter { labels[$0] == nil }
        guard unknown.isEmpty else {
            throw DatasetError(
                .unknownClass,
                "\(root)/val: class \(quoted(unknown)) is not in \(root)/train; rename it, or add its training images"
            )
        }
        var validationFiles: [ImageFile] = []
        for name in val.folders {
            let listing = try FolderListing(path: root + "/val/" + name)
            ignored += listing.otherCount
            validationFiles += listing.images.map {
                ImageFile(path: "val/" + name + "/" + $0, label: labels[name] ?? 0)
            }
        }
        guard !validationFiles.isEmpty else {
            throw DatasetError(
                .emptyClass,
                "\(root)/val: no .jpg or .jpeg file in its class folders; add some, or remove the folder to split \(root)/train"
            )
        }
        return Dataset(
            training: ImageSet(root: root, classes: classes, files: files),
            validation: ImageSet(root: root, classes: classes, files: validationFiles),
            ignoredFileCount: ignored)
    }

    /// The photographs of a folder that models are measured with: those of `root/val/CLASS/*` where there are
    /// such, else those that `load` would hold out of `root/CLASS/*` or `root/train/CLASS/*`. Nothing is
    /// asked of the training part, which may be missing.
    ///
    /// - Parameter fraction: above 0 and up to 1, which means all of them. A `val` folder is taken whole.
    /// - Returns: the photographs, of how many they were chosen, and whether they are a `val` folder's.
    /// - Throws: `DatasetError` for a missing folder, no class folders, no photograph.
    public static func evaluation(root: String, fraction: Double) throws(DatasetError) -> (
        set: ImageSet, total: Int, isValidationFolder: Bool
    ) {
        let root = withoutLastSlash(root)
        let top = try FolderListing(path: root)
        let isSplit = try trainingFolder(root, top) != nil
        let hasValidation =
            top.folders.contains("val") ? try !FolderListing(path: root + "/val").folders.isEmpty : false
        let prefix = hasValidation ? "val/" : isSplit ? "train/" : ""
        let place = prefix.isEmpty ? root : root + "/" + prefix.dropLast()
        let classes = prefix.isEmpty ? top.folders : try FolderListing(path: place).folders
        guard !classes.isEmpty else { throw noClassFolders(place) }
        var files: [ImageFile] = []
        for (label, name) in classes.enumerated() {
            files += try FolderListing(path: place + "/" + name).images.map {
                ImageFile(path: prefix + name + "/" + $0, label: label)
            }
        }
        guard !files.isEmpty else {
            throw DatasetError(.emptyClass, "\(place): no .jpg or .jpeg file in its class folders; add some")
        }
        let chosen = hasValidation || fraction >= 1 ? files : files.filter { isHeldOut($0.path, fraction) }
        guard !chosen.isEmpty else {
            throw DatasetError(
                .emptyClass,
                "\(place): a share of \(fraction) holds out none of its \(files.count) photographs; take a larger one, or 1 for all"
            )
        }
        return (ImageSet(root: root, classes: classes, files: chosen), files.count, hasValidation)
    }

    private static func withoutLastSlash(_ root: String) -> String {
        var root = root
        while root.count > 1 && root.hasSuffix("/") { root.removeLast() }
        return root
    }

    private static func noClassFolders(_ place: String) -> DatasetError {
        DatasetError(
            .noClasses,
            "\(place): no class folders in it; put the JPEG files of each class into a folder of the class's name"
        )
    }

    /// By a hash of the path below the root, so that every machine chooses alike and a smaller share is a
    /// part of a larger one.
    private static func isHeldOut(_ path: String, _ fraction: Double) -> Bool {
        Double(pathHash(path) >> 11) * 0x1p-53 < fraction
    }

    /// A class may be called "train" (there are railways): the folder splits the set only if it holds folders
    /// itself, or stands beside `val`.
    private static func trainingFolder(_ root: String, _ top: FolderListing) throws(DatasetError)
        -> FolderListing?
    {
        guard top.folders.contains("train") else { return nil }
        let train = try FolderListing(path: root + "/train")
        return train.folders.isEmpty && !top.folders.contains("val") ? nil : train
    }

    /// The photographs in a folder and in those below it, by their paths.
    ///
    /// - Throws: `DatasetError` for a folder that cannot be listed.
    public static func photographs(below folder: String) throws(DatasetError) -> [String] {
        let listing = try FolderListing(path: folder)
        let prefix = folder.hasSuffix("/") ? folder : folder + "/"
        var paths = listing.images.map { prefix + $0 }
        for name in listing.folders { paths += try photographs(below: prefix + name) }
        return paths
    }

    private static func split(
        root: String, classes: [String], files: [ImageFile], fraction: Double, ignored: Int
    ) throws(DatasetError) -> Dataset {
        var training: [ImageFile] = []
        var validation: [ImageFile] = []
        var remaining = [Int](repeating: 0, count: classes.count)
        for file in files {
            if isHeldOut(file.path, fraction) {
                validation.append(file)
            } else {
                training.append(file)
                remaining[file.label] += 1
            }
        }
        if let label = remaining.firstIndex(of: 0) {
            throw DatasetError(
                .emptyClass,
                "\(root): the split leaves class \(quoted([classes[label]])) without a training image; add images to it, or take a validation "
                    + "fraction below \(fraction)")
        }
        return Dataset(
            training: ImageSet(root: root, classes: classes, files: training),
            validation: ImageSet(root: root, classes: classes, files: validation), ignoredFileCount: ignored)
    }
}

/// The first few names for a message.
private func quoted(_ names: [String]) -> String {
    let shown = names.prefix(5).map { "“\($0)”" }.joined(separator: ", ")
    return names.count > 5 ? shown + " and \(names.count - 5) more" : shown
}
