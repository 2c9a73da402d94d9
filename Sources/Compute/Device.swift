import Basics
import COpenCL
import Foundation

/// Represents one OpenCL device with its context, one in-order queue and its compiled programs.
///
/// Commands run in the order in which they are launched, so nothing here needs an event to be correct; the
/// host waits only where it reads. A device is used by one thread at a time.
public final class Device {
    public let description: DeviceDescription
    let context: cl_context
    let queue: cl_command_queue
    let waiting: EventWait
    /// Allocates what the host copies to the device and from it.
    public let hostMemory: HostMemoryAllocator
    let device: cl_device_id
    /// Launches since the queue was flushed.
    private var unflushedLaunches = 0
    /// Times each launch; nil if the device was not opened for profiling.
    public let profile: Profile?
    /// The constants that kernels and layers made from now on are compiled and launched with.
    public var tuning: Tuning
    private let cacheDirectory: String
    private var programs: [Program.Key: Program] = [:]

    /// Runtimes may fail when threads make or release contexts or programs at the same time, each for its own
    /// device.
    private static let setUp = NSLock()

    /// Bytes of the buffers alive now; OpenCL runtimes on CPUs do not enforce the device's total.
    public private(set) var allocatedBytes = 0
    /// The largest `allocatedBytes` so far.
    public private(set) var peakAllocatedBytes = 0

    /// Opens the device.
    ///
    /// - Parameter profiling: whether the device's clock times each launch, which costs a little
    public convenience init(_ description: DeviceDescription, profiling: Bool = false) throws {
        try self.init(description, profiling: profiling, cacheDirectory: CacheFolder.path)
    }

    /// Opens the device, keeping its compiled programs in a folder of their own.
    init(_ description: DeviceDescription, profiling: Bool = false, cacheDirectory: String) throws {
        guard Buffer.sliceAlignment % description.baseAlignment == 0 else {
            throw ComputeError(
                "\(description.name) wants sub-buffers at multiples of \(description.baseAlignment) bytes; "
                    + "the program places them at multiples of \(Buffer.sliceAlignment)")
        }
        guard description.traits.body == .cpu || description.takesGroups else {
            throw ComputeError(
                "\(description.name) has \(description.localMemory) bytes of local memory and work-groups of "
                    + "up to \(description.largestWorkGroup); the kernels for GPUs need 32768 and 256, those "
                    + "for CPUs do not")
        }
        self.description = description
        tuning = Tuning(
            for: description, stored: TuningStore(description, directory: cacheDirectory))
        self.cacheDirectory = cacheDirectory
        device = description.handle.pointer
        Device.setUp.lock()
        defer { Device.setUp.unlock() }
        var code: cl_int = 0
        var handle: cl_device_id? = device
        guard let context = clCreateContext(nil, 1, &handle, nil, nil, &code) else {
            throw ComputeError(
                "opening device opencl:\(description.number) (\(description.name))", code: code)
        }
        let properties = profiling ? cl_command_queue_properties(CL_QUEUE_PROFILING_ENABLE) : 0
        guard let queue = clCreateCommandQueue(context, device, properties, &code) else {
            clReleaseContext(context)
            throw ComputeError(
                "opening a queue on opencl:\(description.number) (\(description.name))", code: code)
        }
        self.context = context
        self.queue = queue
        waiting = EventWait(queue: queue, polls: description.kind != .cpu)
        hostMemory = HostMemoryAllocator(
            context: context, device: device, pins: description.kind != .cpu)
        profile = profiling ? Profile(waiting) : nil
    }

    deinit {
        profile?.releaseEvents()
        // Whoever launched the work has seen its errors.
        try? waiting.finish("closing \(description.name)")
        Device.setUp.lock()
        defer { Device.setUp.unlock() }
        clReleaseCommandQueue(queue)
        clReleaseContext(context)
    }

    /// Opens the device that a selector names.
    ///
    /// - Parameters:
    ///   - memory: bytes to which the device's memory is limited
    ///   - kernels: the kernel bodies to run
    ///   - place: the process's index among the ranks of its node, and their number
    public static func open(
        _ selector: DeviceSelector, profiling: Bool = false, memory: Int? = nil,
        kernels: KernelChoice = .auto, place: (index: Int, count: Int) = (0, 1)
    ) throws -> Device {
        var description = try selector.assign(DeviceDescription.all(), ranks: place.count)[place.index]
        description.kernels = kernels.body
        return try Device(
            memory.map { description.limited(toMemory: $0) } ?? description, profiling: profiling)
    }

    /// Waits until everything launched has run; never part of a training step.
    public func finish() throws { try waiting.finish("waiting for \(description.name)") }

    /// Starts what was launched, without waiting.
    public func flush() throws {
        unflushedLaunches = 0
        try check(clFlush(queue), "starting work on \(description.name)")
    }

    /// Counts a launch, and starts what was launched if that is much.
    ///
    /// Some drivers of GPUs keep commands until they are flushed. Runtimes on CPUs start them at once.
    func noteLaunch() throws {
        guard description.kind != .cpu else { return }
        unflushedLaunches += 1
        if unflushedLaunches >= 32 { try flush() }
    }

    /// Returns the seconds by which the host's monotonic clock is ahead of a profiled device's; waits for it.
    public func clockOffset() throws -> Double {
        let buffer = try Buffer(self, byteCount: 4)
        var zero: UInt8 = 0
        var event: cl_event?
        try check(
            clEnqueueFillBuffer(queue, buffer.handle, &zero, 1, 0, 4, 0, nil, &event),
            "reading the clock of \(description.name)")
        guard let event else { return 0 }
        defer { clReleaseEvent(event) }
        let end = try Profile.times(event, kernel: "fill", waiting).end
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        return Double(now.tv_sec) + Double(now.tv_nsec) * 1e-9 - end
    }

    /// Returns a function of a kernel family, compiled with the device's tuning and the macros of `variant`.
    public func kernel(_ family: String, _ function: String, variant: [String: Int] = [:]) throws -> Kernel {
        guard let key = try KernelFamilies.named(family).program(tuning: tuning, variant: variant) else {
            throw ComputeError("the \(tuning.device.body) bodies have no kernel family \(family)")
        }
        return try Kernel(program: program(key), function: function, device: self)
    }

    /// Compiles a program, or takes it from the cache in memory or on disk.
    @discardableResult public func program(_ key: Program.Key) throws -> Program {
        if let program = programs[key] { return program }
        Device.setUp.lock()
        defer { Device.setUp.unlock() }
        let program = try Program(
            key, context: context, device: device, description: description, cacheDirectory: cacheDirectory)
        programs[key] = program
        return program
    }

    /// Returns the kernels of a family that the device runs; none if it does without the family.
    public func kernelNames(of family: any KernelFamily) throws -> [String] {
        guard let key = family.program(tuning: tuning, variant: family.variants(tuning)[0]) else { return [] }
        return try program(key).kernelNames()
    }

    /// Compiles a program anew, and returns what the compiler says about it.
    public func compilerLog(_ key: Program.Key) throws -> String {
        try Program.log(of: key, context: context, device: device, description: description)
    }

    func account(_ bytes: Int) {
        allocatedBytes += bytes
        peakAllocatedBytes = max(peakAllocatedBytes, allocatedBytes)
    }
}
