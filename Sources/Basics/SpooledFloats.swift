import Foundation

/// Takes numbers, in order, in pieces of any length.
public struct FloatSink {
    private let append: (UnsafeBufferPointer<Float>) throws -> Void

    public func callAsFunction(_ values: UnsafeBufferPointer<Float>) throws { try append(values) }

    public func callAsFunction(_ values: [Float]) throws { try values.withUnsafeBufferPointer(append) }

    /// Runs `body` with a buffer between it and `write`, since rows are too short for a system call each.
    static func buffered(
        _ write: (UnsafeRawBufferPointer) throws -> Void, _ counted: (Int) -> Void,
        _ body: (FloatSink) throws -> Void
    ) throws {
        let capacity = 1 << 16
        var buffer: [Float] = []
        buffer.reserveCapacity(capacity)
        try withoutActuallyEscaping(write) { write in
            try withoutActuallyEscaping(counted) { counted in
                func flush() throws {
                    try buffer.withUnsafeBytes { try write($0) }
                    counted(buffer.count)
                    buffer.removeAll(keepingCapacity: true)
                }
                try body(
                    FloatSink { values in
                        var rest = values[...]
                        while !rest.isEmpty {
                            let count = min(rest.count, capacity - buffer.count)
                            buffer += rest.prefix(count)
                            rest = rest.dropFirst(count)
                            if buffer.count == capacity { try flush() }
                        }
                    })
                try flush()
            }
        }
    }
}

/// Stores numbers that may exceed memory in an unnamed temporary file, and reads them through a mapping.
public final class SpooledFloats: Sendable {
    public let count: Int
    private nonisolated(unsafe) let base: UnsafeMutableRawPointer?

    /// Stores the numbers that `body` passes on, in the folder for temporary files (`TMPDIR`). The file
    /// disappears with this object, or with the process.
    ///
    /// - Throws: `FileError` if the folder is not writable or full, and whatever `body` throws.
    public init(_ body: (_ append: FloatSink) throws -> Void) throws {
        let folder = NSTemporaryDirectory()
        let path = folder + "trainer-\(UUID().uuidString)"
        var count = 0
        let file: FileDescriptor
        do {
            file = try FileDescriptor(path, O_RDWR | O_CREAT | O_EXCL, errorPath: folder)
            unlink(path)
            try FloatSink.buffered(file.write, { count += $0 }, body)
        } catch let error as FileError where error.path == folder {
            throw FileError(
                path: folder, found: error.found, expected: "room for numbers that may exceed memory",
                remedy: "Make room there, or set TMPDIR to another folder")
        }
        base = count == 0 ? nil : try file.map(byteCount: 4 * count)
        self.count = count
    }

    deinit { if let base { munmap(base, 4 * count) } }

    /// Calls `body` with the numbers of a range.
    public func withValues<Result>(_ range: Range<Int>, _ body: (UnsafeBufferPointer<Float>) throws -> Result)
        rethrows -> Result
    {
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "numbers \(range) of \(count)")
        guard let base, !range.isEmpty else { return try body(UnsafeBufferPointer(start: nil, count: 0)) }
        let start = base.assumingMemoryBound(to: Float.self) + range.lowerBound
        return try body(UnsafeBufferPointer(start: start, count: range.count))
    }
}
