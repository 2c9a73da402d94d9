import Basics
import Foundation

/// Finds the archives that a path stands for, and the parts of a set that their names say.
struct ArchiveSet {
    /// The part of a set that some archives hold.
    struct Part: Equatable {
        /// What names of photographs begin with: empty, or the part's name with "/".
        let prefix: String
        let role: FolderRole?
    }

    static let manifestName = "manifest.json"
    static let classListName = "classes.txt"
    static let indexName = "photographs.index"

    /// The folder that paths begin at.
    let folder: String
    /// What the user gave, as messages name it.
    let path: String
    /// The archives below the folder that are used, sorted, with the number of their part.
    private(set) var archives: [(path: String, part: Int)] = []
    private(set) var parts: [Part] = []
    private(set) var manifest: Manifest?
    private(set) var unused = UnusedFiles()
    private(set) var notes: [String] = []

    /// - Parameter path: a folder, a tar archive or a manifest.
    /// - Returns: nil if the path leads to class folders or to nothing.
    init?(_ path: String) throws {
        self.path = path
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        if status.st_mode & S_IFMT == S_IFDIR {
            folder = path
            let manifest = path + "/" + Self.manifestName
            if let manifest = try Manifest(path: manifest, mustBeOne: false) {
                try use(manifest)
            } else if try !listFolder() {
                return nil
            }
        } else {
            let name = path.split(separator: "/").last.map(String.init) ?? path
            folder = path.count == name.count ? "." : String(path.dropLast(name.count + 1))
            if name.lowercased().hasSuffix(".json"), let manifest = try Manifest(path: path, mustBeOne: true)
            {
                try use(manifest)
            } else if name.lowercased().hasSuffix(".tar") {
                choose([name])
            } else {
                return nil
            }
        }
        archives.sort { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) }
        noteGaps()
    }

    /// Returns where an archive or another file of the set is.
    func file(_ name: String) -> String { folder == "." ? name : folder + "/" + name }

    /// Returns the state of each archive.
    ///
    /// The manifest's checksum stands for the time of change, so a copy of a set needs no new index.
    func stamps() throws -> [ArchiveIndex.Archive] {
        let listed = (manifest?.archives ?? []).map { ($0.path, Int($0.sha256.prefix(15), radix: 16) ?? 0) }
        let checksums = Dictionary(listed) { first, _ in first }
        return try archives.map { archive in
            let found = try FileStamp(path: file(archive.path))
            return ArchiveIndex.Archive(
                path: archive.path,
                stamp: checksums[archive.path].map { FileStamp(byteCount: found.byteCount, modified: $0) }
                    ?? found)
        }
    }

    private mutating func use(_ manifest: Manifest) throws {
        self.manifest = manifest
        for archive in manifest.archives {
            var status = stat()
            guard stat(file(archive.path), &status) == 0 else {
                throw DatasetError(
                    .badArchive(.missing),
                    "\(file(archive.path)): no such file, and \(manifest.path) lists it")
            }
            guard Int(status.st_size) == archive.byteCount else {
                throw DatasetError(
                    .badArchive(.missing),
                    "\(file(archive.path)): \(status.st_size) bytes, and \(manifest.path) says "
                        + "\(archive.byteCount)")
            }
        }
        choose(manifest.archives.map(\.path))
    }

    /// Lists a folder of archives, or one with folders of archives that are called like parts.
    ///
    /// - Returns: whether it is such a folder.
    private mutating func listFolder() throws -> Bool {
        let top = try FolderListing(path: folder)
        let all = top.allFolders.map { (name: $0, role: FolderRole($0)) }
        // A development kit may stand beside archives, but no class folder.
        for (name, role) in all where role == nil {
            guard !top.archives.isEmpty, try FolderListing(path: folder + "/" + name).isWithoutPhotographs
            else {
                return false
            }
        }
        let folders = all.filter { $0.role != nil }
        var found = top.archives
        var others = top.others
        for (name, _) in folders {
            let listing = try FolderListing(path: folder + "/" + name)
            guard listing.allFolders.isEmpty else { return false }
            found += listing.archives.map { name + "/" + $0 }
            others.add(listing.others.below(name))
            others.add(listing.unusedImages.below(name))
        }
        guard !found.isEmpty else { return false }
        others.add(top.unusedImages)
        for kind in [".tar": found.count, ".index": nil, ".txt": nil] as [String: Int?] {
            others.remove(kind.key, count: kind.value)
        }
        unused.add(.otherKind, others, in: "")
        unused.add(.hidden, top.hidden, in: "")
        choose(found)
        return true
    }

    /// Chooses the archives of the training part and of one validation part.
    private mutating func choose(_ found: [String]) {
        let roles = found.map(Self.role)
        let hasTraining = roles.contains { $0?.role == .training }
        let ranks = roles.compactMap { role -> Int? in
            if case .validation(let rank)? = role?.role { rank } else { nil }
        }
        let hasParts = hasTraining || !ranks.isEmpty
        for (path, role) in zip(found, roles) {
            let part: Part
            switch role?.role {
            case .training?: part = Part(prefix: (role?.name ?? "train") + "/", role: .training)
            case .validation(let rank)?:
                guard rank == ranks.min() else {
                    unused.add(.otherFolder, file: path, FileKind(".tar"))
                    continue
                }
                part = Part(prefix: (role?.name ?? "val") + "/", role: role?.role)
            case nil where hasTraining:
                unused.add(.otherFolder, file: path, FileKind(".tar"))
                continue
            case nil: part = Part(prefix: hasParts ? "train/" : "", role: nil)
            }
            if !parts.contains(part) { parts.append(part) }
            archives.append((path, parts.firstIndex(of: part) ?? 0))
        }
    }

    /// Returns the part that an archive's folder or name says: `train/0.tar`, `imagenet-val-000.tar`.
    private static func role(_ path: String) -> (name: String, role: FolderRole)? {
        let places = path.split(separator: "/")
        let folders = places.dropLast().map(String.init)
        let words = (places.last ?? "").split { !$0.isLetter }.map { $0.lowercased() }.dropLast()
        return (folders + words).lazy.compactMap { name in FolderRole(name).map { (name, $0) } }.first
    }

    /// Notes numbers that are missing in a row of numbered archives.
    private mutating func noteGaps() {
        var rows: [String: [Int]] = [:]
        for (path, _) in archives {
            let stem = path.dropLast(4)
            let digits = stem.reversed().prefix { $0.isASCII && $0.isNumber }.count
            if digits > 0, digits < 10, let number = Int(stem.suffix(digits)) {
                rows[String(stem.dropLast(digits)), default: []].append(number)
            }
        }
        for (stem, numbers) in rows.sorted(by: { $0.key < $1.key }) {
            let known = Set(numbers)
            guard let last = numbers.max(), last < 2 * known.count + 10 else { continue }
            let missing = (0...last).filter { !known.contains($0) && $0 >= min(1, numbers.min() ?? 0) }
            guard !missing.isEmpty else { continue }
            notes.append(
                "archives may be missing: there is no number "
                    + missing.map(String.init).listed(atMost: 5) + " of \(stem)….tar")
        }
    }
}

/// Describes a set of archives that `trainer prepare` has written.
struct Manifest {
    static let format = "deep-image archives 1"

    struct Archive {
        let path: String
        let byteCount, photographs: Int
        let sha256: String
    }

    let path: String
    let json: JSON
    let archives: [Archive]
    let classes: [String]

    /// - Parameter mustBeOne: whether another file is an error and not just nil.
    init?(path: String, mustBeOne: Bool) throws {
        guard let data = FileManager.default.contents(atPath: path) else {
            if !mustBeOne { return nil }
            throw DatasetError(.badArchive(.badManifest), "\(path): cannot be read")
        }
        let json: JSON
        do { json = try JSON.parse([UInt8](data)) } catch {
            if !mustBeOne { return nil }
            throw DatasetError(.badArchive(.badManifest), "\(path): not JSON (\(error))")
        }
        guard let format = json["format"]?.string else {
            if !mustBeOne { return nil }
            throw DatasetError(.badArchive(.badManifest), "\(path): not a manifest of archives")
        }
        guard format == Self.format else {
            throw DatasetError(
                .badArchive(.badManifest),
                "\(path): its format is “\(format)”; this version reads “\(Self.format)”")
        }
        guard let list = json["archives"]?.array,
            let classes = json["classes"]?.array?.compactMap({ $0["name"]?.string })
        else {
            throw DatasetError(.badArchive(.badManifest), "\(path): no list of archives and classes in it")
        }
        archives = try list.map { entry in
            guard let file = entry["path"]?.string, let bytes = entry["bytes"]?.integer,
                let photographs = entry["photographs"]?.integer, let sum = entry["sha256"]?.string
            else {
                throw DatasetError(
                    .badArchive(.badManifest),
                    "\(path): an archive without path, bytes, photographs or sha256")
            }
            return Archive(path: file, byteCount: bytes, photographs: photographs, sha256: sum)
        }
        (self.path, self.json, self.classes) = (path, json, classes)
    }
}
