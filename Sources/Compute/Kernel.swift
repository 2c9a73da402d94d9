import Basics
import COpenCL

/// Represents what a kernel can be given: a buffer, a number, or several arguments that belong together.
public protocol KernelArgument {
    /// Binds the value as the next argument, or a group's values as the next ones.
    func bind(_ binder: inout ArgumentBinder)
}

/// Binds a kernel's arguments one after the other, and remembers the first that OpenCL refused.
public struct ArgumentBinder {
    fileprivate let kernel: cl_kernel
    fileprivate let expected: Int
    fileprivate var count = 0
    fileprivate var refused: (index: Int, code: cl_int)?
    fileprivate var buffers: [Buffer] = []

    fileprivate mutating func bind(_ value: UnsafeRawPointer?, byteCount: Int) {
        if count < expected {
            take(clSetKernelArg(kernel, cl_uint(count), byteCount, value))
        } else {
            count += 1
        }
    }

    fileprivate mutating func take(_ code: cl_int) {
        if code != CL_SUCCESS, refused == nil { refused = (count, code) }
        count += 1
    }
}

extension Int32: KernelArgument {}
extension UInt32: KernelArgument {}
extension UInt64: KernelArgument {}
extension Float: KernelArgument {}

extension KernelArgument where Self: BitwiseCopyable {
    public func bind(_ binder: inout ArgumentBinder) {
        withUnsafePointer(to: self) { binder.bind($0, byteCount: MemoryLayout<Self>.size) }
    }
}

/// Binds an `int`; sizes that need more are passed as `UInt64`.
extension Int: KernelArgument {
    public func bind(_ binder: inout ArgumentBinder) {
        guard let value = Int32(exactly: self) else { return binder.take(CL_INVALID_ARG_VALUE) }
        value.bind(&binder)
    }
}

extension Buffer: KernelArgument {
    public func bind(_ binder: inout ArgumentBinder) {
        var memory: cl_mem? = handle
        binder.buffers.append(self)
        binder.bind(&memory, byteCount: MemoryLayout<cl_mem?>.size)
    }
}

/// Represents consecutive arguments of a kernel that belong together, such as the sizes of a map.
public protocol KernelArgumentGroup: KernelArgument {
    /// The values in the kernel's order.
    var arguments: [any KernelArgument] { get }
}

extension KernelArgumentGroup {
    public func bind(_ binder: inout ArgumentBinder) { for value in arguments { value.bind(&binder) } }
}

/// Binds the elements as consecutive arguments.
extension Array: KernelArgument where Element: KernelArgument {
    public func bind(_ binder: inout ArgumentBinder) { for value in self { value.bind(&binder) } }
}

/// Holds height, width and stored channels of a feature map, as kernels take them.
public struct MapSize: KernelArgumentGroup, Sendable {
    public let height, width, channels: Int

    public init(height: Int, width: Int, channels: Int) {
        self.height = height
        self.width = width
        self.channels = channels
    }

    public func with(channels: Int) -> MapSize { MapSize(height: height, width: width, channels: channels) }

    public var arguments: [any KernelArgument] { [height, width, channels] }
}

/// Holds the work-items of a launch in one to three dimensions.
public struct LaunchRange: Sendable {
    /// Each dimension is rounded up to a multiple of `local`, so kernels check their bounds.
    public let global: [Int]
    /// Work-items of a group; a runtime left to choose may choose badly, and compiles anew for each choice.
    public let local: [Int]
    /// Number of launches, one after the other, into which the groups are divided.
    ///
    /// They are cut along the first dimension, and along the second and third if that gives fewer launches.
    /// Uneven divisions may give a few more. In more than one, the kernel must not ask for its group or for
    /// the range, which are those of its launch; `get_global_id` counts over all of them.
    public let launches: Int

    init(_ global: [Int], local: [Int], launches: Int = 1) {
        self.global = global
        self.local = local
        self.launches = launches
    }

    /// Cuts whole groups of `sizes` work-items into about `launches` ranges.
    fileprivate static func parts(of sizes: [Int], local: [Int], launches: Int) -> [[Range<Int>]] {
        var parts: [[Range<Int>]] = [[]]
        var missing = launches
        for (size, group) in zip(sizes, local) {
            let groups = size / group
            let items = groups.ceilDivided(by: min(missing, groups)) * group
            let ranges = stride(from: 0, to: size, by: items).map { $0..<min(size, $0 + items) }
            missing = missing.ceilDivided(by: ranges.count)
            parts = parts.flatMap { part in ranges.map { part + [$0] } }
        }
        return parts
    }
}

/// Launches one function of a program on one device.
public final class Kernel {
    public let name: String
    private let handle: cl_kernel
    private let argumentCount: Int
    /// The buffers that OpenCL's kernel refers to, which it need not keep alive itself.
    private var bound: [Buffer] = []
    // Strong, since a kernel may outlive the variable that held its device.
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

    /// Queues the kernel; see `LaunchRange` for `global` and `local`.
    public func launch(_ global: [Int], local: [Int], _ arguments: any KernelArgument...) throws {
        try queue(LaunchRange(global, local: local), arguments)
    }

    /// Queues the kernel over a range that its family has worked out.
    public func launch(_ range: LaunchRange, _ arguments: any KernelArgument...) throws {
        try queue(range, arguments)
    }

    private func queue(_ range: LaunchRange, _ arguments: [any KernelArgument]) throws {
        let (global, local) = (range.global, range.local)
        var binder = ArgumentBinder(kernel: handle, expected: argumentCount)
        for argument in arguments { argument.bind(&binder) }
        bound = binder.buffers
        guard binder.count == argumentCount else {
            throw ComputeError(
                "kernel \(name): \(binder.count) arguments were given, it has \(argumentCount)")
        }
        if let refused = binder.refused {
            throw ComputeError("kernel \(name), argument \(refused.index)", code: refused.code)
        }
        guard global.count == local.count, (1...3).contains(global.count), local.allSatisfy({ $0 > 0 }),
            range.launches > 0
        else {
            throw ComputeError("kernel \(name): a range of \(global) in groups of \(local)")
        }
        if global.contains(0) { return }
        let sizes = zip(global, local).map { $0.roundedUp(to: $1) }
        for part in LaunchRange.parts(of: sizes, local: local, launches: range.launches) {
            let first = part.map(\.lowerBound)
            var event: cl_event?
            let code = withUnsafeMutablePointer(to: &event) {
                clEnqueueNDRangeKernel(
                    device.queue, handle, cl_uint(part.count), first.allSatisfy { $0 == 0 } ? nil : first,
                    part.map(\.count), local, 0, nil, device.profile == nil ? nil : $0)
            }
            if code != CL_SUCCESS {
                throw ComputeError("kernel \(name) over \(global) in groups of \(local)", code: code)
            }
            if let event { device.profile?.record(event, kernel: name) }
            try device.noteLaunch()
        }
    }
}
