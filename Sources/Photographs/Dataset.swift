import Basics

/// Holds the training and the validation photographs of a run.
public struct Dataset: Sendable {
    public let training: ImageSet
    public let validation: ImageSet
    /// How many files were left out because they are not photographs; hidden ones are not counted.
    public let ignoredFileCount: Int
    /// A hash of the photographs' names and classes, in order, and of a sample of their sizes.
    public let fingerprint: String

    public var classes: [String] { training.classes }

    /// A sentence on the classes without a validation photograph; nil if each class has one.
    public var holdOutGap: String? {
        let heldOut = Set((0..<validation.count).map(validation.label))
        let missing = classes.indices.filter { !heldOut.contains($0) }.map { classes[$0] }
        guard !missing.isEmpty else { return nil }
        return "no photograph of class \(quoted(missing)) is held out, so validation does not cover "
            + "\(missing.count == 1 ? "it" : "them"): hold out a larger share, or split the photographs into "
            + "train/ and val/"
    }

    private init(training: ImageSet, validation: ImageSet, ignoredFileCount: Int) {
        self.training = training
        self.validation = validation
        self.ignoredFileCount = ignoredFileCount
        var hash = FNVHash()
        for set in [training, validation] { set.addFingerprint(to: &hash) }
        fingerprint = String(hash.value, radix: 16)
    }

    /// Opens the photographs at a path; see `PhotographFiles.inClassFolders` for the forms of folders.
    ///
    /// Photographs without a validation part are split by a hash of their names, the same on every machine.
    /// - Parameter validationFraction: the share of photographs for validation, at least 0 and below 1.
    /// - Throws: `DatasetError` for a missing folder, no class folders, one class, an empty class, a class
    ///   that only the validation part has.
    public static func load(root: String, validationFraction: Double = 0.1) throws -> Dataset {
        guard validationFraction >= 0 && validationFraction < 1 else {
            throw DatasetError(
                .badOption,
                "validation fraction \(validationFraction): must be at least 0 and below 1; 0.1 is usual")
        }
        let source = try openTraining(root)
        let all = ImageSet(source)
        guard all.classes.count > 1 else {
            throw DatasetError(
                .oneClass,
                "\(source.path): only one class, \(quoted(all.classes)); a classifier needs two or more")
        }
        if let label = all.firstEmptyClass {
            throw DatasetError(
                .emptyClass,
                "\(source.path)/\(all.classes[label]): an empty class, no photograph in it; "
                    + "add some or remove the class")
        }
        guard let heldOut = try openPhotographs(root, .validation) else {
            let (training, validation) = all.split(validationFraction)
            if let label = training.firstEmptyClass {
                throw DatasetError(
                    .emptyClass,
                    "\(root): the split leaves class \(quoted([all.classes[label]])) without a training "
                        + "photograph; add some, or hold out a smaller share than \(validationFraction)")
            }
            return Dataset(
                training: training, validation: validation, ignoredFileCount: source.ignoredFileCount)
        }
        let unknown = heldOut.classes.filter { !all.classes.contains($0) }
        guard unknown.isEmpty else {
            throw DatasetError(
                .unknownClass,
                "\(heldOut.path): class \(quoted(unknown)) is not in \(source.path); rename it, or add its "
                    + "training images")
        }
        guard heldOut.count > 0 else {
            throw DatasetError(
                .emptyClass,
                "\(heldOut.path): no photograph in its class folders; add some, or remove the "
                    + "folder to split \(source.path)")
        }
        return Dataset(
            training: all, validation: try ImageSet(heldOut).relabelled(classes: all.classes),
            ignoredFileCount: source.ignoredFileCount + heldOut.ignoredFileCount)
    }

    /// Opens the photographs that models are measured with.
    ///
    /// These are the validation part if there is one, else those that `load` would hold out. With a
    /// validation part, the training part may be missing.
    ///
    /// - Parameter fraction: above 0 and up to 1, which means all of them. A validation part is taken whole.
    /// - Returns: the photographs, of how many they were chosen, and whether they are a validation part.
    /// - Throws: `DatasetError` for a missing folder, no class folders, no photograph.
    public static func evaluation(root: String, fraction: Double) throws -> (
        set: ImageSet, total: Int, isValidationFolder: Bool
    ) {
        let heldOut = try openPhotographs(root, .validation).flatMap { $0.classes.isEmpty ? nil : $0 }
        let source = try heldOut ?? openTraining(root)
        let all = ImageSet(source)
        guard all.count > 0 else {
            throw DatasetError(
                .emptyClass, "\(source.path): no photograph in its class folders; add some")
        }
        let chosen = heldOut != nil || fraction >= 1 ? all : all.split(fraction).heldOut
        guard chosen.count > 0 else {
            throw DatasetError(
                .emptyClass,
                "\(source.path): a share of \(fraction) holds out none of its \(all.count) photographs; "
                    + "take a larger one, or 1 for all")
        }
        return (chosen, all.count, heldOut != nil)
    }

    private static func openTraining(_ root: String) throws -> any PhotographSource {
        if let source = try openPhotographs(root, .training) { return source }
        throw DatasetError(
            .noTrainingFolder,
            "\(root): has a folder val but none named train; add \(root)/train/CLASS/*.jpg")
    }

    /// Returns the paths of the photographs in a folder and in those below it.
    ///
    /// - Throws: `DatasetError` for a folder that cannot be listed.
    public static func photographs(below folder: String) throws -> [String] {
        let listing = try FolderListing(path: folder)
        let prefix = folder.hasSuffix("/") ? folder : folder + "/"
        var paths = listing.images.map { prefix + $0 }
        for name in listing.folders { paths += try photographs(below: prefix + name) }
        return paths
    }
}

extension ImageSet {
    /// The first class without a photograph.
    fileprivate var firstEmptyClass: Int? {
        let used = Set((0..<count).map(label))
        return classes.indices.first { !used.contains($0) }
    }

    /// Splits the set by a hash of each name.
    ///
    /// Every machine chooses the same photographs, and a smaller share is a part of a larger one.
    fileprivate func split(_ fraction: Double) -> (rest: ImageSet, heldOut: ImageSet) {
        let isHeldOut = (0..<count).map { Double(nameHash(name($0)) >> 11) * 0x1p-53 < fraction }
        let parts = [false, true].map { part in subset((0..<count).filter { isHeldOut[$0] == part }) }
        return (parts[0], parts[1])
    }
}
