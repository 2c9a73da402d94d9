import COpenCL

/// Something that can be given to a kernel: a buffer or a plain number.
public protocol KernelArgument {
    /// Binds the value as argument `index`; returns OpenCL's code.
    func bind(to kernel: OpaquePointer, at index: UInt32) -> Int32
}

extension Int32: KernelArgument {}
extension UInt32: KernelArgument {}
extension UInt64: KernelArgument {}
extension Float: KernelArgument {}

extension KernelArgument where Self: BitwiseCopyable {
    public func bind(to kernel: OpaquePointer, at index: UInt32) -> Int32 {
        withUnsafePointer(to: self) { clSetKernelArg(kernel, index, MemoryLayout<Self>.size, $0) }
    }
}

/// `int` in the kernel; sizes that need more are passed as `UInt64`.
extension Int: KernelArgument {
    public func bind(to kernel: OpaquePointer, at index: UInt32) -> Int32 {
        guard let value = Int32(exactly: self) else { return CL_INVALID_ARG_VALUE }
        return value.bind(to: kernel, at: index)
    }
}

extension Buffer: KernelArgument {
    public func bind(to kernel: OpaquePointer, at index: UInt32) -> Int32 {
        var memory: cl_mem? = handle
        return clSetKernelArg(kernel, index, MemoryLayout<cl_mem?>.size, &memory)
    }
}

/// One function of a program on one device.
public final class Kernel {
    public let name: String
    private let handle: cl_kernel
    private let argumentCount: Int
    // Unowned would do for the work, but a kernel must be able to outlive the variable that held its device.
    private let device: Device

    init(program: Program, function: String, device: Device) throws {
        var code: cl_int = 0
        guard let handle = clCreateKernel(program.handle, function, &code) else {
            throw ComputeError("finding kernel \(function) in \(program.file)", code: code)
        }
        self.handle = handle
        self.device = device
        name = function
        var count: cl_uint = 0
        try check(
            clGetKernelInfo(
                handle, cl_kernel_info(CL_KERNEL_NUM_ARGS), MemoryLayout<cl_uint>.size, &count, nil),
            "asking kernel \(function) for its arguments")
        argumentCount = Int(count)
    }

    deinit { clReleaseKernel(handle) }

    /// Queues the kernel.
    ///
    /// - Parameters:
    ///   - global: work-items in each dimension (one to three); each is rounded up to a multiple of `local`,
    ///     so kernels check their bounds.
    ///   - local: work-items of a group in each dimension. Always given: a runtime that chooses may choose
    ///     badly, and compiles anew for each choice.
    public func launch(_ global: [Int], local: [Int], _ arguments: any KernelArgument...) throws {
        guard arguments.count == argumentCount else {
            throw ComputeError(
                "kernel \(name): \(arguments.count) arguments were given, it has \(argumentCount)")
        }
        guard global.count == local.count, (1...3).contains(global.count), local.allSatisfy({ $0 > 0 }) else {
            throw ComputeError("kernel \(name): a range of \(global) in groups of \(local)")
        }
        if global.contains(0) { return }
        for (index, argument) in arguments.enumerated() {
            let code = argument.bind(to: handle, at: UInt32(index))
            if code != CL_SUCCESS { throw ComputeError("kernel \(name), argument \(index)", code: code) }
        }
        var globalSize = (0, 0, 0)
        var localSize = (0, 0, 0)
        withUnsafeMutableBytes(of: &globalSize) { bytes in
            let sizes = bytes.assumingMemoryBound(to: Int.self)
            for dimension in global.indices {
                sizes[dimension] =
                    (global[dimension] + local[dimension] - 1) / local[dimension] * local[dimension]
            }
        }
        withUnsafeMutableBytes(of: &localSize) { bytes in
            let sizes = bytes.assumingMemoryBound(to: Int.self)
            for dimension in local.indices { sizes[dimension] = local[dimension] }
        }
        var event: cl_event?
        let timed = device.profile != nil
        let code = withUnsafeBytes(of: globalSize) { globalBytes in
            withUnsafeBytes(of: localSize) { localBytes in
                withUnsafeMutablePointer(to: &event) { event in
                    clEnqueueNDRangeKernel(
                        device.queue, handle, cl_uint(global.count), nil,
                        globalBytes.assumingMemoryBound(to: Int.self).baseAddress,
                        localBytes.assumingMemoryBound(to: Int.self).baseAddress, 0, nil, timed ? event : nil)
                }
            }
        }
        if code != CL_SUCCESS {
            throw ComputeError("kernel \(name) over \(global) in groups of \(local)", code: code)
        }
        if let event { device.profile?.record(event, kernel: name) }
    }
}
