import COpenCL

/// Describes what OpenCL could not do: facts, to which a command adds what its user can do about them.
public struct ComputeError: Error, CustomStringConvertible, Equatable {
    /// The kinds of errors that a command can advise on.
    public enum Kind: Equatable, Sendable {
        /// The device has too little free memory.
        case outOfMemory
        /// The device allows no single buffer of that size.
        case bufferTooLarge
        /// The weights of one layer do not fit the largest buffer.
        case parameterTooLarge
        /// The device is not there any more.
        case deviceNotFound
        /// No OpenCL platform has a device.
        case noPlatform
        /// pocl is installed, but cannot write its kernel cache.
        case unwritableCache
        /// A runtime is installed, but has no device.
        case silentRuntime
        /// A runtime is installed, but this process may use little memory.
        case limitedMemory
        /// A device was named that is not there, or not in a way that can be understood.
        case unknownDevice
        /// More devices were named than there are ranks.
        case tooManyDevices(Int)
        /// Several ranks would share a GPU that was not named for each of them.
        case tooFewDevices
        case other
    }

    public let kind: Kind
    public let description: String

    public init(_ description: String, kind: Kind = .other) {
        self.kind = kind
        self.description = description
    }

    /// Describes an OpenCL call that did not return CL_SUCCESS.
    init(_ action: String, code: cl_int, details: String? = nil) {
        kind =
            switch code {
            case CL_MEM_OBJECT_ALLOCATION_FAILURE, CL_OUT_OF_RESOURCES, CL_OUT_OF_HOST_MEMORY: .outOfMemory
            case CL_DEVICE_NOT_AVAILABLE, CL_DEVICE_NOT_FOUND: .deviceNotFound
            default: .other
            }
        description =
            "\(action): OpenCL error \(ComputeError.name(code)) (\(code))\(details.map { "\n" + $0 } ?? "")"
    }

    private static func name(_ code: cl_int) -> String { names[code] ?? "unknown" }

    private static let names: [cl_int: String] = [
        -1: "CL_DEVICE_NOT_FOUND", -2: "CL_DEVICE_NOT_AVAILABLE", -3: "CL_COMPILER_NOT_AVAILABLE",
        -4: "CL_MEM_OBJECT_ALLOCATION_FAILURE", -5: "CL_OUT_OF_RESOURCES", -6: "CL_OUT_OF_HOST_MEMORY",
        -9: "CL_IMAGE_FORMAT_MISMATCH", -11: "CL_BUILD_PROGRAM_FAILURE", -12: "CL_MAP_FAILURE",
        -13: "CL_MISALIGNED_SUB_BUFFER_OFFSET", -14: "CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST",
        -30: "CL_INVALID_VALUE", -31: "CL_INVALID_DEVICE_TYPE", -32: "CL_INVALID_PLATFORM",
        -33: "CL_INVALID_DEVICE", -34: "CL_INVALID_CONTEXT", -36: "CL_INVALID_COMMAND_QUEUE",
        -38: "CL_INVALID_MEM_OBJECT", -42: "CL_INVALID_BINARY", -43: "CL_INVALID_BUILD_OPTIONS",
        -44: "CL_INVALID_PROGRAM", -45: "CL_INVALID_PROGRAM_EXECUTABLE", -46: "CL_INVALID_KERNEL_NAME",
        -48: "CL_INVALID_KERNEL", -49: "CL_INVALID_ARG_INDEX", -50: "CL_INVALID_ARG_VALUE",
        -51: "CL_INVALID_ARG_SIZE", -52: "CL_INVALID_KERNEL_ARGS", -53: "CL_INVALID_WORK_DIMENSION",
        -54: "CL_INVALID_WORK_GROUP_SIZE", -55: "CL_INVALID_WORK_ITEM_SIZE", -56: "CL_INVALID_GLOBAL_OFFSET",
        -57: "CL_INVALID_EVENT_WAIT_LIST", -58: "CL_INVALID_EVENT", -59: "CL_INVALID_OPERATION",
        -61: "CL_INVALID_BUFFER_SIZE", -63: "CL_INVALID_GLOBAL_WORK_SIZE", -1001: "CL_PLATFORM_NOT_FOUND_KHR",
    ]
}

/// Throws if an OpenCL call failed; `action` says what was tried.
@inline(__always) func check(_ code: cl_int, _ action: @autoclosure () -> String) throws {
    if code != CL_SUCCESS { throw ComputeError(action(), code: code) }
}
