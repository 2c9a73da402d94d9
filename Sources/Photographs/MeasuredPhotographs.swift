/// Holds the photographs that models are measured with, and says which ones of a folder they are.
public struct MeasuredPhotographs: Sendable {
    /// Which of a folder's photographs are measured.
    public enum Choice: Sendable, Equatable {
        case all
        /// The validation part if there is one, or what `Dataset.load` holds out with this share.
        case heldOut(fraction: Double)
    }

    public let set: ImageSet
    /// How many photographs they were chosen from.
    public let total: Int
    /// The parts of the folder that are measured, with their numbers of photographs.
    public let parts: [(path: String, count: Int)]
    /// Whether they are the folder's validation part.
    public let isValidationPart: Bool
    /// What is not used, and where it is.
    public let unused: UnusedFiles

    /// Opens the photographs at a path.
    ///
    /// Classes of one and of no photograph are allowed.
    /// - Parameter labels: a list of files and classes; nil takes the names of folders as classes.
    /// - Throws: `DatasetError` for a missing folder, no class folders, no photograph.
    public init(root: String, labels: String? = nil, _ choice: Choice) throws {
        let opened = try openPhotographs(root, labels: labels)
        unused = opened.unused
        let validation = opened.validation
        if case .heldOut(let fraction) = choice, validation == nil, let training = opened.training {
            let all = ImageSet(training)
            set = fraction < 1 ? all.split(fraction).heldOut : all
            total = all.count
            parts = [(training.path, set.count)]
            isValidationPart = false
            guard total > 0 else { throw Self.nothing(in: [training.path]) }
            guard set.count > 0 else {
                throw DatasetError(
                    .noneHeldOut,
                    "\(training.path): a share of \(fraction) holds out none of its \(total) photographs, "
                        + "as no class has two")
            }
            return
        }
        let isWhole = choice == .all
        let sources = [isWhole || validation == nil ? opened.training : nil, validation].compactMap { $0 }
        let source: any PhotographSource = sources.count == 1 ? sources[0] : JoinedPhotographs(root, sources)
        set = ImageSet(source)
        total = set.count
        parts = sources.map { ($0.path, $0.count) }
        isValidationPart = !isWhole
        guard set.count > 0 else { throw Self.nothing(in: sources.map(\.path)) }
    }

    private static func nothing(in paths: [String]) -> DatasetError {
        DatasetError(
            .emptyClass, "\(paths.joined(separator: ", ")): no .jpg or .jpeg file in its class folders; add some")
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

    func byteCount(_ index: Int) throws -> Int {
        let place = place(index)
        return try sources[place.source].byteCount(place.index)
    }

    func bytes(_ index: Int, buffer: ByteBuffer) throws -> UnsafeRawBufferPointer {
        let place = place(index)
        return try sources[place.source].bytes(place.index, buffer: buffer)
    }
}
