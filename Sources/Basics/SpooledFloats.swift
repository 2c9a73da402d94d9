import Foundation

/// Takes numbers, in order, in pieces of any length, and writes them to a file.
public final class FloatSink {
    private let file: FileDescriptor
    /// Collects pieces, because rows are too short for a system call each.
    private var buffer: [Float] = []
    private var count = 0

    private init(_ file: FileDescriptor) { self.file = file }

    /// Writes the numbers that `body` passes on and returns how many there were.
    static func write(to file: FileDescriptor, _ body: (FloatSink) throws -> Void) throws -> Int {
        let sink = FloatSink(file)
        try body(sink)
        try sink.flush()
        return sink.count
    }

    public func callAsFunction(_ values: [Float]) throws {
        buffer += values
        count += values.count
        if buffer.count >= 1 << 16 { try flush() }
    }

    private func flush() throws {
        try buffer.withUnsafeBytes { try file.write($0) }
        buffer.removeAll(keepingCapacity: true)
    }
}

/// Stores numbers that may exceed memory in an unnamed temporary file, and reads them through a mapping.
public final class SpooledFloats: Sendable {
    public let count: Int
    private nonisolated(unsafe) let base: UnsafeMutableRawPointer?

    /// Stores the numbers that `body` passes on, in the folder for temporary files (`TMPDIR`).
    ///
    /// The file disappears with this object, or with the process.
    /// - Throws: `FileError` if the folder is not writable or full, and whatever `body` throws.
    public init(_ body: (_ append: FloatSink) throws -> Void) throws {
        let folder = NSTemporaryDirectory()
        let path = folder + "trainer-\(UUID().uuidString)"
        let file: FileDescriptor
        do {
            file = try FileDescriptor(path, O_RDWR | O_CREAT | O_EXCL, errorPath: folder)
            unlink(path)
            count = try FloatSink.write(to: file, body)
        } catch let error as FileError where error.path == folder {
            throw FileError(
                path: folder, found: error.found, expected: "room for numbers that may exceed memory",
                remedy: "Make room there, or set TMPDIR to another folder")
        }
        base = count == 0 ? nil : try file.map(byteCount: 4 * count)
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
