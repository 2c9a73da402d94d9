import Foundation

/// Reads and writes arrays in NumPy's format, without holding a whole array in memory.
///
/// The format: a magic word, a header that is a Python dictionary, and the elements in row-major order.
public struct NPYFile: Sendable {
    public let path: String
    public let shape: [Int]
    private let file: FileDescriptor
    private let dataStart: Int
    private let isDouble: Bool

    public var count: Int { shape.reduce(1, *) }

    private static let magic: [UInt8] = [0x93] + Array("NUMPY".utf8)

    /// Returns the bytes before the elements of a float32 array, by version 1.0 of the format.
    static func header(shape: [Int]) -> [UInt8] {
        let sizes = shape.map { "\($0)," }.joined(separator: " ")
        let tuple = shape.count == 1 ? sizes : String(sizes.dropLast())
        var text = "{'descr': '<f4', 'fortran_order': False, 'shape': (\(tuple)), }"
        text += String(repeating: " ", count: 63 - (10 + text.utf8.count) % 64) + "\n"
        let count = text.utf8.count
        return magic + [1, 0, UInt8(count & 255), UInt8(count >> 8)] + Array(text.utf8)
    }

    /// Writes a float32 array, completely or not at all.
    ///
    /// - Parameter body: passes on the elements, in order, in pieces of any length.
    /// - Throws: `FileError` if the file cannot be written, and whatever `body` throws.
    public static func write(_ path: String, shape: [Int], _ body: (_ append: FloatSink) throws -> Void)
        throws
    {
        try AtomicFile.write(path) { file in
            try file.write(header(shape: shape))
            let count = try FloatSink.write(to: file, body)
            precondition(count == shape.reduce(1, *), "expected as many values as the shape has")
        }
    }

    /// Opens an array of float32 or float64, row-major.
    ///
    /// - Throws: `FileError`.
    public init(_ path: String) throws {
        let file = try FileDescriptor(path, O_RDONLY)
        let size = try file.size()
        func damaged(_ found: String, _ expected: String) -> FileError {
            FileError(
                path: path, found: found, expected: expected, remedy: "Give a file in NumPy's format (.npy)")
        }
        guard size >= 10 else { throw damaged("the file has \(size) bytes", "NumPy's header") }
        let start = try file.bytes(min(12, size), at: 0)
        guard Array(start.prefix(6)) == NPYFile.magic, (1...3).contains(start[6]) else {
            throw damaged("this is not a NumPy array", "NumPy's header")
        }
        let isLong = start[6] > 1
        guard !isLong || start.count == 12 else { throw damaged("the header is truncated", "NumPy's header") }
        let length = (isLong ? start[8..<12] : start[8..<10]).reversed().reduce(0) { $0 << 8 | Int($1) }
        let dataStart = (isLong ? 12 : 10) + length
        guard length <= 65_536, dataStart <= size else {
            throw damaged("the header claims \(length) bytes", "one within the file")
        }
        let text = String(decoding: try file.bytes(length, at: dataStart - length), as: UTF8.self)
        guard let type = text.firstMatch(of: /'descr':\s*'([^']*)'/)?.1, type == "<f4" || type == "<f8" else {
            throw damaged("the header is \(text.prefix(200))", "elements of type '<f4' or '<f8'")
        }
        guard text.contains(/'fortran_order':\s*False/) else {
            throw damaged("the array is not row-major", "'fortran_order': False")
        }
        guard let list = text.firstMatch(of: /'shape':\s*\(([0-9, ]*)\)/)?.1 else {
            throw damaged("a header without shape", "a shape")
        }
        let shape = try list.split { $0 == "," || $0 == " " }.map {
            guard let side = Int($0) else { throw damaged("the shape (\(list))", "whole numbers") }
            return side
        }
        guard let count = shape.checkedProduct else {
            throw damaged("the shape (\(list))", "one that fits memory")
        }
        let width = type == "<f4" ? 4 : 8
        guard count == (size - dataStart) / width, (size - dataStart) % width == 0 else {
            throw damaged("\(size - dataStart) bytes of elements", "\(width) for each of the shape (\(list))")
        }
        self.path = path
        self.shape = shape
        self.file = file
        self.dataStart = dataStart
        isDouble = width == 8
    }

    /// Returns the elements of a range of the flattened array.
    ///
    /// - Throws: `FileError` if the file has become shorter.
    public func values(_ range: Range<Int>) throws -> [Float] {
        if isDouble { return try elements(range, as: Double.self).map { Float($0) } }
        return try elements(range, as: Float.self)
    }

    private func elements<Element: BitwiseCopyable>(_ range: Range<Int>, as type: Element.Type) throws
        -> [Element]
    {
        try [Element](unsafeUninitializedCapacity: range.count) { elements, initialised in
            try file.read(
                into: UnsafeMutableRawBufferPointer(
                    UnsafeMutableBufferPointer(rebasing: elements[..<range.count])),
                at: dataStart + range.lowerBound * MemoryLayout<Element>.size)
            initialised = range.count
        }
    }
}
