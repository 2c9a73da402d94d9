import Basics
import Foundation

/// Reads and writes the safetensors format: named tensors and a few strings.
///
/// A file holds the header's length in 8 bytes, little-endian, the header as JSON, and the tensors' bytes,
/// little-endian, row-major. Opening a file reads and checks only the header. A tensor is read when it is
/// requested, so memory holds one at a time.
public final class SafetensorsFile: Sendable {
    /// Describes a tensor's entry in the header.
    public struct Tensor: Equatable, Sendable {
        /// The element type by its name in the format, such as `F32` or `BF16`.
        public let type: String
        public let shape: [Int]
        public let count: Int
        /// The place of its bytes in the file.
        let bytes: Range<Int>
    }

    public let path: String
    public let tensors: [String: Tensor]
    /// The header's `__metadata__`.
    public let metadata: [String: String]
    private let file: FileDescriptor

    /// The types that `floats` converts.
    private static let readableTypes = ["F32", "F16", "BF16", "F64"]
    /// Bytes per element; a file may contain tensors of other types, which are not read.
    private static let sizes = [
        "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E5M2": 1, "F8_E4M3": 1, "I64": 8, "I32": 4, "I16": 2,
        "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1, "C64": 8,
    ]
    /// The format's limit for the header in bytes.
    private static let longestHeader = 100_000_000

    /// Opens a file and checks its header.
    ///
    /// Every byte after the header must belong to exactly one tensor, and each tensor's size must match its
    /// shape and type.
    /// - Throws: `FileError`.
    public static func read(_ path: String) throws -> SafetensorsFile { try SafetensorsFile(path) }

    private init(_ path: String) throws {
        let file = try FileDescriptor(path, O_RDONLY)
        let size = try file.size()
        func damaged(_ found: String, _ expected: String) -> FileError {
            FileError(
                path: path, found: found, expected: expected,
                remedy: "It is damaged, cut short, or not a safetensors file: fetch or write it again")
        }

        guard size >= 8 else { throw damaged("the file has \(size) bytes", "8 or more") }
        let length = try file.bytes(8, at: 0).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard length <= SafetensorsFile.longestHeader else {
            throw damaged("the header claims \(length) bytes", "at most \(SafetensorsFile.longestHeader)")
        }
        guard length <= size - 8 else {
            throw damaged(
                "the header claims \(length) bytes", "at most the \(size - 8) that follow in the file")
        }
        let header = try file.bytes(Int(length), at: 8)

        // A header may be padded only with spaces at its end.
        guard header.first == UInt8(ascii: "{") else {
            throw damaged("the header does not begin with {", "a JSON object")
        }
        let members: [JSON.Member]
        do {
            guard let object = try JSON.parse(header).members else {
                throw damaged("the header is no object", "a JSON object")
            }
            members = object
        } catch let error as JSONError {
            throw damaged("the header is not valid JSON (\(error))", "a JSON object")
        }

        let dataStart = 8 + header.count
        var tensors: [String: Tensor] = [:]
        var metadata: [String: String] = [:]
        for member in members {
            if member.key == "__metadata__" {
                guard let entries = member.value.members else {
                    throw damaged("__metadata__ is no object", "an object of strings")
                }
                for entry in entries {
                    guard let text = entry.value.string else {
                        throw damaged(
                            "__metadata__ has a value at \(entry.key) that is no string",
                            "an object of strings")
                    }
                    metadata[entry.key] = text
                }
            } else {
                tensors[member.key] = try SafetensorsFile.tensor(
                    member.value, dataStart: dataStart, dataSize: size - dataStart,
                    damaged: { damaged("tensor \(member.key) \($0)", $1) })
            }
        }

        var end = dataStart
        let ranges = tensors.map { (start: $1.bytes.lowerBound, end: $1.bytes.upperBound, name: $0) }
        for tensor in ranges.sorted(by: <) {
            guard tensor.start == end else {
                let found = tensor.start < end ? "overlaps" : "leaves a gap behind"
                throw damaged(
                    "tensor \(tensor.name) \(found) the tensor before it",
                    "it to begin at byte \(end - dataStart) of the data")
            }
            end = tensor.end
        }
        guard end == size else { throw damaged("\(size - end) bytes follow the last tensor", "none") }
        self.path = path
        self.file = file
        self.tensors = tensors
        self.metadata = metadata
    }

    private static func tensor(
        _ entry: JSON, dataStart: Int, dataSize: Int,
        damaged: (_ found: String, _ expected: String) -> FileError
    ) throws -> Tensor {
        func integers(_ key: String) -> [Int]? {
            guard let values = entry[key]?.array else { return nil }
            let sizes = values.compactMap(\.integer).filter { $0 >= 0 }
            return sizes.count == values.count ? sizes : nil
        }
        guard Set(entry.members?.map(\.key) ?? []) == ["dtype", "shape", "data_offsets"] else {
            throw damaged("has other entries", "dtype, shape and data_offsets")
        }
        guard let type = entry["dtype"]?.string else {
            throw damaged("has a dtype that is no string", "a type's name")
        }
        guard let shape = integers("shape") else {
            throw damaged("has a shape that is no list of sizes", "integers of 0 or more")
        }
        guard let offsets = integers("data_offsets"), offsets.count == 2, offsets[0] <= offsets[1] else {
            throw damaged("has data_offsets that are no range", "two integers of 0 or more in rising order")
        }
        guard offsets[1] <= dataSize else {
            throw damaged(
                "ends at byte \(offsets[1]) of the data",
                "at most the \(dataSize) bytes that the file has there")
        }
        guard let count = shape.checkedProduct else {
            throw damaged("has the shape \(shape)", "one with less than 2^63 elements")
        }
        if let size = sizes[type] {
            let bytes = [count, size].checkedProduct
            guard bytes == offsets[1] - offsets[0] else {
                throw damaged(
                    "has \(offsets[1] - offsets[0]) bytes",
                    bytes.map { "\($0) for the shape \(shape) of \(type)" }
                        ?? "a shape that fits memory, not \(shape)")
            }
        }
        return Tensor(
            type: type, shape: shape, count: count, bytes: dataStart + offsets[0]..<dataStart + offsets[1])
    }

    /// Reads a tensor, row-major; `F16`, `BF16` and `F64` become `Float`.
    ///
    /// - Parameter range: the elements to read; nil: all
    /// - Throws: `FileError` if there is no tensor of this name, its type is not supported, or a finite `F64`
    ///   exceeds `Float`.
    public func floats(_ name: String, _ range: Range<Int>? = nil) throws -> [Float] {
        guard let tensor = tensors[name] else {
            throw FileError(
                path: path, found: "there is no tensor \(name)",
                expected: "it among the \(tensors.count) that the file has",
                remedy: "Check that the file belongs to this model")
        }
        guard SafetensorsFile.readableTypes.contains(tensor.type) else {
            throw FileError(
                path: path, found: "tensor \(name) has the type \(tensor.type)",
                expected: SafetensorsFile.readableTypes.joined(separator: ", "),
                remedy: "Convert it to F32 and write the file again")
        }
        let range = range ?? 0..<tensor.count
        precondition(range.upperBound <= tensor.count)
        if range.isEmpty { return [] }
        return try [Float](unsafeUninitializedCapacity: range.count) { floats, initialised in
            let floats = UnsafeMutableBufferPointer(rebasing: floats[..<range.count])
            if tensor.type == "F32" {
                try file.read(
                    into: UnsafeMutableRawBufferPointer(floats),
                    at: tensor.bytes.lowerBound + 4 * range.lowerBound)
            } else {
                try convert(name, tensor, from: range.lowerBound, into: floats)
            }
            initialised = range.count
        }
    }

    /// Converts a tensor of another type than `F32` in pieces, so that it needs no memory for a second copy.
    private func convert(
        _ name: String, _ tensor: Tensor, from first: Int, into floats: UnsafeMutableBufferPointer<Float>
    ) throws {
        let elementSize = tensor.type == "F64" ? 8 : 2
        let piece = max(1, min(1 << 18, floats.count))
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: piece * elementSize, alignment: 8)
        defer { bytes.deallocate() }
        for start in stride(from: 0, to: floats.count, by: piece) {
            let count = min(piece, floats.count - start)
            try file.read(
                into: UnsafeMutableRawBufferPointer(rebasing: bytes[..<(count * elementSize)]),
                at: tensor.bytes.lowerBound + (first + start) * elementSize)
            for index in 0..<count {
                func bits<Bits: FixedWidthInteger & BitwiseCopyable>() -> Bits {
                    Bits(littleEndian: bytes.load(fromByteOffset: index * elementSize, as: Bits.self))
                }
                let value: Float
                switch tensor.type {
                case "F64":
                    let double = Double(bitPattern: bits())
                    value = Float(double)
                    guard value.isFinite || !double.isFinite else {
                        throw FileError(
                            path: path, found: "tensor \(name) holds \(double)",
                            expected: "at most \(Float.greatestFiniteMagnitude)",
                            remedy: "Scale it down and write the file again")
                    }
                case "F16": value = SafetensorsFile.float(half: bits())
                default: value = Float(bitPattern: UInt32(bits() as UInt16) << 16)
                }
                floats.initializeElement(at: start + index, to: value)
            }
        }
    }

    /// Returns the value of a half-precision number; `Float16` is not available on every machine.
    private static func float(half bits: UInt16) -> Float {
        let sign = UInt32(bits & 0x8000) << 16
        let exponent = UInt32(bits >> 10 & 0x1F)
        let fraction = UInt32(bits & 0x3FF)
        switch exponent {
        case 0: return Float(bitPattern: sign | (Float(fraction) * 0x1p-24).bitPattern)
        case 31: return Float(bitPattern: sign | 0x7F80_0000 | fraction << 13)
        default: return Float(bitPattern: sign | (exponent + 112) << 23 | fraction << 13)
        }
    }
}

extension SafetensorsFile {
    /// Writes a file of `F32` tensors, completely or not at all.
    ///
    /// Equal content gives equal bytes.
    /// - Parameters:
    ///   - shapes: the tensors by name; they are written in the order of their names' bytes.
    ///   - provider: returns a tensor's elements, row-major; called once per tensor, in the order of writing.
    /// - Throws: `FileError` if the file cannot be written, a tensor's name is `__metadata__`, or a shape has
    ///   a negative size or does not match its elements; and whatever `provider` throws. An existing file is
    ///   then unchanged.
    public static func write(
        _ path: String, shapes: [String: [Int]], metadata: [String: String] = [:],
        provider: (_ name: String) throws -> [Float]
    ) throws {
        try writePieces(path, shapes: shapes, metadata: metadata) { name, write in
            try write(try provider(name))
        }
    }

    /// Returns tensors' names in the order in which they are written, that of their bytes.
    public static func order(_ names: some Sequence<String>) -> [String] {
        // Swift compares strings by their Unicode normal forms, so bytes are compared instead.
        names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    /// Writes a file as `write` does, of tensors that come in pieces.
    ///
    /// - Parameter pieces: writes a tensor's elements, row-major, by any number of calls
    public static func writePieces(
        _ path: String, shapes: [String: [Int]], metadata: [String: String] = [:],
        pieces: (_ name: String, _ write: @escaping ([Float]) throws -> Void) throws -> Void
    ) throws {
        func wrong(_ found: String, _ expected: String) -> FileError {
            FileError(
                path: path, found: found, expected: expected,
                remedy: "Nothing was written; this is a mistake in the program")
        }
        func sorted<Value>(_ entries: [String: Value]) -> [(key: String, value: Value)] {
            order(entries.keys).compactMap { name in entries[name].map { (name, $0) } }
        }
        let names = sorted(shapes)
        var header: [JSON.Member] = []
        if !metadata.isEmpty {
            let entries = sorted(metadata).map { JSON.Member($0.key, .string($0.value)) }
            header.append(JSON.Member("__metadata__", .object(entries)))
        }
        var offset = 0
        for (name, shape) in names {
            guard name != "__metadata__" else {
                throw wrong("a tensor is called __metadata__", "another name")
            }
            guard let bytes = (shape + [4]).checkedProduct, shape.allSatisfy({ $0 >= 0 }) else {
                throw wrong("tensor \(name) has the shape \(shape)", "one that fits memory")
            }
            let offsets = [offset, offset + bytes]
            header.append(JSON.Member(name, ["dtype": "F32", "shape": shape, "data_offsets": offsets]))
            offset += bytes
        }
        var head = Array(JSON.object(header).text.utf8)
        // The data begins at a multiple of 8 bytes.
        while head.count % 8 != 0 { head.append(UInt8(ascii: " ")) }
        guard head.count <= longestHeader else {
            throw wrong("the header has \(head.count) bytes", "at most \(longestHeader)")
        }
        let length = UInt64(head.count)

        try AtomicFile.write(path) { output in
            try output.write((0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * $0)) } + head)
            for (name, shape) in names {
                var count = 0
                try pieces(name) { floats in
                    count += floats.count
                    try floats.withUnsafeBytes { try output.write($0) }
                }
                guard count == shape.reduce(1, *) else {
                    throw wrong("tensor \(name) came with \(count) elements", "those of its shape \(shape)")
                }
            }
        }
    }
}
