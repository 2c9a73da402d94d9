import COpenCL
import Glibc

/// Owns a range of device memory: one `cl_mem`, which is a buffer of its own or a slice of another.
public final class Buffer {
    public let device: Device
    public let byteCount: Int
    let handle: cl_mem
    private let parent: Buffer?
    /// The slices made so far, by their bytes, where they are never released.
    private var keptSlices: [Range<Int>: cl_mem] = [:]

    /// Bytes at whose multiples a slice may start, on every device that can be opened.
    public static let sliceAlignment = 4096

    /// Allocates `byteCount` bytes; their contents are undefined.
    public convenience init(_ device: Device, byteCount: Int) throws {
        let limit = device.description.largestBuffer
        guard byteCount <= limit else {
            throw ComputeError(
                "a buffer of \(byteCount) bytes is larger than the largest that \(device.description.name) "
                    + "allows (\(limit))", kind: .bufferTooLarge)
        }
        let action = "allocating \(byteCount) bytes on \(device.description.name)"
        try self.init(device, byteCount: byteCount, action) {
            if let handle = Buffer.onHugePages(device, byteCount: byteCount) { return handle }
            return clCreateBuffer(
                device.context, cl_mem_flags(CL_MEM_READ_WRITE), max(byteCount, 1), nil, &$0)
        }
        try touch(action)
    }

    /// Makes a buffer whose memory the system may map in pages of 2 MiB, which spares a CPU's kernels most of
    /// the waits for addresses.
    ///
    /// - Returns: nil for small buffers and for other devices, and if the runtime or the system refuses
    private static func onHugePages(_ device: Device, byteCount: Int) -> cl_mem? {
        let page = 2 << 20
        guard device.description.usesHostPages, byteCount >= 2 * page else { return nil }
        var memory: UnsafeMutableRawPointer?
        guard posix_memalign(&memory, page, byteCount) == 0, let memory else { return nil }
        // Whole pages only, so that no more memory becomes resident than the buffer has. A refusal leaves
        // small pages.
        madvise(memory, byteCount / page * page, Int32(MADV_HUGEPAGE))
        let flags = cl_mem_flags(CL_MEM_READ_WRITE) | cl_mem_flags(CL_MEM_USE_HOST_PTR)
        guard let handle = clCreateBuffer(device.context, flags, byteCount, memory, nil) else {
            free(memory)
            return nil
        }
        // Commands in the queue may keep the buffer longer than this object.
        clSetMemObjectDestructorCallback(handle, { _, memory in free(memory) }, memory)
        return handle
    }

    /// Writes to the whole buffer, so that a device without room for it says so here.
    ///
    /// Drivers of GPUs may take memory only when it is first used, which would fail in the middle of a step.
    /// A CPU's memory is the host's: the system gives its pages at the first write whoever writes, and a
    /// shortage is no error that a program sees. The time for a fill would be lost there.
    private func touch(_ action: String) throws {
        guard device.description.kind != .cpu, byteCount > 0 else { return }
        var zero: UInt8 = 0
        var event: cl_event?
        try check(
            clEnqueueFillBuffer(device.queue, handle, &zero, 1, 0, byteCount, 0, nil, &event), action)
        guard let event else { return }
        defer { clReleaseEvent(event) }
        // Small buffers are also made while steps run, where a wait would cost more than a late error.
        if byteCount >= 1 << 20 { try device.waiting.wait(event, action) }
    }

    /// Makes a buffer over host memory, which the host uses only between `map` and `unmap`.
    ///
    /// - Parameter hostMemory: at a multiple of `sliceAlignment` bytes; outlives the buffer
    public convenience init(_ device: Device, hostMemory: UnsafeMutableRawPointer, byteCount: Int) throws {
        let action = "giving \(byteCount) bytes of the host's memory to \(device.description.name)"
        let flags = cl_mem_flags(CL_MEM_READ_WRITE) | cl_mem_flags(CL_MEM_USE_HOST_PTR)
        try self.init(device, byteCount: byteCount, action) {
            clCreateBuffer(device.context, flags, byteCount, hostMemory, &$0)
        }
    }

    /// Allocates room for `floatCount` floats.
    public convenience init(_ device: Device, floatCount: Int) throws {
        try self.init(device, byteCount: floatCount * 4)
    }

    /// Allocates a buffer filled with `values`.
    public convenience init<Element: BitwiseCopyable>(_ device: Device, _ values: [Element]) throws {
        try self.init(device, byteCount: values.count * MemoryLayout<Element>.stride)
        try write(values)
    }

    private init(
        _ device: Device, byteCount: Int, parent: Buffer? = nil,
        _ action: String, create: (inout cl_int) -> cl_mem?
    ) throws {
        var code: cl_int = 0
        guard let handle = create(&code) else { throw ComputeError(action, code: code) }
        self.device = device
        self.byteCount = byteCount
        self.handle = handle
        self.parent = parent
        if parent == nil { device.account(byteCount) }
    }

    deinit {
        if parent == nil || device.description.releasesSlices { clReleaseMemObject(handle) }
        if parent == nil { device.account(-byteCount) }
    }

    /// Returns a view of part of this buffer (not of a slice), which keeps the whole alive.
    ///
    /// - Parameter byteOffset: a multiple of the device's base alignment
    public func slice(byteOffset: Int, byteCount: Int) throws -> Buffer {
        var region = cl_buffer_region(origin: byteOffset, size: byteCount)
        let action = "taking bytes \(byteOffset)..<\(byteOffset + byteCount) of a buffer of \(self.byteCount)"
        let alignment = device.description.baseAlignment
        guard byteOffset % alignment == 0 else {
            throw ComputeError("\(action): slices start at multiples of \(alignment) bytes")
        }
        let bytes = byteOffset..<byteOffset + byteCount
        let slice = try Buffer(device, byteCount: byteCount, parent: self, action) {
            if let kept = keptSlices[bytes] { return kept }
            let type = cl_buffer_create_type(CL_BUFFER_CREATE_TYPE_REGION)
            return clCreateSubBuffer(handle, cl_mem_flags(CL_MEM_READ_WRITE), type, &region, &$0)
        }
        if !device.description.releasesSlices { keptSlices[bytes] = slice.handle }
        return slice
    }

    /// Copies `values` to the start of the buffer, and waits for the copy.
    public func write<Element: BitwiseCopyable>(_ values: [Element]) throws {
        try values.withUnsafeBytes { try write($0).wait() }
    }

    /// Starts a copy of host memory to the buffer; the memory must not change until the event is complete.
    public func write(_ bytes: UnsafeRawBufferPointer, byteOffset: Int = 0) throws -> Event {
        precondition(byteOffset + bytes.count <= byteCount)
        guard let base = bytes.baseAddress, bytes.count > 0 else { return .complete }
        var event: cl_event?
        try check(
            clEnqueueWriteBuffer(
                device.queue, handle, cl_bool(CL_FALSE), byteOffset, bytes.count, base, 0, nil, &event),
            "copying \(bytes.count) bytes to \(device.description.name)")
        return Event(event, device)
    }

    /// Reads the first `count` elements, after everything launched before has run.
    public func read<Element: BitwiseCopyable>(_ count: Int, as _: Element.Type = Element.self) throws
        -> [Element]
    {
        let size = count * MemoryLayout<Element>.stride
        precondition(size <= byteCount)
        return try [Element](unsafeUninitializedCapacity: count) { elements, initialized in
            if size > 0 { try read(into: UnsafeMutableRawBufferPointer(elements), byteOffset: 0).wait() }
            initialized = count
        }
    }

    /// Starts a copy to host memory, which must stay allocated until the event is complete.
    public func read(into bytes: UnsafeMutableRawBufferPointer, byteOffset: Int) throws -> Event {
        precondition(byteOffset + bytes.count <= byteCount)
        guard let base = bytes.baseAddress, bytes.count > 0 else { return .complete }
        var event: cl_event?
        try check(
            clEnqueueReadBuffer(
                device.queue, handle, cl_bool(CL_FALSE), byteOffset, bytes.count, base, 0, nil, &event),
            "copying \(bytes.count) bytes from \(device.description.name)")
        return Event(event, device)
    }

    /// Fills the buffer with zero bytes, in the order of the queue.
    public func clear() throws { try fill(UInt8(0)) }

    /// Fills the buffer with a value of one to four bytes, in the order of the queue.
    public func fill<Value: BitwiseCopyable>(_ value: Value) throws {
        let size = MemoryLayout<Value>.size
        precondition(byteCount % size == 0, "a fill of \(byteCount) bytes with a value of \(size)")
        guard byteCount > 0 else { return }
        var value = value
        try check(
            clEnqueueFillBuffer(device.queue, handle, &value, size, 0, byteCount, 0, nil, nil),
            "filling a buffer of \(byteCount) bytes")
    }

    /// Copies the whole of `source` to the start of this buffer, in the order of the queue.
    public func copy(from source: Buffer) throws {
        try copy(from: source, sourceOffset: 0, byteCount: source.byteCount, to: 0)
    }

    /// Copies a range of `source` to `offset` in this buffer, in the order of the queue.
    public func copy(from source: Buffer, sourceOffset: Int, byteCount: Int, to offset: Int) throws {
        precondition(sourceOffset + byteCount <= source.byteCount && offset + byteCount <= self.byteCount)
        guard byteCount > 0 else { return }
        try check(
            clEnqueueCopyBuffer(
                device.queue, source.handle, handle, sourceOffset, offset, byteCount, 0, nil, nil),
            "copying \(byteCount) bytes on \(device.description.name)")
    }

    /// Copies some columns of some rows of a matrix to the start of this buffer, in the order of the queue.
    public func copyColumns(
        from source: Buffer, rowBytes: Int, firstRow: Int, rows: Int, columnBytes: Range<Int>
    ) throws {
        precondition((firstRow + rows) * rowBytes <= source.byteCount && columnBytes.upperBound <= rowBytes)
        precondition(rows * columnBytes.count <= byteCount)
        guard rows > 0, !columnBytes.isEmpty else { return }
        let (from, to) = ([columnBytes.lowerBound, firstRow, 0], [0, 0, 0])
        let region = [columnBytes.count, rows, 1]
        try check(
            clEnqueueCopyBufferRect(
                device.queue, source.handle, handle, from, to, region, rowBytes, 0, columnBytes.count, 0, 0,
                nil, nil), "copying \(rows) rows of \(columnBytes.count) bytes on \(device.description.name)")
    }

    /// Gives the host a range of a buffer over host memory, from the event's completion until `unmap`.
    public func map(byteOffset: Int, byteCount: Int) throws -> (
        pointer: UnsafeMutableRawPointer, event: Event
    ) {
        var code: cl_int = 0
        var event: cl_event?
        let flags = cl_map_flags(CL_MAP_READ) | cl_map_flags(CL_MAP_WRITE)
        let pointer = clEnqueueMapBuffer(
            device.queue, handle, cl_bool(CL_FALSE), flags, byteOffset, byteCount, 0, nil, &event, &code)
        guard let pointer else {
            let action = "showing \(byteCount) bytes of \(device.description.name) to the host"
            throw ComputeError(action, code: code)
        }
        return (pointer, Event(event, device))
    }

    /// Gives a mapped range back to the device, in the order of the queue.
    public func unmap(_ pointer: UnsafeMutableRawPointer) throws {
        try check(
            clEnqueueUnmapMemObject(device.queue, handle, pointer, 0, nil, nil),
            "giving memory back to \(device.description.name)")
    }
}
