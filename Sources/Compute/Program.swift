import Basics
import COpenCL
import Foundation
import Kernels

/// One embedded OpenCL C file compiled for one device with one set of tuning constants.
public final class Program {
    struct Key: Hashable {
        let file: String
        let constants: [String: Int]

        /// The compiler's options. No fast-math: results must not depend on the runtime's idea of it.
        var options: String {
            (["-cl-std=CL1.2"] + constants.sorted { $0.key < $1.key }.map { "-D \($0.key)=\($0.value)" })
                .joined(separator: " ")
        }
    }

    let handle: cl_program
    let file: String
    /// Whether the disk's cache had it.
    let isFromCache: Bool

    /// Names of all embedded files.
    public static var files: [String] { sources.keys.sorted() }

    private static let sources: [String: String] = {
        let list = UnsafeBufferPointer(start: kernel_source_list(), count: kernel_source_count())
        return Dictionary(
            uniqueKeysWithValues: list.map { (String(cString: $0.name), String(cString: $0.text)) })
    }()

    init(
        _ key: Key, context: cl_context, device: cl_device_id,
        description: DeviceDescription, cacheDirectory: String
    ) throws {
        guard let source = Program.sources[key.file] else {
            throw ComputeError(
                "no kernel file named \(key.file); embedded are \(Program.files.joined(separator: ", "))")
        }
        file = key.file
        let cache = ProgramCache(
            key: key, source: source, description: description, directory: cacheDirectory)
        if let binary = cache.load(),
            let program = Program.build(binary: binary, context: context, device: device)
        {
            handle = program
            isFromCache = true
            return
        }
        isFromCache = false
        handle = try Program.build(
            source: source, key: key, context: context, device: device, description: description)
        if let binary = Program.binary(of: handle) { cache.store(binary) }
    }

    deinit { clReleaseProgram(handle) }

    private static func build(
        source: String, key: Key, context: cl_context, device: cl_device_id, description: DeviceDescription
    ) throws -> cl_program {
        var code: cl_int = 0
        let program = source.withCString { text in
            var text: UnsafePointer<CChar>? = text
            return clCreateProgramWithSource(context, 1, &text, nil, &code)
        }
        guard let program else { throw ComputeError("handing \(key.file) to the compiler", code: code) }
        var handle: cl_device_id? = device
        code = clBuildProgram(program, 1, &handle, key.options, nil, nil)
        guard code == CL_SUCCESS else {
            defer { clReleaseProgram(program) }
            var size = 0
            clGetProgramBuildInfo(program, device, cl_program_build_info(CL_PROGRAM_BUILD_LOG), 0, nil, &size)
            var log = [UInt8](repeating: 0, count: size)
            clGetProgramBuildInfo(
                program, device, cl_program_build_info(CL_PROGRAM_BUILD_LOG), size, &log, nil)
            let text = String(decoding: log.prefix { $0 != 0 }, as: UTF8.self)
            throw ComputeError(
                "compiling \(key.file) (\(key.options)) for \(description.name)",
                code: code, details: text)
        }
        return program
    }

    /// A runtime that was updated may refuse an old binary; the caller compiles the source then.
    private static func build(binary: [UInt8], context: cl_context, device: cl_device_id) -> cl_program? {
        var code: cl_int = 0
        var handle: cl_device_id? = device
        let program = binary.withUnsafeBufferPointer { bytes in
            var size = bytes.count
            var base = bytes.baseAddress
            var status: cl_int = 0
            return clCreateProgramWithBinary(context, 1, &handle, &size, &base, &status, &code)
        }
        guard let program else { return nil }
        guard code == CL_SUCCESS, clBuildProgram(program, 1, &handle, nil, nil, nil) == CL_SUCCESS else {
            clReleaseProgram(program)
            return nil
        }
        return program
    }

    private static func binary(of program: cl_program) -> [UInt8]? {
        var size = 0
        guard
            clGetProgramInfo(
                program, cl_program_info(CL_PROGRAM_BINARY_SIZES), MemoryLayout<Int>.size, &size, nil)
                == CL_SUCCESS, size > 0
        else { return nil }
        var bytes = [UInt8](repeating: 0, count: size)
        let code = bytes.withUnsafeMutableBufferPointer { buffer in
            var base = buffer.baseAddress
            return clGetProgramInfo(
                program, cl_program_info(CL_PROGRAM_BINARIES),
                MemoryLayout<UnsafeMutablePointer<UInt8>?>.size, &base, nil)
        }
        return code == CL_SUCCESS ? bytes : nil
    }
}

/// Compiled programs on disk, by source, options, device and driver. A cache that cannot be read or written
/// only costs time.
struct ProgramCache {
    private let identity: [UInt8]
    private let directory: String
    private let path: String

    init(key: Program.Key, source: String, description: DeviceDescription, directory: String) {
        let parts = [
            description.platform, description.name, description.driver, key.file, key.options, source,
        ]
        identity = Array(parts.joined(separator: "\u{0}").utf8) + [0]
        // The whole identity stands in the file too, so a collision of names is only a miss.
        let name = String(ProgramCache.hash(identity), radix: 16)
        self.directory = directory
        path = directory + "/" + key.file + "-" + String(repeating: "0", count: 16 - name.count) + name
    }

    /// `DEEP_IMAGE_CACHE`, or `deep-image` in the user's cache folder.
    static var defaultDirectory: String {
        let environment = ProcessInfo.processInfo.environment
        if let directory = environment["DEEP_IMAGE_CACHE"], !directory.isEmpty { return directory }
        if let caches = environment["XDG_CACHE_HOME"], !caches.isEmpty { return caches + "/deep-image" }
        return NSHomeDirectory() + "/.cache/deep-image"
    }

    private static func hash(_ bytes: [UInt8]) -> UInt64 {
        var hash = FNVHash()
        hash.add(bytes)
        return hash.value
    }

    private static func checksum(_ binary: [UInt8]) -> [UInt8] {
        let hash = hash(binary)
        return (0..<8).map { UInt8(truncatingIfNeeded: hash >> (8 * $0)) }
    }

    /// The file is identity, checksum, binary: a runtime may not notice that a binary is damaged, and compute
    /// nonsense with it.
    func load() -> [UInt8]? {
        guard let data = FileManager.default.contents(atPath: path), data.starts(with: identity) else {
            return nil
        }
        let rest = [UInt8](data.dropFirst(identity.count))
        let binary = Array(rest.dropFirst(8))
        return rest.starts(with: ProgramCache.checksum(binary)) ? binary : nil
    }

    func store(_ binary: [UInt8]) {
        try? FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        // Written whole under another name and renamed, so that a process beside this one never reads half a
        // file.
        try? Data(identity + ProgramCache.checksum(binary) + binary).write(
            to: URL(fileURLWithPath: path), options: .atomic)
    }
}
