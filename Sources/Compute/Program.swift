import Basics
import COpenCL
import Foundation
import Kernels

/// Holds one embedded OpenCL C file, compiled for one device with one set of macros.
public final class Program {
    /// Names what is compiled: a file of Kernels/ with its macros.
    public struct Key: Hashable, Sendable {
        /// The kernel family's name.
        public let family: String
        /// The path below Kernels/.
        public let file: String
        let macros: [String: Int]

        /// The compiler's options, without fast-math: results must not depend on the runtime's idea of it.
        public var options: String {
            (["-cl-std=CL1.2"] + macros.sorted { $0.key < $1.key }.map { "-D\($0.key)=\($0.value)" }).joined(
                separator: " ")
        }
    }

    let handle: cl_program
    let file: String
    /// Whether the disk's cache had it.
    let isFromCache: Bool

    /// The embedded files by their paths below `Kernels/`.
    static let sources: [String: String] = {
        let list = UnsafeBufferPointer(start: kernel_source_list(), count: kernel_source_count())
        return Dictionary(
            uniqueKeysWithValues: list.map { (String(cString: $0.name), String(cString: $0.text)) })
    }()

    /// Returns a file's text with each header, and those that it includes, in place of its `#include` line.
    ///
    /// The compiler has no folder to look in.
    private static func text(of file: String) throws -> String {
        guard let source = sources[file] else { throw ComputeError("no embedded kernel file \(file)") }
        var lines = ["#line 1 \"\(file)\""]
        for (index, line) in source.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            if line.hasPrefix("#include \"") {
                let header = "shared/" + line.dropFirst(10).prefix { $0 != "\"" }
                lines += [try text(of: header), "#line \(index + 2) \"\(file)\""]
            } else {
                lines.append(String(line))
            }
        }
        return lines.joined(separator: "\n")
    }

    init(
        _ key: Key, context: cl_context, device: cl_device_id,
        description: DeviceDescription, cacheDirectory: String
    ) throws {
        let source = try Program.text(of: key.file)
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

    /// Returns the names of the program's kernels.
    func kernelNames() throws -> [String] {
        var size = 0
        let name = cl_program_info(CL_PROGRAM_KERNEL_NAMES)
        try check(clGetProgramInfo(handle, name, 0, nil, &size), "asking \(file) for its kernels")
        var bytes = [UInt8](repeating: 0, count: size)
        try check(clGetProgramInfo(handle, name, size, &bytes, nil), "asking \(file) for its kernels")
        return String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self).split(separator: ";").map {
            String($0)
        }
    }

    /// Compiles without warnings, whose number pocl prints on the console; tools/check_kernels shows them.
    private static func build(
        source: String, key: Key, context: cl_context, device: cl_device_id, description: DeviceDescription,
        moreOptions: String = ""
    ) throws -> cl_program {
        var code: cl_int = 0
        let program = source.withCString { text in
            var text: UnsafePointer<CChar>? = text
            return clCreateProgramWithSource(context, 1, &text, nil, &code)
        }
        guard let program else { throw ComputeError("handing \(key.file) to the compiler", code: code) }
        var handle: cl_device_id? = device
        code = clBuildProgram(program, 1, &handle, key.options + " -w" + moreOptions, nil, nil)
        guard code == CL_SUCCESS else {
            defer { clReleaseProgram(program) }
            if description.platform.hasPrefix("Portable"), let problem = InstalledRuntimes.cacheProblem() {
                throw ComputeError(
                    "compiling \(key.file) failed: pocl's kernel cache \(problem)", kind: .unwritableCache)
            }
            throw ComputeError(
                "compiling \(key.file) (\(key.options)) for \(description.name)", code: code,
                details: log(of: program, device: device))
        }
        return program
    }

    private static func log(of program: cl_program, device: cl_device_id) -> String {
        var size = 0
        clGetProgramBuildInfo(program, device, cl_program_build_info(CL_PROGRAM_BUILD_LOG), 0, nil, &size)
        var log = [UInt8](repeating: 0, count: size)
        clGetProgramBuildInfo(program, device, cl_program_build_info(CL_PROGRAM_BUILD_LOG), size, &log, nil)
        return String(decoding: log.prefix { $0 != 0 }, as: UTF8.self)
    }

    /// Compiles a program, without the cache, and returns what the compiler says.
    static func log(of key: Key, context: cl_context, device: cl_device_id, description: DeviceDescription)
        throws -> String
    {
        let isNVIDIA = description.platform.hasPrefix("NVIDIA")
        let program = try build(
            source: text(of: key.file), key: key, context: context, device: device, description: description,
            moreOptions: isNVIDIA ? " -cl-nv-verbose" : "")
        defer { clReleaseProgram(program) }
        return log(of: program, device: device)
    }

    /// Returns nil if a runtime that was updated refuses an old binary; the caller then compiles the source.
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

/// Keeps compiled programs on disk, by source, options, device and driver; a failure only costs time.
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
        path = directory + "/" + key.family + "-" + String(repeating: "0", count: 16 - name.count) + name
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
