import Basics

/// Holds the training and the validation photographs of a run.
public struct Dataset: Sendable {
    public let training: ImageSet
    public let validation: ImageSet
    /// The validation part that the folder has; nil if validation photographs were chosen from the others.
    public let validationPath: String?
    /// What is not used, and where it is.
    public let unused: UnusedFiles
    private let notes: [String]
    /// A hash of the photographs' names and classes, in order, and of a sample of their sizes.
    public let fingerprint: String

    /// Words for classes that files beside the photographs say, as those of ImageNet do.
    public let words: [String: String]

    public var classes: [String] { training.classes }

    private init(_ parts: PhotographParts, root: String, training: ImageSet, validation: ImageSet) {
        self.training = training
        self.validation = validation
        validationPath = parts.validation?.path
        unused = parts.unused
        notes = parts.notes
        words = ClassWords.read(near: root)
        fingerprint = Self.fingerprint(training, validation)
    }

    static func fingerprint(_ training: ImageSet, _ validation: ImageSet) -> String {
        var hash = FNVHash()
        for set in [training, validation] { set.addFingerprint(to: &hash) }
        return String(hash.value, radix: 16)
    }

    /// The share of photographs to hold out for validation if a folder has no part for it.
    public static let usualValidationFraction = 0.1

    /// Opens the photographs at a path; see `PhotographFiles.inClassFolders` for the forms of folders.
    ///
    /// Photographs without a validation part are split within each class, in the same way on every machine.
    /// - Parameters:
    ///   - labels: a list of files and classes; nil takes the names of folders as classes.
    ///   - validationFraction: the share of photographs for validation, at least 0 and below 1.
    ///   - cache: keeps lists of folders for the next start.
    /// - Throws: `DatasetError` for a missing folder, no class folders, one class, an empty class, a class
    ///   that only the validation part has.
    public static func load(
        root: String, labels: String? = nil, validationFraction: Double = usualValidationFraction,
        cache: StartCache = .standard
    ) throws -> Dataset {
        guard validationFraction >= 0 && validationFraction < 1 else {
            throw DatasetError(
                .badOption,
                "validation fraction \(validationFraction): must be at least 0 and below 1; "
                    + "\(usualValidationFraction) is usual")
        }
        let parts = try openPhotographs(root, labels: labels, cache: cache)
        guard let source = parts.training else {
            let path = parts.validation?.path ?? root
            throw DatasetError(
                .noTrainingFolder,
                "\(root): holds only \(path), and no photographs to train on; add "
                    + "\(root.withoutTrailingSlashes)/train/CLASS/")
        }
        let all = ImageSet(source)
        try requireClasses(all, source, parts.notes, root: root)
        guard let heldOut = parts.validation else {
            let (training, validation) = all.split(validationFraction)
            return Dataset(parts, root: root, training: training, validation: validation)
        }
        let unknown = heldOut.classes.filter { !all.classes.contains($0) }
        guard unknown.isEmpty else {
            throw DatasetError(
                .unknownClass,
                "\(heldOut.path): class \(quoted(unknown)) is not in \(source.path); rename it, or add its "
                    + "training images")
        }
        guard heldOut.count > 0 else {
            // A command to type stands last.
            let found = otherFormats(below: heldOut.path)
            let remedy = found == nil ? "add some, or remove" : "remove"
            throw DatasetError(
                .emptyClass,
                "\(heldOut.path): no photograph in its class folders; \(remedy) the folder to split "
                    + source.path + (found.map { "; or: \($0)" } ?? ""))
        }
        return Dataset(
            parts, root: root, training: all,
            validation: try ImageSet(heldOut).relabelled(classes: all.classes))
    }

    /// Checks that there are two classes or more, and that each has photographs.
    private static func requireClasses(
        _ set: ImageSet, _ source: any PhotographSource, _ notes: [String], root: String
    ) throws {
        if set.count == 0, otherFormats(below: source.path) != nil {
            throw DatasetError.noPhotographs(in: [source.path])
        }
        guard set.classes.count > 1 else {
            let folders = Set(
                (0..<source.count).map { index -> String? in
                    let name = source.nameInClass(index).split(separator: "/")
                    return name.count > 1 ? String(name[0]) : nil
                })
            let hasParts = folders.contains { $0.flatMap { FolderRole($0) } != nil }
            if folders.count > 1, !folders.contains(nil), !hasParts, let name = set.classes.first {
                let names = folders.compactMap { $0 }.sorted()
                let folder = source.path + "/" + name
                throw DatasetError(
                    .nested(folder: folder),
                    "\(source.path): only one class, \(quoted(set.classes)), with the folders "
                        + "\(quoted(names)) in it; a classifier needs two classes or more")
            }
            if let below = setBelow(root) { throw nested(root, below) }
            throw DatasetError(
                .oneClass,
                (["\(source.path): only one class, \(quoted(set.classes)); a classifier needs two or more"]
                    + notes)
                    .joined(separator: "; "))
        }
        if let label = set.firstEmptyClass {
            if let below = setBelow(root) { throw nested(root, below) }
            let folder = "\(source.path)/\(set.classes[label])"
            throw DatasetError(
                .emptyClass,
                "\(folder): an empty class, no photograph in it; "
                    + (otherFormats(below: folder) ?? "add some or remove the class"))
        }
    }

    /// Says which photographs below a folder cannot be read because of their format, and what converts them;
    /// nil if there are none.
    static func otherFormats(below folder: String) -> String? {
        guard let unused = try? photographs(below: folder).unused else { return nil }
        let found = unused.conversions
        return found.isEmpty ? nil : found.joined(separator: "; ")
    }

    /// Looks for the folder of a set below a folder in which nothing else has photographs.
    public static func setBelow(_ root: String) -> String? {
        var folder = root.withoutTrailingSlashes
        for depth in 0..<8 {
            guard let listing = try? FolderListing(path: folder), listing.imageCount == 0 else { return nil }
            let names = listing.allFolders.filter { name in
                (try? photographs(below: folder + "/" + name)).map { !$0.paths.isEmpty } ?? false
            }
            let isSet = names.count > 1 || names.contains { FolderRole($0) == .training }
            if isSet || names.isEmpty { return isSet && depth > 0 ? folder : nil }
            folder += "/" + names[0]
        }
        return nil
    }

    /// Explains that the set is in a folder below.
    public static func nested(_ root: String, _ folder: String) -> DatasetError {
        DatasetError(
            .setBelow(folder),
            "\(root): no folder of classes; the only photographs in it are those of \(folder)")
    }

    /// Returns the photographs in a folder and in those below it, and what is not used there.
    ///
    /// - Throws: `DatasetError` for a folder that cannot be listed.
    public static func photographs(below folder: String) throws -> (paths: [String], unused: UnusedFiles) {
        let root = folder.withoutTrailingSlashes
        var tree = FolderTree(root: root)
        let group = tree.makeGroup()
        if let listing = try tree.list("") {
            tree.addImages(of: listing, at: "", to: group)
            for name in listing.allFolders { try tree.add(name, of: listing, at: "", to: group) }
        }
        let prefix = root.hasSuffix("/") ? root : root + "/"
        let found = try tree.finish()[group]
        return ((0..<found.count).map { prefix + tree.path($0, of: found) }, tree.unused)
    }
}

extension Dataset {
    /// One line on each class without a validation photograph, and on where the others are from.
    public var remarks: [String] {
        var lines = [classLine] + notes + caseRemarks
        let total = training.count + validation.count
        if let validationPath {
            lines.append("validation: the \(validation.count) photographs in \(validationPath)")
        } else if validation.count > 0 {
            lines.append("validation: \(validation.count) of \(total) photographs, a share of each class")
        } else {
            lines.append("validation: none of the \(total) photographs")
        }
        let (learnt, heldOut) = (training.countsByClass, validation.countsByClass)
        let missing = classes.indices.filter { heldOut[$0] == 0 }
        guard !missing.isEmpty else { return lines }
        let names = quoted(missing.map { classes[$0] })
        let them = missing.count == 1 ? "it" : "them"
        let single = missing.allSatisfy { learnt[$0] == 1 }
        lines.append(
            "no photograph of class \(names) is held out, so validation does not cover \(them): "
                + (validationPath.map { "add some to \($0)" }
                    ?? (single
                        ? "a class with one photograph keeps it for training" : "hold out a larger share"))
        )
        return lines
    }

    /// One line if names of classes differ only in upper and lower case.
    private var caseRemarks: [String] {
        let groups = Dictionary(grouping: classes) { $0.lowercased() }.values.filter { $0.count > 1 }
        guard let first = groups.map({ $0.sorted() }).min(by: { $0[0] < $1[0] }) else { return [] }
        return ["classes \(quoted(first)) differ only in upper and lower case, and are separate classes"]
    }

    /// The classes with their numbers of photographs; of many classes, the first few.
    private var classLine: String {
        let counts = zip(training.countsByClass, validation.countsByClass).map(+)
        let shown = zip(classes, counts).prefix(12).map { "\($0) (\($1))" }.joined(separator: ", ")
        let rest = classes.count - 12
        return "classes: " + shown + (rest > 0 ? " and \(rest) more" : "")
    }
}

extension ImageSet {
    /// The number of photographs of each class.
    public var countsByClass: [Int] {
        var counts = [Int](repeating: 0, count: classes.count)
        for index in 0..<count { counts[label(index)] += 1 }
        return counts
    }

    /// The first class without a photograph.
    var firstEmptyClass: Int? { countsByClass.firstIndex(of: 0) }

    /// Splits the set, within each class, by a hash of each name.
    ///
    /// A class of two photographs or more has at least one on either side, and a single photograph is not
    /// held out. Apart from that, each class holds out the same share. Every machine chooses the same
    /// photographs, a smaller share is a part of a larger one, and new photographs move few others.
    func split(_ fraction: Double) -> (rest: ImageSet, heldOut: ImageSet) {
        let isHeldOut = heldOut(heldOutCount(fraction))
        return (
            subset((0..<count).lazy.filter { !isHeldOut[$0] }),
            subset((0..<count).lazy.filter { isHeldOut[$0] })
        )
    }

    /// Returns how many photographs a share stands for: at least one of each class that has two or more.
    private func heldOutCount(_ fraction: Double) -> Int {
        guard fraction > 0 else { return 0 }
        return max(countsByClass.count { $0 > 1 }, Int((fraction * Double(count)).rounded()))
    }

    /// Chooses the photographs to hold out: those of the smallest share.
    ///
    /// This is Webster's method of apportionment: the photograph of rank r among the n of its class comes at
    /// the share (r + ½)/n. The first of each class comes before all others, and the last is never held out.
    private func heldOut(_ chosen: Int) -> [Bool] {
        var isHeldOut = [Bool](repeating: false, count: count)
        guard chosen > 0 else { return isHeldOut }
        let hashes = (0..<count).map { nameHash(nameInClass($0)) }
        let members = rankedMembers(hashes)
        func share(_ rank: Int, of size: Int) -> Double {
            rank == 0 ? 0 : (Double(rank) + 0.5) / Double(size)
        }
        var shares: [Double] = []
        shares.reserveCapacity(count)
        for places in members.ranges {
            for rank in 0..<max(0, places.count - 1) { shares.append(share(rank, of: places.count)) }
        }
        shares.sort()
        guard let last = shares.prefix(chosen).last else { return isHeldOut }
        let below = shares.prefix(chosen).count { $0 < last }
        var equal: [(hash: UInt64, index: Int)] = []
        for places in members.ranges {
            for (rank, place) in places.dropLast().enumerated() {
                let own = share(rank, of: places.count)
                let index = Int(members.indices[place])
                if own < last { isHeldOut[index] = true }
                if own == last { equal.append((hashes[index], index)) }
            }
        }
        equal.sort { ($0.hash, $0.index) < ($1.hash, $1.index) }
        for (_, index) in equal.prefix(min(chosen, shares.count) - below) { isHeldOut[index] = true }
        return isHeldOut
    }

    /// Returns the photographs class by class, in the order of their hashes, and where each class is.
    private func rankedMembers(_ hashes: [UInt64]) -> (indices: [UInt32], ranges: [Range<Int>]) {
        var ends = countsByClass
        for label in ends.indices.dropFirst() { ends[label] += ends[label - 1] }
        let ranges = ends.indices.map { ($0 == 0 ? 0 : ends[$0 - 1])..<ends[$0] }
        var next = ranges.map(\.lowerBound)
        var indices = [UInt32](repeating: 0, count: count)
        for index in 0..<count {
            let label = label(index)
            indices[next[label]] = UInt32(index)
            next[label] += 1
        }
        for range in ranges {
            indices[range].sort { (hashes[Int($0)], $0) < (hashes[Int($1)], $1) }
        }
        return (indices, ranges)
    }
}
