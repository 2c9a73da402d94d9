import COpenCL

/// A range of device memory: owns one `cl_mem`, which is a buffer of its own or a slice of another.
public final class Buffer {
    public let device: Device
    public let byteCount: Int
    let handle: cl_mem
    private let parent: Buffer?

    /// Allocates `byteCount` bytes; their contents are undefined.
    public init(_ device: Device, byteCount: Int) throws {
        let limit = device.description.largestBuffer
        guard byteCount <= limit else {
            throw ComputeError(
                "a buffer of \(byteCount) bytes is larger than the largest that \(device.description.name) "
                    + "allows (\(limit))", kind: .bufferTooLarge)
        }
        var code: cl_int = 0
        guard
            let handle = clCreateBuffer(
                device.context, cl_mem_flags(CL_MEM_READ_WRITE), max(byteCount, 1), nil, &code)
        else { throw ComputeError("allocating \(byteCount) bytes on \(device.description.name)", code: code) }
        self.device = device
        self.byteCount = byteCount
        self.handle = handle
        parent = nil
        device.account(byteCount)
    }

    /// Device memory that is the host's own: the device works in it in place where it can. The host looks at
    /// it between `map` and `unmap` alone.
    ///
    /// - Parameter hostMemory: at a multiple of 4096 bytes, which all runtimes take; outlives the buffer
    public init(_ device: Device, hostMemory: UnsafeMutableRawPointer, byteCount: Int) throws {
        var code: cl_int = 0
        let flags = cl_mem_flags(CL_MEM_READ_WRITE) | cl_mem_flags(CL_MEM_USE_HOST_PTR)
        guard let handle = clCreateBuffer(device.context, flags, byteCount, hostMemory, &code) else {
            throw ComputeError(
                "giving \(byteCount) bytes of the host's memory to \(device.description.name)", code: code)
        }
        self.device = device
        self.byteCount = byteCount
        self.handle = handle
        parent = nil
        device.account(byteCount)
    }

    /// Allocates room for `floatCount` floats.
    public convenience init(_ device: Device, floatCount: Int) throws {
        try self.init(device, byteCount: floatCount * 4)
    }

    /// A buffer filled with `values`.
    public convenience init<Element: BitwiseCopyable>(_ device: Device, _ values: [Element]) throws {
        try self.init(device, byteCount: values.count * MemoryLayout<Element>.stride)
        try write(values)
    }

    private init(parent: Buffer, byteOffset: Int, byteCount: Int) throws {
        var region = cl_buffer_region(origin: byteOffset, size: byteCount)
        var code: cl_int = 0
        let type = cl_buffer_create_type(CL_BUFFER_CREATE_TYPE_REGION)
        guard
            let handle = clCreateSubBuffer(
                parent.handle, cl_mem_flags(CL_MEM_READ_WRITE), type, &region, &code)
        else {
            throw ComputeError(
                "cutting bytes \(byteOffset)..<\(byteOffset + byteCount) from a buffer of \(parent.byteCount)",
                code: code)
        }
        device = parent.device
        self.byteCount = byteCount
        self.handle = handle
        self.parent = parent
    }

    deinit {
        clReleaseMemObject(handle)
        if parent == nil { device.account(-byteCount) }
    }

    /// A view of part of this buffer (not of a slice); it keeps the whole alive. `byteOffset` is a multiple
    /// of the device's base alignment.
    public func slice(byteOffset: Int, byteCount: Int) throws -> Buffer {
        try Buffer(parent: self, byteOffset: byteOffset, byteCount: byteCount)
    }

    /// Copies `values` to the start of the buffer, and waits until they are there.
    public func write<Element: BitwiseCopyable>(_ values: [Element]) throws {
        try values.withUnsafeBytes { try write($0).wait() }
    }

    /// Starts a copy of host memory to the start of the buffer; the memory must stay as it is until the event
    /// is complete.
    public func write(_ bytes: UnsafeRawBufferPointer) throws -> Event {
        precondition(bytes.count <= byteCount)
        guard let base = bytes.baseAddress, bytes.count > 0 else { return Event(nil) }
        var event: cl_event?
        try check(
            clEnqueueWriteBuffer(
                device.queue, handle, cl_bool(CL_FALSE), 0, bytes.count, base, 0, nil, &event),
            "copying \(bytes.count) bytes to \(device.description.name)")
        return Event(event)
    }

    /// The first `count` elements, after everything launched before has run.
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

    /// Starts a copy to host memory, which must stay until the event is complete.
    public func read(into bytes: UnsafeMutableRawBufferPointer, byteOffset: Int) throws -> Event {
        precondition(byteOffset + bytes.count <= byteCount)
        guard let base = bytes.baseAddress, bytes.count > 0 else { return Event(nil) }
        var event: cl_event?
        try check(
            clEnqueueReadBuffer(
                device.queue, handle, cl_bool(CL_FALSE), byteOffset, bytes.count, base, 0, nil, &event),
            "copying \(bytes.count) bytes from \(device.description.name)")
        return Event(event)
    }

    /// Fills the buffer with zero bytes, in the order of the queue.
    public func clear() throws {
        guard byteCount > 0 else { return }
        var zero: UInt8 = 0
        try check(
            clEnqueueFillBuffer(device.queue, handle, &zero, 1, 0, byteCount, 0, nil, nil),
            "clearing a buffer of \(byteCount) bytes")
    }

    /// Copies the whole of `source` to the start of this buffer, in the order of the queue.
    public func copy(from source: Buffer) throws {
        precondition(source.byteCount <= byteCount)
        guard source.byteCount > 0 else { return }
        try check(
            clEnqueueCopyBuffer(device.queue, source.handle, handle, 0, 0, source.byteCount, 0, nil, nil),
            "copying a buffer of \(source.byteCount) bytes")
    }
}

extension Buffer {
    /// Copies a range of `source` to `offset` in this buffer, in the order of the queue.
    public func copy(from source: Buffer, sourceOffset: Int, byteCount: Int, to offset: Int) throws {
        precondition(sourceOffset + byteCount <= source.byteCount && offset + byteCount <= self.byteCount)
        guard byteCount > 0 else { return }
        try check(
            clEnqueueCopyBuffer(
                device.queue, source.handle, handle, sourceOffset, offset, byteCount, 0, nil, nil),
            "copying \(byteCount) bytes on \(device.description.name)")
    }
}

extension Buffer {
    /// Gives a range of a buffer over host memory to the host, once the event is complete, until `unmap`.
    public func map(byteOffset: Int, byteCount: Int) throws -> (
        pointer: UnsafeMutableRawPointer, event: Event
    ) {
        var code: cl_int = 0
        var event: cl_event?
        let flags = cl_map_flags(CL_MAP_READ) | cl_map_flags(CL_MAP_WRITE)
        let pointer = clEnqueueMapBuffer(
            device.queue, handle, cl_bool(CL_FALSE), flags, byteOffset, byteCount, 0, nil, &event, &code)
        try check(code, "showing \(byteCount) bytes of \(device.description.name) to the host")
        guard let pointer else {
            throw ComputeError(
                "showing \(byteCount) bytes of \(device.description.name) to the host", code: code)
        }
        return (pointer, Event(event))
    }

    /// Gives a mapped range back to the device, in the order of the queue.
    public func unmap(_ pointer: UnsafeMutableRawPointer) throws {
        try check(
            clEnqueueUnmapMemObject(device.queue, handle, pointer, 0, nil, nil),
            "giving memory back to \(device.description.name)")
    }
}

/// A copy that was started; the host may wait for it.
public final class Event {
    private let handle: cl_event?

    init(_ handle: cl_event?) { self.handle = handle }

    /// An event that is complete.
    public static var complete: Event { Event(nil) }

    deinit { if let handle { clReleaseEvent(handle) } }

    /// Whether the copy is done, or has failed (which `wait` then says). Does not wait; any thread may ask.
    public var isComplete: Bool {
        guard let handle else { return true }
        var status = cl_int(CL_QUEUED)
        return clGetEventInfo(
            handle, cl_event_info(CL_EVENT_COMMAND_EXECUTION_STATUS), MemoryLayout<cl_int>.size, &status, nil)
            != CL_SUCCESS || status <= CL_COMPLETE
    }

    /// Waits until the copy is done.
    public func wait() throws {
        guard handle != nil else { return }
        var event = handle
        try check(clWaitForEvents(1, &event), "waiting for a copy between host and device")
    }
}
