import Basics
import COpenCL

/// Describes an OpenCL device as it reports itself.
public struct DeviceDescription: Sendable {
    public enum Kind: String, Sendable { case cpu, gpu, accelerator, other }

    /// The device's index in the list of all platforms' devices: the N of `opencl:N`.
    public let number: Int
    public let name: String
    public let vendor: String
    public let platform: String
    /// The driver's version.
    public internal(set) var driver: String
    public package(set) var kind: Kind
    public internal(set) var computeUnits: Int
    /// Bytes of global memory, as the device reports them.
    public internal(set) var globalMemory: Int
    /// Bytes of the device's cache, as it reports them: the last-level cache, or that of one core.
    public let cacheSize: Int
    /// Bytes of the largest single buffer.
    public internal(set) var largestBuffer: Int
    /// The same without the limits of this process or of ranks that share the device.
    ///
    /// Sizes from which the order of sums follows depend on this one.
    private var ownLargestBuffer: Int
    /// Whether the limit of the address space (ulimit -v) leaves less than the device's memory.
    public private(set) var isWithinLimit = false
    /// Bytes of local memory of one work-group.
    public let localMemory: Int
    public package(set) var largestWorkGroup: Int
    /// Bytes to which a sub-buffer's start must be aligned.
    public internal(set) var baseAlignment: Int
    /// Floats in a vector register, as the device reports it (1 on most GPUs).
    public package(set) var floatVectorWidth: Int

    /// The kernel bodies to run; nil for those of the device's kind.
    public var kernels: KernelBody?

    var handle: Handle

    /// Keeps OpenCL's id of a device, a plain pointer that any thread may use; releases that of a sub-device.
    final class Handle: @unchecked Sendable {
        let pointer: OpaquePointer
        private let isSubDevice: Bool

        init(_ pointer: OpaquePointer, isSubDevice: Bool = false) {
            self.pointer = pointer
            self.isSubDevice = isSubDevice
        }

        deinit { if isSubDevice { clReleaseDevice(pointer) } }
    }

    /// What kernel families know of the device.
    public var traits: DeviceTraits {
        DeviceTraits(
            body: kernels ?? (kind == .cpu ? .cpu : .gpu), floatVectorWidth: floatVectorWidth,
            vendor: kind == .cpu ? .other : DeviceDescription.vendor(vendor, platform: platform),
            takesPrefetch: isKnownCPURuntime, largestBuffer: ownLargestBuffer, cacheSize: cacheSize)
    }

    /// Whether the runtime is one whose compiler takes clang's builtins and whose buffers may lie in any host
    /// memory.
    private var isKnownCPURuntime: Bool {
        ["Portable Computing Language", "Intel(R) OpenCL"].contains(platform)
    }

    /// Whether buffers should lie in memory that the program allocates for them.
    var usesHostPages: Bool { kind == .cpu && isKnownCPURuntime }

    /// Returns the maker of a GPU by the names of vendor and platform; a driver need not be the maker's.
    static func vendor(_ vendor: String, platform: String) -> DeviceVendor {
        let names: [(part: String, vendor: DeviceVendor)] = [
            ("nvidia", .nvidia), ("advanced micro devices", .amd), ("amd", .amd), ("intel", .intel),
        ]
        let texts = [vendor, platform].map { $0.lowercased() }
        return texts.lazy.compactMap { text in names.first { text.contains($0.part) }?.vendor }.first
            ?? .other
    }

    /// Whether the device is within the limits of the bodies for GPUs.
    package var takesGroups: Bool { localMemory >= 32 << 10 && largestWorkGroup >= 256 }

    /// Whether slices of buffers are released; NVIDIA's driver (580.159) crashes when some of them are.
    ///
    /// Kept slices keep their buffer's memory until the process ends.
    var releasesSlices: Bool { !platform.hasPrefix("NVIDIA") }

    /// Lists every device of every platform, in the order of the runtime.
    ///
    /// - Throws: `ComputeError` if there is no OpenCL platform, or none has a device; `ThreadLimit`
    public static func all() throws -> [DeviceDescription] {
        try InstalledRuntimes.prepare()
        var platformCount: cl_uint = 0
        let code = clGetPlatformIDs(0, nil, &platformCount)
        // −1001 is the ICD loader's "no platform"; some loaders answer with success and a count of zero.
        guard code == CL_SUCCESS || code == -1001 else {
            throw ComputeError("listing the OpenCL platforms", code: code)
        }
        guard code == CL_SUCCESS, platformCount > 0 else { throw InstalledRuntimes.reasonForNoDevice() }
        var platforms = [cl_platform_id?](repeating: nil, count: Int(platformCount))
        try check(clGetPlatformIDs(platformCount, &platforms, nil), "listing the OpenCL platforms")

        var devices: [DeviceDescription] = []
        for platform in platforms.compactMap({ $0 }) {
            var count: cl_uint = 0
            guard clGetDeviceIDs(platform, cl_device_type(CL_DEVICE_TYPE_ALL), 0, nil, &count) == CL_SUCCESS,
                count > 0
            else { continue }
            var handles = [cl_device_id?](repeating: nil, count: Int(count))
            try check(
                clGetDeviceIDs(platform, cl_device_type(CL_DEVICE_TYPE_ALL), count, &handles, nil),
                "listing the devices of a platform")
            for handle in handles.compactMap({ $0 }) {
                devices.append(
                    try DeviceDescription(number: devices.count, platform: platform, device: handle))
            }
        }
        guard !devices.isEmpty else { throw InstalledRuntimes.reasonForNoDevice() }
        return devices.map { $0.withinAddressSpace() }
    }

    /// Bytes of address space that a small network takes on a CPU.
    package static var addressSpaceOfCPU: Int { InstalledRuntimes.addressSpace }

    /// Returns a CPU with as much memory as the limit of the address space leaves for a network.
    private func withinAddressSpace() -> DeviceDescription {
        guard kind == .cpu, let limit = AddressSpace.limit else { return self }
        // The host's copies of weights and batches take address space too.
        let room = limit - AddressSpace.used - InstalledRuntimes.addressSpaceOfCompiler
        var smaller = self
        smaller.globalMemory = min(globalMemory, max(64 << 20, room / 3 * 2))
        smaller.largestBuffer = min(largestBuffer, smaller.globalMemory)
        smaller.isWithinLimit = smaller.globalMemory < globalMemory
        return smaller
    }

    /// Returns the device limited to `bytes` of memory, and a largest buffer smaller in proportion.
    public func limited(toMemory bytes: Int) -> DeviceDescription {
        guard bytes < globalMemory else { return self }
        var smaller = self
        smaller.largestBuffer = Int(Double(largestBuffer) * (Double(bytes) / Double(globalMemory)))
        smaller.globalMemory = bytes
        return smaller
    }

    /// Returns the device limited to buffers of `bytes`, and to a coarser alignment of sub-buffers.
    public func limited(toLargestBuffer bytes: Int, baseAlignment alignment: Int) -> DeviceDescription {
        var other = self
        other.largestBuffer = min(largestBuffer, bytes)
        other.ownLargestBuffer = other.largestBuffer
        other.baseAlignment = max(baseAlignment, alignment)
        return other
    }

    /// Returns a GPU with this much memory that does not exist here, in order to plan for it.
    package func imaginedGPU(memory: Int) -> DeviceDescription {
        var other = self
        (other.kind, other.kernels) = (.gpu, .gpu)
        // NVIDIA's driver allows a quarter of the memory in one buffer.
        (other.globalMemory, other.largestBuffer) = (memory, memory / 4)
        other.ownLargestBuffer = other.largestBuffer
        return other
    }

    /// Returns a part of a CPU device with `count` of its compute units; the device if it has no more.
    public func limited(toComputeUnits count: Int) throws -> DeviceDescription {
        guard count < computeUnits else { return self }
        var properties: [cl_device_partition_property] = [
            cl_device_partition_property(CL_DEVICE_PARTITION_BY_COUNTS), count,
            cl_device_partition_property(CL_DEVICE_PARTITION_BY_COUNTS_LIST_END), 0,
        ]
        var part: cl_device_id?
        try check(
            clCreateSubDevices(handle.pointer, &properties, 1, &part, nil),
            "taking \(count) of the \(computeUnits) compute units of \(name)")
        guard let part else { throw ComputeError.noDevice }
        var smaller = self
        smaller.handle = Handle(part, isSubDevice: true)
        smaller.computeUnits = count
        return smaller
    }

    init(number: Int, platform: cl_platform_id, device: cl_device_id) throws {
        func value<T: BitwiseCopyable>(_ parameter: Int32, _ zero: T) throws -> T {
            var value = zero
            try check(
                clGetDeviceInfo(device, cl_device_info(parameter), MemoryLayout<T>.size, &value, nil),
                "asking a device for its limits")
            return value
        }
        func text(_ ask: (Int, UnsafeMutableRawPointer?, UnsafeMutablePointer<Int>?) -> cl_int) throws
            -> String
        {
            var size = 0
            try check(ask(0, nil, &size), "asking a device for its name")
            var bytes = [UInt8](repeating: 0, count: size)
            try check(ask(size, &bytes, nil), "asking a device for its name")
            let words = String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self).split(separator: " ")
            return words.joined(separator: " ")
        }
        func deviceText(_ parameter: Int32) throws -> String {
            try text { clGetDeviceInfo(device, cl_device_info(parameter), $0, $1, $2) }
        }
        self.number = number
        self.handle = Handle(device)
        self.name = try deviceText(CL_DEVICE_NAME)
        self.vendor = try deviceText(CL_DEVICE_VENDOR)
        self.driver = try deviceText(CL_DRIVER_VERSION)
        self.platform = try text {
            clGetPlatformInfo(platform, cl_platform_info(CL_PLATFORM_NAME), $0, $1, $2)
        }
        let type: cl_device_type = try value(CL_DEVICE_TYPE, 0)
        let kinds: [(type: Int32, kind: Kind)] = [
            (CL_DEVICE_TYPE_GPU, .gpu), (CL_DEVICE_TYPE_CPU, .cpu),
            (CL_DEVICE_TYPE_ACCELERATOR, .accelerator),
        ]
        self.kind = kinds.first { type & cl_device_type($0.type) != 0 }?.kind ?? .other
        self.computeUnits = Int(try value(CL_DEVICE_MAX_COMPUTE_UNITS, cl_uint(0)))
        self.globalMemory = Int(try value(CL_DEVICE_GLOBAL_MEM_SIZE, cl_ulong(0)))
        cacheSize = Int(clamping: try value(CL_DEVICE_GLOBAL_MEM_CACHE_SIZE, cl_ulong(0)))
        largestBuffer = Int(try value(CL_DEVICE_MAX_MEM_ALLOC_SIZE, cl_ulong(0)))
        ownLargestBuffer = largestBuffer
        self.localMemory = Int(try value(CL_DEVICE_LOCAL_MEM_SIZE, cl_ulong(0)))
        self.largestWorkGroup = try value(CL_DEVICE_MAX_WORK_GROUP_SIZE, 0)
        self.baseAlignment = Int(try value(CL_DEVICE_MEM_BASE_ADDR_ALIGN, cl_uint(0))) / 8
        self.floatVectorWidth = Int(try value(CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT, cl_uint(0)))
    }
}

extension ComputeError {
    /// No platform, or none with a device.
    public static let noDevice = ComputeError("no OpenCL device found", kind: .noPlatform)
}

/// Represents the device that a command asks for: `auto`, `cpu`, `gpu` or `opencl:N`; for several ranks on
/// one node a list of the last.
public enum DeviceSelector: Equatable, Sendable {
    case auto, cpu, gpu
    case numbers([Int])

    public static let expected =
        "auto, cpu, gpu, opencl:N, or for several ranks a list such as opencl:0,opencl:1"

    public init(parsing text: String) throws {
        if let word = DeviceSelector.words[text] {
            self = word
            return
        }
        let numbers = text.split(separator: ",", omittingEmptySubsequences: false).map { part -> Int? in
            part.hasPrefix("opencl:") ? Int(part.dropFirst(7)).flatMap { $0 >= 0 ? $0 : nil } : nil
        }
        guard !numbers.contains(nil) else {
            throw ComputeError(
                "'\(text)' names no device: expected \(DeviceSelector.expected)", kind: .unknownDevice)
        }
        self = .numbers(numbers.compactMap { $0 })
    }

    private static let words: [String: DeviceSelector] = ["auto": .auto, "cpu": .cpu, "gpu": .gpu]

    private var numbers: [Int] { if case .numbers(let numbers) = self { numbers } else { [] } }

    /// Returns the device meant: for `auto` the first GPU, or the first device if there is no GPU.
    public func select(from devices: [DeviceDescription]) throws -> DeviceDescription {
        try assign(devices, ranks: 1)[0]
    }

    /// Returns all devices meant; each number once for each time that it was given.
    ///
    /// `cpu` means the devices of one platform: two runtimes are not two CPUs.
    public func meant(of devices: [DeviceDescription]) throws -> [DeviceDescription] {
        let gpus = devices.filter { $0.kind == .gpu }
        let chosen =
            switch self {
            case .auto: gpus.isEmpty ? DeviceSelector.ofFirstPlatform(devices) : gpus
            case .cpu: DeviceSelector.ofFirstPlatform(devices.filter { $0.kind == .cpu })
            case .gpu: gpus
            case .numbers: numbers.compactMap { devices.indices.contains($0) ? devices[$0] : nil }
            }
        let missing = numbers.first { !devices.indices.contains($0) }
        guard missing == nil, !chosen.isEmpty else {
            if devices.isEmpty { throw ComputeError.noDevice }
            let list = devices.map { "opencl:\($0.number) (\($0.kind.rawValue), \($0.name))" }
            throw ComputeError(
                "no device \(missing.map { "opencl:\($0)" } ?? text) here; there is "
                    + list.joined(separator: ", "), kind: .unknownDevice)
        }
        return chosen
    }

    /// The selector as it was typed.
    private var text: String {
        DeviceSelector.words.first { $0.value == self }?.key
            ?? numbers.map { "opencl:\($0)" }.joined(separator: ",")
    }

    /// Returns the device of each of a node's ranks: rank r takes device r of those meant.
    ///
    /// Ranks that share a device divide its memory. Ranks on CPUs take the devices in turn, and divide
    /// their compute units.
    public func assign(_ devices: [DeviceDescription], ranks: Int) throws -> [DeviceDescription] {
        let chosen = try meant(of: devices)
        if case .numbers = self, chosen.count > ranks {
            throw ComputeError(
                "\(text): \(chosen.count) devices for \(ranks) rank\(ranks == 1 ? "" : "s") on this node",
                kind: .tooManyDevices(chosen.count))
        }
        guard ranks <= chosen.count || chosen.allSatisfy({ $0.kind == .cpu }) else {
            throw ComputeError(
                "\(text): \(ranks) ranks on this node for \(chosen.count) "
                    + "device\(chosen.count == 1 ? "" : "s")", kind: .tooFewDevices)
        }
        let ofRanks = (0..<ranks).map { chosen[$0 % chosen.count] }
        let onCPUs = ofRanks.filter { $0.kind == .cpu }.count
        return try ofRanks.map { device in
            // Two runtimes of one CPU share its cores and its memory as well.
            let sharing = device.kind == .cpu ? onCPUs : ofRanks.filter { $0.number == device.number }.count
            guard sharing > 1 else { return device }
            let part =
                device.kind == .cpu
                ? try device.limited(toComputeUnits: max(1, device.computeUnits / sharing)) : device
            return part.limited(toMemory: device.globalMemory / sharing)
        }
    }

    private static func ofFirstPlatform(_ devices: [DeviceDescription]) -> [DeviceDescription] {
        devices.filter { $0.platform == devices[0].platform }
    }
}
