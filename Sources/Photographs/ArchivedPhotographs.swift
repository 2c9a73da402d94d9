import Basics
import Foundation
import Synchronization

/// Reads photographs at their places in tar archives.
struct ArchivedPhotographs: PhotographSource {
    let path: String
    private let index: ArchiveIndex
    /// The photographs' rows in the index.
    private let rows: [UInt32]
    /// What names begin with, so that they are those of class folders.
    private let prefix: String
    private let archives: OpenArchives

    var classes: [String] { index.header.classes }
    var count: Int { rows.count }

    func label(_ index: Int) -> Int { self.index.label(Int(rows[index])) }

    func name(_ index: Int) -> String { prefix + member(index) }

    /// Returns the name of a photograph in its archive.
    private func member(_ index: Int) -> String {
        String(decoding: self.index.name(Int(rows[index])), as: UTF8.self)
    }

    /// The name behind the folder of its class, or the whole name if it is in no such folder.
    func nameInClass(_ index: Int) -> String {
        let name = self.index.name(Int(rows[index]))
        let start = ArchivedPhotographs.startInClass(name, className: classes[label(index)])
        return String(decoding: name[start...], as: UTF8.self).inOneForm
    }

    /// Returns where the part of a name behind its class's folder begins.
    static func startInClass(_ name: some Collection<UInt8>, className: String) -> Int {
        let folder = className.utf8
        let isInFolder = name.starts(with: folder) && name.dropFirst(folder.count).first == UInt8(ascii: "/")
        return isInFolder ? folder.count + 1 : 0
    }

    func location(_ index: Int) -> String { archives.path(archive(index)) + ":" + member(index) }

    func file(_ index: Int) -> String { archives.path(archive(index)) }

    private func archive(_ index: Int) -> Int { self.index.archive(Int(rows[index])) }

    func withName(_ index: Int, _ body: (UnsafeRawBufferPointer) -> Void) {
        var prefix = prefix
        if !prefix.isEmpty { prefix.withUTF8 { body(UnsafeRawBufferPointer($0)) } }
        let name = self.index.name(Int(rows[index]))
        // Bytes that are not UTF-8 are hashed as they are shown.
        if name.contains(where: { $0 >= 0x80 }) {
            Array(member(index).utf8).withUnsafeBytes(body)
        } else {
            body(name)
        }
    }

    func byteCount(_ index: Int) throws -> Int { self.index.byteCount(Int(rows[index])) }

    func addState(_ index: Int, to hash: inout FNVHash) -> Bool {
        let row = Int(rows[index])
        let stamp = self.index.header.archives[archive(index)].stamp
        for number in [stamp.byteCount, stamp.modified, self.index.offset(row), self.index.byteCount(row)] {
            hash.add(UInt64(bitPattern: Int64(number)))
        }
        return true
    }

    func bytes(_ index: Int, buffer: ByteBuffer) throws -> UnsafeRawBufferPointer {
        let row = Int(rows[index])
        let size = self.index.byteCount(row)
        guard size > 0 else { throw ImageError(.empty, file: location(index)) }
        guard size <= ImageLimits.fileBytes else {
            throw ImageError(.tooLarge, file: location(index), detail: "\(size) bytes")
        }
        buffer.reserve(size)
        let memory = UnsafeMutableRawBufferPointer(start: buffer.bytes, count: size)
        do { try archives.open(archive(index)).read(into: memory, at: self.index.offset(row)) } catch {
            throw ImageError(error, file: location(index))
        }
        return UnsafeRawBufferPointer(memory)
    }
}

/// Keeps some of a set's archives open: a system may allow fewer open files than a set has archives.
private final class OpenArchives: Sendable {
    private let paths: [String]
    private let stamps: [FileStamp]
    /// Whether the checksums of a manifest stand for the times of change.
    private let hasManifest: Bool
    private let files = Mutex<[Int: FileDescriptor]>([:])
    private static let limit = 200

    init(_ set: ArchiveSet, _ archives: [ArchiveIndex.Archive]) {
        paths = archives.map { set.file($0.path) }
        stamps = archives.map(\.stamp)
        hasManifest = set.manifest != nil
    }

    func path(_ archive: Int) -> String { paths[archive] }

    /// Returns the open file, which stays open as long as it is used.
    func open(_ archive: Int) throws -> FileDescriptor {
        if let file = files.withLock({ $0[archive] }) { return file }
        let path = paths[archive]
        guard let stamp = try? FileStamp(path: path) else { throw ImageError(.missing, file: path) }
        guard stamp == stamps[archive] || hasManifest && stamp.byteCount == stamps[archive].byteCount else {
            throw ImageError(.unreadable, file: path, detail: "the archive was changed since it was listed")
        }
        let file = try FileDescriptor(path, O_RDONLY)
        files.withLock { files in
            // Which one is closed does not matter: photographs are read in random order.
            if files.count >= Self.limit, let other = files.keys.first { files[other] = nil }
            files[archive] = file
        }
        return file
    }
}

extension ArchivedPhotographs {
    /// Opens a set of archives by its index, which is made if it does not exist or the archives have changed.
    ///
    /// - Throws: `DatasetError`.
    static func open(_ set: ArchiveSet) throws -> PhotographParts {
        let stamps = try set.stamps()
        let list = try ClassList(set)
        var notes = set.notes
        let index = try storedIndex(set, stamps, list, &notes) ?? makeIndex(set, stamps, list, &notes)
        let archives = OpenArchives(set, stamps)
        var rows = [[UInt32]](repeating: [], count: set.parts.count)
        let partOfArchive = set.archives.map(\.part)
        for row in 0..<index.count { rows[partOfArchive[index.archive(row)]].append(UInt32(row)) }
        let sources = zip(set.parts, rows).map { part, rows in
            let path = part.prefix.isEmpty ? set.path : set.path + ", part " + part.prefix.dropLast()
            return ArchivedPhotographs(
                path: path, index: index, rows: rows, prefix: part.prefix, archives: archives)
        }
        var parts = PhotographParts()
        for (part, source) in zip(set.parts, sources) {
            if case .validation? = part.role { parts.validation = source } else { parts.training = source }
        }
        parts.unused = set.unused
        parts.unused.add(index.header.unused)
        parts.notes = notes + index.header.notes
        return parts
    }

    /// Where an index is looked for: beside the archives, then in the cache folder.
    static func indexPlaces(_ set: ArchiveSet) -> [String] {
        var hash = FNVHash()
        hash.add(URL(fileURLWithPath: set.file("")).standardizedFileURL.path)
        for archive in set.archives { hash.add(archive.path + "\u{0}") }
        return [
            set.file(ArchiveSet.indexName),
            CacheFolder.path + "/archives-" + String(hash.value, radix: 16) + ".index",
        ]
    }

    /// Returns an index that fits the archives as they are now; nil if there is none.
    private static func storedIndex(
        _ set: ArchiveSet, _ archives: [ArchiveIndex.Archive], _ list: ClassList, _ notes: inout [String]
    ) throws -> ArchiveIndex? {
        for path in indexPlaces(set) {
            guard let index = ArchiveIndex(path: path) else { continue }
            let header = index.header
            if header.archives == archives, header.classList == list.identity { return index }
            let old = Dictionary(header.archives.map { ($0.path, $0.stamp) }) { first, _ in first }
            if let changed = archives.first(where: { old[$0.path] != nil && old[$0.path] != $0.stamp }) {
                notes.append(
                    "\(path) is older than \(changed.path), so the archives were listed again")
            }
        }
        return nil
    }

    /// Reads all archives, and writes the index beside them or, if that is not possible, to the cache folder.
    private static func makeIndex(
        _ set: ArchiveSet, _ archives: [ArchiveIndex.Archive], _ list: ClassList, _ notes: inout [String]
    ) throws -> ArchiveIndex {
        let index = try ArchiveListing(set, list).index(archives)
        let places = indexPlaces(set)
        try? Folder.create(CacheFolder.path)
        for path in places {
            do {
                try index.write(path)
                return index
            } catch { continue }
        }
        notes.append("the index of the archives cannot be stored, so each start lists them again")
        return index
    }
}

/// The names of classes that numbers stand for.
struct ClassList {
    private let names: [String]?
    private let truth: GroundTruth?
    private let path: String
    /// Changes with the list.
    let identity: String

    /// Takes the classes of the manifest, or of `classes.txt` beside the archives: one on each line, perhaps
    /// with a description behind a tab.
    init(_ set: ArchiveSet) throws {
        if let manifest = set.manifest {
            (names, path) = (manifest.classes, manifest.path)
        } else {
            path = set.file(ArchiveSet.classListName)
            names = FileManager.default.contents(atPath: path).map {
                String(decoding: $0, as: UTF8.self).split(whereSeparator: \.isNewline).map { line in
                    String(line.split(separator: "\t")[0]).trimmingCharacters(in: .whitespaces).inOneForm
                }
            }
        }
        var known: Set<String> = []
        if let repeated = names?.first(where: { !known.insert($0).inserted }) {
            throw DatasetError(.badArchive(.badManifest), "\(path): the class “\(repeated)” occurs twice")
        }
        var hash = FNVHash()
        for name in names ?? [] { hash.add(name + "\u{0}") }
        truth = GroundTruth(near: set.folder)
        identity = (names == nil ? "" : String(hash.value, radix: 16)) + (truth?.identity ?? "")
    }

    /// Returns the classes of photographs that are in no folder, by their names; nil if nothing says them.
    func truthfulClasses() throws -> [String: String]? { try truth?.classes() }

    /// Returns the name of a class from what a sample says; a number stays a number without a list.
    func name(_ text: String, of photograph: @autoclosure () -> String) throws -> String {
        guard !text.isEmpty else {
            throw DatasetError(
                .badArchive(.noClass), "\(photograph()): no .cls with its class beside it in the archive")
        }
        guard let names, let number = Int(text) else { return text.inOneForm }
        guard names.indices.contains(number) else {
            throw DatasetError(
                .badArchive(.noClass),
                "\(photograph()): its class is \(number), and \(path) names the classes 0 to "
                    + "\(names.count - 1)"
            )
        }
        return names[number]
    }
}

/// Reads what all archives of a set hold, to make their index.
private struct ArchiveListing {
    private let set: ArchiveSet
    private let list: ClassList
    private let contents: [ArchiveContents]

    init(_ set: ArchiveSet, _ list: ClassList) throws {
        (self.set, self.list) = (set, list)
        final class Shared: Sendable {
            let results = Mutex<[Int: Result<ArchiveContents, any Error>]>([:])
        }
        let shared = Shared()
        let workers = min(16, 2 * ProcessInfo.processInfo.activeProcessorCount)
        runWorkers(workers, count: set.archives.count) { _, number in
            let path = set.archives[number].path
            let result = Result { try ArchiveContents(set.file(path), place: path) }
            shared.results.withLock { $0[number] = result }
        }
        let found = shared.results.withLock { $0 }
        contents = try set.archives.indices.map { number in
            guard let result = found[number] else { preconditionFailure("archive \(number) was not read") }
            return try result.get()
        }
    }

    func index(_ archives: [ArchiveIndex.Archive]) throws -> ArchiveIndex {
        var header = ArchiveIndex.Header(
            archives: archives, classes: [], classList: list.identity, unused: UnusedFiles(), notes: [])
        let wrappers = set.parts.indices.map(wrapper)
        var truth: [String: String]?
        var labels: [String: Int] = [:]
        var names = Names()
        var entries: [ArchiveIndex.Entry] = []
        for (number, contents) in contents.enumerated() {
            header.unused.add(contents.unused)
            for place in contents.places.indices {
                let text = contents.classes[place]
                let name =
                    text == nil
                    ? contents.names[place].dropFirst(wrappers[set.archives[number].part])
                    : contents.names[place]
                if text == nil, truth == nil, !name.contains(UInt8(ascii: "/")) {
                    truth = try list.truthfulClasses() ?? [:]
                }
                let className = try className(text, name, truth, of: place, in: number)
                let label = labels[className] ?? labels.count
                labels[className] = label
                names.append(name)
                let (offset, size) = contents.places[place]
                entries.append(
                    .init(
                        offset: offset, byteCount: min(size, Int(UInt32.max)), label: label, archive: number))
            }
        }
        guard names.bytes.count < 1 << 32 else {
            throw DatasetError(
                .badArchive(.unsupported), "\(set.path): the names of its photographs take 4 GiB or more")
        }
        try requireUnique(names, entries)
        let sorted = labels.keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        let rank = Dictionary(uniqueKeysWithValues: zip(sorted, 0...))
        var ranks = [Int](repeating: 0, count: labels.count)
        for (name, label) in labels { ranks[label] = rank[name] ?? 0 }
        entries = entries.map {
            .init(offset: $0.offset, byteCount: $0.byteCount, label: ranks[$0.label], archive: $0.archive)
        }
        header.classes = sorted
        header.notes = foreignNameNotes
        let order = names.order(
            by: { entries[$0].label },
            skipping: {
                ArchivedPhotographs.startInClass(names[$0], className: sorted[entries[$0].label])
            })
        return ArchiveIndex(header, entries: entries, names: names, order: order)
    }

    /// Returns the class of a photograph, by its sample or by its folder.
    private func className(
        _ text: String?, _ name: ArraySlice<UInt8>, _ truth: [String: String]?, of place: Int, in number: Int
    ) throws -> String {
        let location = { set.file(set.archives[number].path) + ":" + contents[number].names.text(place) }
        if let text { return try list.name(text, of: location()) }
        guard let slash = name.firstIndex(of: UInt8(ascii: "/")) else {
            if let known = truth?[GroundTruth.stem(String(decoding: name, as: UTF8.self))] { return known }
            throw DatasetError(
                .badArchive(.noClass),
                "\(location()): its class is unknown; it has neither a .cls beside it nor a class folder")
        }
        return String(decoding: name[..<slash], as: UTF8.self).inOneForm
    }

    /// Returns how many bytes of each name in a part's archives are folders around all class folders.
    private func wrapper(_ part: Int) -> Int {
        var shared: [ArraySlice<UInt8>]?
        // The last folder of a name may be its class.
        var deepest = Int.max
        for (archive, contents) in zip(set.archives, contents) where archive.part == part {
            for place in contents.places.indices where contents.classes[place] == nil {
                let folders = contents.names[place].split(separator: UInt8(ascii: "/")).dropLast()
                deepest = min(deepest, folders.count - 1)
                shared = shared.map { zip($0, folders).prefix { $0 == $1 }.map(\.0) } ?? Array(folders)
                if shared == [] || deepest < 1 { return 0 }
            }
        }
        return (shared ?? []).prefix(max(0, deepest)).reduce(0) { $0 + $1.count + 1 }
    }

    /// Checks that no two photographs of a part have the same name.
    private func requireUnique(_ names: Names, _ entries: [ArchiveIndex.Entry]) throws {
        var order = (0..<names.count).map { index -> (hash: UInt64, index: UInt32) in
            var hash = FNVHash(salt: UInt64(set.archives[entries[index].archive].part))
            hash.add(names[index])
            return (hash.value, UInt32(index))
        }
        order.sort { $0.hash < $1.hash }
        for (left, right) in zip(order, order.dropFirst()) where left.hash == right.hash {
            let (first, second) = (Int(left.index), Int(right.index))
            guard names[first] == names[second] else { continue }
            let places = [first, second].map { set.file(set.archives[entries[$0].archive].path) }.sorted()
            throw DatasetError(
                .badArchive(.repeated),
                "\(places[0]) and \(places[1]): both have the photograph “\(names.text(first))”")
        }
    }

    private var foreignNameNotes: [String] {
        let count = contents.reduce(0) { $0 + $1.foreignNames.count }
        guard count > 0, let first = contents.first(where: { $0.foreignNames.count > 0 }) else { return [] }
        let names = count == 1 ? "1 name is" : "\(count) names are"
        return ["\(names) not UTF-8, such as \(first.foreignNames.first); the photographs are used"]
    }
}
