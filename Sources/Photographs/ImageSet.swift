import Basics

/// Holds photographs of a source in a fixed order, labelled by a list of classes.
public struct ImageSet: Sendable {
    /// The names of the classes; a label is an index into it.
    public private(set) var classes: [String]
    private let source: any PhotographSource
    /// The photographs' positions in the source.
    private var positions: [UInt32]
    /// The label of each of the source's classes; -1 if it is not among `classes`.
    private var labels: [Int]

    /// Takes all photographs of a source.
    public init(_ source: any PhotographSource) {
        self.source = source
        classes = source.classes
        positions = Array(0..<UInt32(source.count))
        labels = Array(source.classes.indices)
    }

    /// Takes labelled files below a folder.
    public init(root: String, classes: [String], files: [ImageFile]) {
        self.init(PhotographFiles(path: root, root: root, classes: classes, files: files))
    }

    /// Takes files without labels; all are of class 0.
    public init(paths: [String], classes: [String]) {
        self.init(root: "", classes: classes, files: paths.map { ImageFile(path: $0, label: 0) })
    }

    public var count: Int { positions.count }

    /// Returns the position in the source of photograph `index`.
    private func position(_ index: Int) -> Int { Int(positions[index]) }

    /// Returns the class of photograph `index`.
    public func label(_ index: Int) -> Int { labels[source.label(position(index))] }

    /// Returns the name of photograph `index` within its source.
    public func name(_ index: Int) -> String { source.name(position(index)) }

    /// Returns the name of photograph `index` within its class.
    func nameInClass(_ index: Int) -> String { source.nameInClass(position(index)) }

    /// Returns where photograph `index` is, as messages name it.
    public func location(_ index: Int) -> String { source.location(position(index)) }

    /// Returns the file that photograph `index` is in, alone or with others.
    func file(_ index: Int) -> String { source.file(position(index)) }

    /// Returns the content of a photograph's file, valid until the next call with the same `buffer`.
    func bytes(_ index: Int, buffer: ByteBuffer) throws -> UnsafeRawBufferPointer {
        try source.bytes(position(index), buffer: buffer)
    }

    /// Reads and decodes a photograph as the loader does.
    ///
    /// - Parameter shortSide: the size of the shorter side; nil keeps the photograph's.
    /// - Throws: `ImageError`.
    public func decoded(_ index: Int, shortSide: Int?) throws -> DecodedImage {
        let output = ByteBuffer()
        let size = try ImageReader().read(self, index, shortSide: shortSide, into: output)
        return DecodedImage(
            width: size.width, height: size.height,
            pixels: Array(UnsafeBufferPointer(start: output.bytes, count: 3 * size.width * size.height)))
    }

    /// Returns the set of some of the photographs.
    public func subset(_ indices: some Sequence<Int>) -> ImageSet {
        var subset = self
        subset.positions = indices.map { positions[$0] }
        return subset
    }

    /// Returns the same photographs labelled by another list of classes, such as a checkpoint's.
    ///
    /// - Throws: `DatasetError.unknownClass` if a class that has photographs is not in the list.
    public func relabelled(classes newClasses: [String]) throws -> ImageSet {
        if newClasses == classes { return self }
        let known = Dictionary(newClasses.enumerated().map { ($1, $0) }) { first, _ in first }
        let unknown = Set((0..<count).map(label)).sorted().map { classes[$0] }.filter { known[$0] == nil }
        guard unknown.isEmpty else {
            let lowercased = Set(newClasses.map { $0.lowercased() })
            throw DatasetError(
                .unknownClass,
                "\(source.path): class \(quoted(unknown)) is not among the model's \(newClasses.count) "
                    + "classes (\(quoted(newClasses))); "
                    + (unknown.contains { lowercased.contains($0.lowercased()) }
                        ? "upper and lower case differ: rename the class" : "rename it or leave it out"))
        }
        var relabelled = self
        relabelled.classes = newClasses
        relabelled.labels = labels.map { $0 < 0 ? -1 : known[classes[$0]] ?? -1 }
        return relabelled
    }

    /// Returns at most `limit` of the photographs, the same ones on every machine.
    public func statisticsSample(limit: Int = 10_000) -> ImageSet {
        guard count > limit else { return self }
        // The split into training and validation takes all low values of the hash without salt.
        // About twice as many as needed have a hash in this range; if not enough have, all are sorted.
        let share = 2 * Double(limit) / Double(count)
        let bound = share < 1 && limit > 8 ? UInt64(share * 0x1p64) : .max
        var lowest: [(hash: UInt64, index: Int)] = []
        for range in [0...bound, 0...UInt64.max] {
            lowest = []
            for index in 0..<count {
                var hash = FNVHash(salt: 0x5EED)
                source.withName(position(index)) { hash.add($0) }
                let value = mixed(hash.value)
                if range.contains(value) { lowest.append((value, index)) }
            }
            if lowest.count >= limit { break }
        }
        lowest.sort { ($0.hash, $0.index) < ($1.hash, $1.index) }
        return subset(lowest.prefix(limit).map(\.index).sorted())
    }

    /// Adds the states of all files to a hash; returns false if one is not known.
    func addStates(to hash: inout FNVHash) -> Bool {
        for index in 0..<count {
            hash.add(location(index))
            guard source.addState(position(index), to: &hash) else { return false }
        }
        return true
    }

    /// Adds the names and classes of all photographs, and the sizes of some, to a fingerprint.
    ///
    /// Names and classes come with the listing, but each size costs a system call. A sample of the sizes is
    /// enough to notice that a set was converted or resized in place.
    func addFingerprint(to hash: inout FNVHash, sizes: Int = 256) {
        for index in 0..<count {
            source.withName(position(index)) { hash.add($0) }
            hash.add(0)
            hash.add(classes[label(index)])
            hash.add(0)
        }
        for index in stride(from: 0, to: count, by: max(1, count.ceilDivided(by: sizes))) {
            hash.add(UInt64(bitPattern: Int64((try? source.byteCount(position(index))) ?? -1)))
        }
        hash.add(0)
    }
}

/// Reads and decodes one file as the loader does.
///
/// - Throws: `ImageError`.
public func loadImage(path: String, shortSide: Int) throws -> DecodedImage {
    try ImageSet(paths: [path], classes: [""]).decoded(0, shortSide: shortSide)
}

/// Returns a hash of a name that is the same on every machine and in every version.
///
/// This is FNV-1a with the 64-bit finaliser of MurmurHash3, because FNV-1a mixes the last bytes badly and
/// file names differ in these.
func nameHash(_ name: String, salt: UInt64 = 0) -> UInt64 {
    var bytes = FNVHash(salt: salt)
    bytes.add(name)
    return mixed(bytes.value)
}

private func mixed(_ hash: UInt64) -> UInt64 {
    var hash = hash
    hash = (hash ^ hash >> 33) &* 0xFF51_AFD7_ED55_8CCD
    hash = (hash ^ hash >> 33) &* 0xC4CE_B9FE_1A85_EC53
    return hash ^ hash >> 33
}

/// Returns the first few names for a message.
func quoted(_ names: [String]) -> String {
    let shown = names.prefix(5).map { "“\($0)”" }.joined(separator: ", ")
    return names.count > 5 ? shown + " and \(names.count - 5) more" : shown
}
