import Basics
import Foundation

/// Reads photographs whose classes are in a list, wherever below a folder the files are.
struct ListedPhotographs: PhotographSource {
    private let files: PhotographFiles
    let path: String

    var classes: [String] { files.classes }
    var count: Int { files.count }

    func label(_ index: Int) -> Int { files.label(index) }
    func name(_ index: Int) -> String { files.name(index) }
    func location(_ index: Int) -> String { files.location(index) }
    func byteCount(_ index: Int) throws -> Int { try files.byteCount(index) }

    func addState(_ index: Int, to hash: inout FNVHash) -> Bool { files.addState(index, to: &hash) }

    func bytes(_ index: Int, buffer: ByteBuffer) throws -> UnsafeRawBufferPointer {
        try files.bytes(index, buffer: buffer)
    }

    /// Opens the photographs below a folder that a list names.
    ///
    /// If the list names photographs in `train` and in another part such as `val`, these are the two parts.
    /// - Throws: `DatasetError`.
    static func open(_ root: String, list path: String) throws -> PhotographParts {
        var (names, unused) = try Dataset.photographs(below: root)
        // The list may be among the photographs.
        if let identity = FileIdentity(path: path),
            let own = unused.files.first(where: { FileIdentity(path: root + "/" + $0.path) == identity })
        {
            unused.remove(own.path)
        }
        let skipped = root == "/" ? 1 : root.utf8.count + 1
        let folder = URL(fileURLWithPath: root).standardizedFileURL.lastPathComponent
        let disk = FilesOnDisk(names.map { String($0.utf8.dropFirst(skipped)) ?? $0 }, in: folder)
        let list = try LabelList(path: path, disk: disk)
        return try Assignment(list, disk, unused).parts(root: root, list: path)
    }

    private init(_ root: String, path: String, classes: [String], files: [ImageFile]) {
        self.path = path
        self.files = PhotographFiles(path: root, root: root, classes: classes, files: files)
    }

    /// The classes of the files on disk, and what does not fit.
    private struct Assignment {
        private var classes: [String?]
        private let disk: FilesOnDisk
        private var unused: UnusedFiles

        init(_ list: LabelList, _ disk: FilesOnDisk, _ unused: UnusedFiles) throws {
            self.disk = disk
            self.unused = unused
            classes = [String?](repeating: nil, count: disk.paths.count)
            let isByName = !list.rows.contains { disk.find($0.file, ignoringFolders: false) != .none }
            var missing: [String] = []
            for row in list.rows {
                switch disk.find(row.file, ignoringFolders: isByName) {
                case .none: missing.append(row.file)
                case .several(let first, let second):
                    throw DatasetError(
                        .badList,
                        "\(list.path):\(row.line): “\(row.file)” may be \(first) or \(second); write "
                            + "the path below the data folder")
                case .one(let index):
                    if let other = classes[index], other != row.className {
                        throw DatasetError(
                            .badList,
                            "\(list.path):\(row.line): \(disk.paths[index]) has the class “\(row.className)” "
                                + "here and “\(other)” before; keep one of the lines")
                    }
                    classes[index] = row.className
                }
            }
            guard missing.count < list.rows.count else {
                throw DatasetError(
                    .badList,
                    "\(list.path): none of its \(missing.count) files (\(quoted(missing))) is among the "
                        + "\(disk.paths.count) photographs in the data folder"
                        + unused.conversions.map { "; " + $0 }.joined())
            }
            self.unused.add(.notOnDisk, names: missing)
            self.unused.add(.noClass, names: list.linesWithoutClass.map { "line \($0)" })
            self.unused.add(
                .notListed, names: disk.paths.indices.filter { classes[$0] == nil }.map { disk.paths[$0] })
        }

        func parts(root: String, list: String) throws -> PhotographParts {
            let names = Set(classes.compactMap { $0 }).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
            let labels = Dictionary(uniqueKeysWithValues: zip(names, 0...))
            var training: [ImageFile] = []
            var validation: [ImageFile] = []
            for (path, name) in zip(disk.paths, classes) {
                guard let name, let label = labels[name] else { continue }
                let file = ImageFile(path: path, label: label)
                if case .validation? = FilesOnDisk.role(path) {
                    validation.append(file)
                } else {
                    training.append(file)
                }
            }
            // Without photographs in `train`, folders are only places.
            if training.isEmpty || !training.contains(where: { FilesOnDisk.role($0.path) == .training }) {
                training = zip(disk.paths, classes).compactMap { path, name in
                    name.flatMap { labels[$0] }.map { ImageFile(path: path, label: $0) }
                }
                validation = []
            }
            func source(_ files: [ImageFile], _ part: String) -> ListedPhotographs {
                ListedPhotographs(root, path: "\(list)\(part)", classes: names, files: files)
            }
            return PhotographParts(
                training: source(training, validation.isEmpty ? "" : ", training part"),
                validation: validation.isEmpty ? nil : source(validation, ", validation part"), unused: unused
            )
        }
    }
}

/// Finds files by what a list may call them: with or without extension and folders.
struct FilesOnDisk {
    enum Match: Equatable {
        case none
        case one(Int)
        case several(String, String)
    }

    /// The paths below the data folder.
    let paths: [String]
    /// The name of the data folder.
    private let folder: Substring
    /// The files of each name, without folders and extension.
    private let places: [Substring: [Int]]

    init(_ paths: [String], in folder: String) {
        self.paths = paths
        self.folder = folder.inOneForm[...]
        var places: [Substring: [Int]] = [:]
        for (index, path) in paths.enumerated() { places[Self.stem(path), default: []].append(index) }
        self.places = places
    }

    /// - Parameter ignoringFolders: whether the list's folders are those of another machine.
    func find(_ text: String, ignoringFolders: Bool) -> Match {
        let name = Self.path(text)
        guard var candidates = places[Self.stem(name)] else { return .none }
        let folders = name.split(separator: "/").dropLast()
        if !ignoringFolders, !folders.isEmpty {
            candidates.removeAll { index in
                let own = [folder] + paths[index].split(separator: "/").dropLast()
                return own.count >= folders.count
                    ? !own.suffix(folders.count).elementsEqual(folders)
                    : !folders.suffix(own.count).elementsEqual(own)
            }
        }
        // The exact path comes before the exact name, and this before a file with another extension.
        for isExact in [{ $0 == name }, { "/" + $0 == "/" + name || $0.hasSuffix("/" + name) }]
            as [(String) -> Bool]
        where candidates.count > 1 {
            let exact = candidates.filter { isExact(paths[$0]) }
            if !exact.isEmpty { candidates = exact }
        }
        if candidates.count > 1 {
            let training = candidates.filter { Self.role(paths[$0]) == .training }
            if !training.isEmpty { candidates = training }
        }
        return switch candidates.count {
        case 0: .none
        case 1: .one(candidates[0])
        default: .several(paths[candidates[0]], paths[candidates[1]])
        }
    }

    /// The part that the first folder of a path stands for.
    static func role(_ path: String) -> FolderRole? {
        path.firstIndex(of: "/").flatMap { FolderRole(String(path[..<$0])) }
    }

    /// Returns a path as lists of other systems may write it, in our form.
    private static func path(_ text: String) -> String {
        var path = text.inOneForm.replacing("\\", with: "/")
        while path.hasPrefix("./") { path.removeFirst(2) }
        return path
    }

    private static let extensions: Set<String> = [
        "jpg", "jpeg", "jpe", "jfif", "jp2", "png", "webp",
        "heic", "heif", "avif", "gif", "bmp", "tif", "tiff",
    ]

    /// Returns a path's last part without the extension of a photograph.
    ///
    /// A photograph that was converted may have two: `IMG_1.heic.jpg`.
    private static func stem(_ path: String) -> Substring {
        var name = path.lastIndex(of: "/").map { path[path.index(after: $0)...] } ?? path[...]
        while let dot = name.lastIndex(of: "."), dot > name.startIndex,
            extensions.contains(name[name.index(after: dot)...].lowercased())
        {
            name = name[..<dot]
        }
        return name
    }
}

extension UnusedFiles {
    fileprivate mutating func add(_ reason: Reason, names: [String]) {
        for name in names { add(reason, file: name) }
    }
}
