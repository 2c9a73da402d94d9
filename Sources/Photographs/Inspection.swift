import Basics
import Foundation

/// Holds what a person should know about a set of photographs before training with it.
public struct Inspection: Sendable {
    /// A part of the set: the photographs for training or for validation.
    public struct Part: Sendable {
        public let name: String
        public let path: String
        public let count: Int
    }

    /// A photograph that can be read.
    struct Facts: Sendable {
        let kind: PictureKind
        let width, height, byteCount: Int
        /// A hash of the file's content.
        let content: UInt64
        let look: PictureLook
    }

    /// What the inspection shows of one photograph.
    public struct Photograph: Sendable {
        public let name, className, part: String
        public let width, height: Int
    }

    /// Photographs that are copies of each other.
    public struct Copies: Sendable {
        public let members: [Int]
        /// Whether all files have the same content.
        public let isExact: Bool
        public let isInBothParts: Bool
        public let hasSeveralClasses: Bool
    }

    public let parts: [Part]
    public let classes: [String]
    /// The number of photographs of each class in each part.
    public let counts: [[Int]]
    /// Why photographs cannot be read.
    public let unreadable: [ImageError]
    /// Copies, the largest groups first.
    public let copies: [Copies]
    /// The numbers of files of each format and of each kind of colour, the most frequent first.
    public let formats, colours: [(name: String, count: Int)]
    /// How many colour files show only grey.
    public let greyContent: Int
    /// The readable photographs whose longer side is at least three times the shorter one.
    public let stretched: [Int]
    /// Bytes of all readable files.
    public let byteCount: Int
    /// What a user should know about how the photographs were read, and lines on what is not used.
    public let remarks: [String]
    /// What is not used, with names.
    public let unused: UnusedFiles
    /// Why `train` refuses the set; nil if it takes it.
    public let refusal: DatasetError?
    /// The shorter and the longer sides, ascending.
    public let shortSides, longSides: [Int]

    let sets: [ImageSet]
    let facts: [Facts?]

    public var count: Int { facts.count }
    public var readableCount: Int { shortSides.count }

    /// The ratio of sides from which on a photograph is listed.
    public static let unusualRatio = 3.0

    /// Reads all photographs; of a folder without classes, those at any depth as one class.
    ///
    /// - Parameters:
    ///   - data: what `train` reads.
    ///   - labels: a list of files and classes; nil takes the names of folders as classes.
    ///   - validationFraction: the share that training would hold out of a set without a validation part.
    ///   - progress: called with the photographs that were read and with all; what it throws ends the work.
    /// - Throws: `DatasetError`.
    public init(
        data: String, labels: String? = nil,
        validationFraction: Double = Dataset.usualValidationFraction,
        workers: Int, progress: (Int, Int) throws -> Void = { _, _ in }
    ) throws {
        let found = try Self.photographs(data, labels)
        remarks = found.notes + found.unused.lines
        unused = found.unused
        refusal = Self.refusal(data, labels, validationFraction)
        let (sets, classes, parts) = try Self.parts(found, validationFraction)
        (self.sets, self.classes, self.parts) = (sets, classes, parts)
        counts = sets.map(\.countsByClass)
        let total = sets.reduce(0) { $0 + $1.count }
        guard total > 0 else {
            throw refusal ?? DatasetError.noPhotographs(in: [data])
        }
        var facts: [Facts?] = []
        var unreadable: [ImageError] = []
        facts.reserveCapacity(total)
        let run = 16
        let work = try Self.reading(sets, total: total, run: run, workers: workers)
        defer { work.stop() }
        for _ in 0..<total.ceilDivided(by: run) {
            for result in try work.next() {
                if case .failure(let error) = result { unreadable.append(error) }
                facts.append(try? result.get())
            }
            try progress(facts.count, total)
        }
        (self.facts, self.unreadable) = (facts, unreadable)
        let readable = facts.compactMap { $0 }
        formats = Self.frequencies(readable.map(\.kind.formatText))
        colours = Self.frequencies(readable.map(\.kind.colourText))
        greyContent = readable.count { $0.look.isGrey && $0.kind.colour != .grey }
        byteCount = readable.reduce(0) { $0 + $1.byteCount }
        shortSides = readable.map { min($0.width, $0.height) }.sorted()
        longSides = readable.map { max($0.width, $0.height) }.sorted()
        func ratio(_ index: Int) -> Double {
            facts[index].map { Double(max($0.width, $0.height)) / Double(min($0.width, $0.height)) } ?? 0
        }
        stretched = facts.indices.filter { ratio($0) >= Self.unusualRatio }.sorted {
            (ratio($1), $0) < (ratio($0), $1)
        }
        copies = Self.copies(facts) { index in
            let (set, place) = Self.place(index, sets)
            return (set, sets[set].label(place))
        }
    }

    private static func photographs(_ data: String, _ labels: String?) throws -> PhotographParts {
        do { return try openPhotographs(data, labels: labels) } catch let error as DatasetError
            where error.isAboutLayout
        {
            let (paths, unused) = try Dataset.photographs(below: data)
            guard !paths.isEmpty else { throw error }
            let files = PhotographFiles(
                path: data, root: "", classes: ["without a class"],
                files: paths.map { ImageFile(path: $0, label: 0) })
            return PhotographParts(training: files, unused: unused)
        }
    }

    private static func refusal(_ data: String, _ labels: String?, _ fraction: Double) -> DatasetError? {
        do {
            _ = try Dataset.load(root: data, labels: labels, validationFraction: fraction)
            return nil
        } catch { return error as? DatasetError }
    }

    /// Returns the parts, labelled by the classes of all of them.
    private static func parts(_ found: PhotographParts, _ validationFraction: Double) throws
        -> (sets: [ImageSet], classes: [String], parts: [Part])
    {
        var sets: [(name: String, path: String, set: ImageSet)] = []
        if let training = found.training {
            let all = ImageSet(training)
            if found.validation == nil, validationFraction > 0 {
                let (rest, heldOut) = all.split(validationFraction)
                sets = [("train", training.path, rest), ("held out", training.path, heldOut)]
            } else {
                sets = [("train", training.path, all)]
            }
        }
        if let validation = found.validation { sets.append(("val", validation.path, ImageSet(validation))) }
        if sets.count > 1 { sets = sets.filter { $0.set.count > 0 } }
        let classes = Set(sets.flatMap { $0.set.classes }).sorted {
            $0.utf8.lexicographicallyPrecedes($1.utf8)
        }
        return (
            try sets.map { try $0.set.relabelled(classes: classes) }, classes,
            sets.map { Part(name: $0.name, path: $0.path, count: $0.set.count) }
        )
    }

    private static func place(_ index: Int, _ sets: [ImageSet]) -> (set: Int, index: Int) {
        var index = index
        for (number, set) in sets.enumerated() {
            if index < set.count { return (number, index) }
            index -= set.count
        }
        preconditionFailure("photograph \(index) is behind the last one")
    }

    private static func frequencies(_ names: [String]) -> [(name: String, count: Int)] {
        let counts = names.reduce(into: [String: Int]()) { $0[$1, default: 0] += 1 }
        return counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map { ($0.key, $0.value) }
    }

    /// Starts the threads that read runs of photographs.
    private static func reading(_ sets: [ImageSet], total: Int, run: Int, workers: Int) throws
        -> OrderedWork<[Result<Facts, ImageError>]>
    {
        try OrderedWork(0..<total.ceilDivided(by: run), workers: workers, window: 16 * workers) {
            let reader = try ImageReader()
            let resizer = Resizer()
            let (file, pixels, square) = (ByteBuffer(), ByteBuffer(), ByteBuffer())
            return { item in
                (item * run..<min(total, (item + 1) * run)).map { index in
                    let (set, place) = Self.place(index, sets)
                    let location = sets[set].location(place)
                    do {
                        let bytes = try sets[set].bytes(place, buffer: file)
                        let size = try reader.read(
                            bytes, name: location, shortSide: PictureLook.side, enlarges: false, into: pixels)
                        let side = PictureLook.side
                        square.reserve(3 * side * side)
                        resizer.resize(
                            pixels.bytes, width: size.width, height: size.height, into: square.bytes,
                            newWidth: side, newHeight: side)
                        guard let kind = PictureKind(content: bytes) else {
                            throw ImageError(.unknownFormat, file: location)
                        }
                        return .success(
                            Facts(
                                kind: kind, width: reader.lastSize.width, height: reader.lastSize.height,
                                byteCount: bytes.count, content: Self.hash(bytes),
                                look: PictureLook(square.bytes)))
                    } catch { return .failure(ImageError(error, file: location)) }
                }
            }
        }
    }

    /// Returns a hash of a file, eight bytes at a time.
    private static func hash(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        var hash = FNVHash(salt: UInt64(bytes.count))
        let words = bytes.count / 8
        for word in 0..<words { hash.add(bytes.loadUnaligned(fromByteOffset: 8 * word, as: UInt64.self)) }
        hash.add(bytes[(8 * words)...])
        return hash.value
    }

    /// Finds copies: photographs that look alike, and among them files with the same content.
    ///
    /// - Parameter place: returns the part and the label of a photograph.
    private static func copies(_ facts: [Facts?], _ place: (Int) -> (part: Int, label: Int)) -> [Copies] {
        let readable = facts.indices.filter { facts[$0] != nil }
        let groups = PictureLook.groups(readable.compactMap { facts[$0]?.look })
        return groups.map { group in
            let members = group.map { readable[$0] }
            let contents = Set(members.map { facts[$0]?.content })
            let places = members.map(place)
            return Copies(
                members: members, isExact: contents.count == 1,
                isInBothParts: Set(places.map(\.part)).count > 1,
                hasSeveralClasses: Set(places.map(\.label)).count > 1)
        }.sorted { ($1.members.count, $0.members[0]) < ($0.members.count, $1.members[0]) }
    }

    // MARK: - Reading the result

    public func photograph(_ index: Int) -> Photograph {
        let (set, place) = Self.place(index, sets)
        return Photograph(
            name: sets[set].name(place), className: classes[sets[set].label(place)], part: parts[set].name,
            width: facts[index]?.width ?? 0, height: facts[index]?.height ?? 0)
    }

    /// Returns the value below which a share of ascending numbers lies.
    public static func quantile(_ share: Double, of ascending: [Int]) -> Int {
        ascending.isEmpty ? 0 : ascending[Int((share * Double(ascending.count - 1)).rounded())]
    }

    /// The numbers of photographs that have an exact copy before them, and of those that only look like one.
    public var extraCopies: (exact: Int, near: Int) {
        var (exact, near) = (0, 0)
        for group in copies {
            let contents = Set(group.members.map { facts[$0]?.content }).count
            exact += group.members.count - contents
            near += contents - 1
        }
        return (exact, near)
    }

    /// The numbers of photographs of the last part that have a copy in the first one.
    public var copiesAcrossParts: Int {
        let first = sets.first?.count ?? 0
        return copies.filter(\.isInBothParts).reduce(0) { $0 + $1.members.count { $0 >= first } }
    }

    // MARK: - Contact sheets

    /// The side of a picture in a contact sheet, and how many a class shows.
    private var sheet: (side: Int, count: Int) {
        classes.count <= 50 ? (96, 10) : classes.count <= 300 ? (80, 8) : (64, 6)
    }

    /// Returns a JPEG file with some photographs of each class; nil for a class without a readable one.
    ///
    /// - Parameter progress: called with the classes that were drawn and their number.
    public func contactSheets(workers: Int, progress: (Int, Int) throws -> Void = { _, _ in }) throws
        -> [[UInt8]?]
    {
        var members = [[(hash: UInt64, index: Int)]](repeating: [], count: classes.count)
        for index in facts.indices where facts[index] != nil {
            let (set, place) = Self.place(index, sets)
            members[sets[set].label(place)].append((nameHash(sets[set].name(place)), index))
        }
        let chosen = members.map { list in
            list.sorted { ($0.hash, $0.index) < ($1.hash, $1.index) }.prefix(sheet.count).map(\.index)
        }
        let work = try OrderedWork(0..<classes.count, workers: workers, window: 4 * workers) {
            { label in try self.contactSheet(chosen[label], columns: self.sheet.count) }
        }
        defer { work.stop() }
        return try classes.indices.map { label in
            let sheet = try work.next()
            try progress(label + 1, classes.count)
            return sheet
        }
    }

    /// Returns a JPEG file with the central squares of photographs side by side; nil if none can be read.
    public func contactSheet(_ indices: [Int], columns: Int) throws -> [UInt8]? {
        let side = sheet.side
        let panels = indices.compactMap { index -> (image: DecodedImage, caption: String)? in
            let (set, place) = Self.place(index, sets)
            guard let whole = try? sets[set].decoded(place, shortSide: side), let facts = facts[index] else {
                return nil
            }
            return (whole.centralSquare(side), "\(facts.width)x\(facts.height)")
        }
        return panels.isEmpty ? nil : try encodeJPEG(ContactSheet.draw(panels, columns: columns), quality: 80)
    }
}

extension DecodedImage {
    /// Returns the square in the middle of a picture whose shorter side is at least `side`.
    fileprivate func centralSquare(_ side: Int) -> DecodedImage {
        let (left, top) = ((width - side) / 2, (height - side) / 2)
        let rows = (0..<side).flatMap { y in
            let start = 3 * ((top + y) * width + left)
            return pixels[start..<start + 3 * side]
        }
        return DecodedImage(width: side, height: side, pixels: Array(rows))
    }
}
