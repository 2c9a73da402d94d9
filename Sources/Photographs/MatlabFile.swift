import CPNG
import Foundation

/// Reads variables of a MATLAB 5 file as far as ImageNet's `meta.mat` needs: numbers, texts and structures.
///
/// The format is described in MathWorks' "MAT-File Format": elements of a type, a length and data, aligned to
/// 8 bytes, and compressed by zlib.
struct MatlabFile {
    indirect enum Value {
        case numbers([Double])
        case text(String)
        /// The elements of an array of structures, by the names of their fields.
        case structures([[String: Value]])
        case other
    }

    /// The value of each variable.
    private(set) var variables: [String: Value] = [:]

    /// Says that the bytes are no such file.
    struct Damaged: Error {}

    private static let compressed = 15
    private static let matrix = 14
    /// The most bytes that a variable may have when it is unpacked.
    private static let largest = 1 << 28

    init(_ bytes: [UInt8]) throws {
        // Files of machines with the other order of bytes begin with "MI" here.
        guard bytes.count > 128, bytes[126...127].elementsEqual("IM".utf8) else { throw Damaged() }
        var elements = Elements(bytes[128...])
        while !elements.isAtEnd {
            var (type, content) = try elements.next()
            if type == Self.compressed {
                var unpacked = Elements(try Self.unpacked(content)[...])
                (type, content) = try unpacked.next()
            }
            guard type == Self.matrix else { continue }
            let (name, value) = try Self.variable(content)
            variables[name] = value
        }
    }

    private static func unpacked(_ content: ArraySlice<UInt8>) throws -> [UInt8] {
        let packed = Array(content)
        var size = max(4096, 4 * packed.count)
        while size <= largest {
            var bytes = [UInt8](repeating: 0, count: size)
            var count = size
            switch cpng_inflate(packed, packed.count, &bytes, &count) {
            case CPNG_OK: return Array(bytes.prefix(count))
            case CPNG_TOO_LARGE: size *= 4
            default: throw Damaged()
            }
        }
        throw Damaged()
    }

    /// Reads an array with its name.
    private static func variable(_ content: ArraySlice<UInt8>) throws -> (String, Value) {
        if content.isEmpty { return ("", .other) }
        var elements = Elements(content)
        guard let kind = try elements.next().content.first else { throw Damaged() }
        let sizes = numbers(try elements.next())
        let name = text(try elements.next())
        switch kind {
        case 2:
            let length = numbers(try elements.next()).first.map { Int($0) } ?? 0
            let names = try elements.next().content
            guard length > 0, sizes.allSatisfy({ $0 >= 0 && $0 < 1e6 }) else { throw Damaged() }
            let fields = stride(from: names.startIndex, to: names.endIndex, by: length).map { start in
                text((1, names[start..<min(start + length, names.endIndex)]))
            }
            var structures: [[String: Value]] = []
            for _ in 0..<Int(min(sizes.reduce(1, *), 1e6)) {
                var structure: [String: Value] = [:]
                for field in fields { structure[field] = try variable(elements.next().content).1 }
                structures.append(structure)
            }
            return (name, .structures(structures))
        case 4: return (name, .text(text(try elements.next())))
        case 6...15: return (name, .numbers(numbers(try elements.next())))
        default: return (name, .other)
        }
    }

    /// Returns the numbers in an element, whatever their type.
    private static func numbers(_ element: Elements.Element) -> [Double] {
        func values<Number>(_ type: Number.Type, _ number: (Number) -> Double) -> [Double] {
            element.content.withUnsafeBytes { bytes in
                (0..<bytes.count / MemoryLayout<Number>.size).map {
                    number(bytes.loadUnaligned(fromByteOffset: $0 * MemoryLayout<Number>.size, as: type))
                }
            }
        }
        return switch element.type {
        case 1: values(Int8.self) { Double($0) }
        case 2: values(UInt8.self) { Double($0) }
        case 3: values(Int16.self) { Double($0) }
        case 4: values(UInt16.self) { Double($0) }
        case 5: values(Int32.self) { Double($0) }
        case 6: values(UInt32.self) { Double($0) }
        case 7: values(Float.self) { Double($0) }
        case 9: values(Double.self) { $0 }
        default: []
        }
    }

    /// Returns the text in an element, up to its first zero.
    private static func text(_ element: Elements.Element) -> String {
        // Types 4 and 17 have two bytes for a character.
        guard element.type == 4 || element.type == 17 else {
            return String(decoding: element.content.prefix { $0 != 0 }, as: UTF8.self)
        }
        let units = numbers((4, element.content)).map { UInt16($0) }.prefix { $0 != 0 }
        return String(decoding: units, as: UTF16.self)
    }

    /// Reads elements one after the other.
    private struct Elements {
        typealias Element = (type: Int, content: ArraySlice<UInt8>)

        private let bytes: ArraySlice<UInt8>
        private var place: Int

        init(_ bytes: ArraySlice<UInt8>) { (self.bytes, place) = (bytes, bytes.startIndex) }

        var isAtEnd: Bool { place + 8 > bytes.endIndex }

        mutating func next() throws -> Element {
            guard !isAtEnd else { throw Damaged() }
            func word(_ place: Int) -> Int {
                (0..<4).reduce(0) { $0 | Int(bytes[place + $1]) << (8 * $1) }
            }
            let first = word(place)
            // Up to four bytes are stored in place of the length's second half.
            let small = first >> 16
            if small > 0 {
                guard small <= 4 else { throw Damaged() }
                defer { place += 8 }
                return (first & 0xFFFF, bytes[place + 4..<place + 4 + small])
            }
            let (start, length) = (place + 8, word(place + 4))
            guard length <= bytes.endIndex - start else { throw Damaged() }
            place = start + (first == MatlabFile.compressed ? length : (length + 7) / 8 * 8)
            return (first, bytes[start..<start + length])
        }
    }
}

/// One class of the development kit's `meta.mat`.
struct KitClass: Equatable {
    let number: Int
    let synset, words: String

    /// Reads `meta.mat`; nil if the file is something else.
    static func list(_ path: String) -> [KitClass]? {
        guard let data = FileManager.default.contents(atPath: path),
            let file = try? MatlabFile(Array(data)), case .structures(let rows)? = file.variables["synsets"]
        else { return nil }
        return rows.compactMap { row in
            let number = row.first { $0.key.hasSuffix("_ID") }?.value
            guard case .numbers(let numbers)? = number, let first = numbers.first,
                case .text(let synset)? = row["WNID"], case .text(let words)? = row["words"]
            else { return nil }
            return KitClass(number: Int(first), synset: synset, words: words)
        }
    }
}
