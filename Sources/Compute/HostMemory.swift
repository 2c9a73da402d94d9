import COpenCL

/// Allocates memory of the host between which and the device copies are fast.
///
/// A GPU copies by itself only memory whose pages stay where they are ("pinned"). The driver copies other
/// memory through pinned memory of its own, for which the host may have to wait. A CPU's runtime copies any
/// memory.
public final class HostMemoryAllocator: @unchecked Sendable {
    /// The context, and a queue for mapping, which does not wait for the device's work; nil for ordinary
    /// memory.
    private let pinning: (context: cl_context, queue: cl_command_queue)?

    init(context: cl_context, device: cl_device_id, pins: Bool) {
        guard pins, let queue = clCreateCommandQueue(context, device, 0, nil) else {
            pinning = nil
            return
        }
        clRetainContext(context)
        pinning = (context, queue)
    }

    deinit {
        guard let pinning else { return }
        clReleaseCommandQueue(pinning.queue)
        clReleaseContext(pinning.context)
    }

    /// Returns at least one byte, ordinary memory if the driver pins no more; any thread may call it.
    public func allocate(byteCount: Int) -> HostMemory {
        let byteCount = max(byteCount, 1)
        return pinned(byteCount)
            ?? HostMemory(.allocate(byteCount: byteCount, alignment: Buffer.sliceAlignment)) {
                $0.deallocate()
            }
    }

    private func pinned(_ byteCount: Int) -> HostMemory? {
        guard let pinning else { return nil }
        let flags = cl_mem_flags(CL_MEM_READ_WRITE) | cl_mem_flags(CL_MEM_ALLOC_HOST_PTR)
        guard let memory = clCreateBuffer(pinning.context, flags, byteCount, nil, nil) else { return nil }
        let access = cl_map_flags(CL_MAP_READ) | cl_map_flags(CL_MAP_WRITE)
        let start = clEnqueueMapBuffer(
            pinning.queue, memory, cl_bool(CL_TRUE), access, 0, byteCount, 0, nil, nil, nil)
        guard let start else {
            clReleaseMemObject(memory)
            return nil
        }
        return HostMemory(UnsafeMutableRawBufferPointer(start: start, count: byteCount)) { [self] bytes in
            // It stays mapped for its whole life; the buffer itself holds nothing that is needed.
            clEnqueueUnmapMemObject(self.pinning?.queue, memory, bytes.baseAddress, 0, nil, nil)
            clFlush(self.pinning?.queue)
            clReleaseMemObject(memory)
        }
    }
}

/// Owns memory of the host; see `HostMemoryAllocator`.
public final class HostMemory: @unchecked Sendable {
    public let bytes: UnsafeMutableRawBufferPointer
    private let release: (UnsafeMutableRawBufferPointer) -> Void

    fileprivate init(
        _ bytes: UnsafeMutableRawBufferPointer, release: @escaping (UnsafeMutableRawBufferPointer) -> Void
    ) {
        self.bytes = bytes
        self.release = release
    }

    deinit { release(bytes) }
}
