/// Opens labelled photographs to measure models with, and lists them once.
///
/// Classes of one and of no photograph are allowed.
public struct LabelledFolder {
    /// Which of the photographs are measured.
    public enum Choice: Sendable, Equatable {
        case all
        /// The validation part if there is one, or what `Dataset.load` holds out with this share.
        case heldOut(fraction: Double)
    }

    /// Some of the photographs, with where they are from.
    public struct Measured: Sendable {
        public let set: ImageSet
        /// How many photographs they were chosen from.
        public let total: Int
        /// The parts of the folder that are measured, with their numbers of photographs.
        public let parts: [(path: String, count: Int)]
        /// Whether they are the folder's validation part.
        public let isValidationPart: Bool
    }

    private let root: String
    private let parts: PhotographParts

    /// What is not used, and where it is.
    public var unused: UnusedFiles { parts.unused }

    /// What a user should know about how the photographs were read.
    public var notes: [String] { parts.notes }

    /// The classes of all parts.
    public var classes: [String] {
        Set([parts.training, parts.validation].flatMap { $0?.classes ?? [] }).sorted {
            $0.utf8.lexicographicallyPrecedes($1.utf8)
        }
    }

    /// - Parameter labels: a list of files and classes; nil takes the names of folders as classes.
    /// - Throws: `DatasetError` for a missing folder or no class folders.
    public init(root: String, labels: String? = nil) throws {
        self.root = root
        parts = try openPhotographs(root, labels: labels)
    }

    /// Returns what `Dataset.load` gives as the fingerprint; nil if these photographs cannot be trained on.
    public func fingerprint(validationFraction: Double) -> String? {
        guard let source = parts.training else { return nil }
        let all = ImageSet(source)
        guard let validation = parts.validation else {
            let split = all.split(validationFraction)
            return Dataset.fingerprint(split.rest, split.heldOut)
        }
        let heldOut = try? ImageSet(validation).relabelled(classes: all.classes)
        return heldOut.map { Dataset.fingerprint(all, $0) }
    }

    /// Returns the photographs to measure.
    ///
    /// - Throws: `DatasetError` if there are none.
    public func measured(_ choice: Choice) throws -> Measured {
        if case .heldOut(let fraction) = choice, parts.validation == nil, let source = parts.training {
            let all = ImageSet(source)
            guard all.count > 0 else { throw DatasetError.noPhotographs(in: [source.path]) }
            let set = all.split(fraction).heldOut
            guard set.count > 0 else {
                throw DatasetError(
                    .noneHeldOut,
                    "\(source.path): none of its \(all.count) photographs is held out, as no class has two")
            }
            return Measured(
                set: set, total: all.count, parts: [(source.path, set.count)], isValidationPart: false)
        }
        let isWhole = choice == .all
        let sources = [isWhole || parts.validation == nil ? parts.training : nil, parts.validation].compactMap
        {
            $0
        }
        let set = ImageSet(sources.count == 1 ? sources[0] : JoinedPhotographs(root, sources))
        guard set.count > 0 else { throw DatasetError.noPhotographs(in: sources.map(\.path)) }
        return Measured(
            set: set, total: set.count, parts: sources.map { ($0.path, $0.count) },
            isValidationPart: !isWhole)
    }
}

/// Joins several sources, whose classes may differ, to one.
private struct JoinedPhotographs: PhotographSource {
    let path: String
    let classes: [String]
    let count: Int
    private let sources: [any PhotographSource]
    /// The number of the first photograph of each source.
    private let starts: [Int]
    /// The joined label of each source's labels.
    private let labels: [[Int]]

    init(_ path: String, _ sources: [any PhotographSource]) {
        self.path = path
        self.sources = sources
        classes = Set(sources.flatMap(\.classes)).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        let places = Dictionary(uniqueKeysWithValues: zip(classes, 0...))
        labels = sources.map { $0.classes.map { places[$0] ?? 0 } }
        var starts = [0]
        for source in sources { starts.append(starts[starts.count - 1] + source.count) }
        (self.starts, count) = (starts, starts[sources.count])
    }

    private func place(_ index: Int) -> (source: Int, index: Int) {
        let source = (starts.firstIndex { $0 > index } ?? 1) - 1
        return (source, index - starts[source])
    }

    func label(_ index: Int) -> Int {
        let place = place(index)
        return labels[place.source][sources[place.source].label(place.index)]
    }

    func name(_ index: Int) -> String {
        let place = place(index)
        return sources[place.source].name(place.index)
    }

    func nameInClass(_ index: Int) -> String {
        let place = place(index)
        return sources[place.source].nameInClass(place.index)
    }

    func location(_ index: Int) -> String {
        let place = place(index)
        return sources[place.source].location(place.index)
    }

    func file(_ index: Int) -> String {
        let place = place(index)
        return sources[place.source].file(place.index)
    }

    func byteCount(_ index: Int) throws -> Int {
        let place = place(index)
        return try sources[place.source].byteCount(place.index)
    }

    func bytes(_ index: Int, buffer: ByteBuffer) throws -> UnsafeRawBufferPointer {
        let place = place(index)
        return try sources[place.source].bytes(place.index, buffer: buffer)
    }
}
