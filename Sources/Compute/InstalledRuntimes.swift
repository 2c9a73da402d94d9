import Basics
import Foundation

/// What the system says about OpenCL runtimes, for errors when a runtime itself says nothing.
enum InstalledRuntimes {
    private static var environment: [String: String] { ProcessInfo.processInfo.environment }

    /// The names of the registered runtimes, such as `pocl.icd`.
    static var names: [String] {
        let place = environment["OCL_ICD_VENDORS"] ?? "/etc/OpenCL/vendors"
        guard let files = try? FileManager.default.contentsOfDirectory(atPath: place) else {
            return place.hasSuffix(".icd") ? [(place as NSString).lastPathComponent] : []
        }
        return files.filter { $0.hasSuffix(".icd") }.sorted()
    }

    private static var hasPocl: Bool { names.contains { $0.contains("pocl") } }

    /// The threads that pocl starts for the cores.
    private static var poclThreads: Int {
        let limits = ["POCL_MAX_PTHREAD_COUNT", "POCL_CPU_MAX_CU_COUNT"].compactMap {
            environment[$0].flatMap { Int($0) }.flatMap { $0 > 0 ? $0 : nil }
        }
        let cores = ProcessInfo.processInfo.activeProcessorCount
        return min(cores, limits.min() ?? cores)
    }

    /// Bytes of address space that a small network takes with pocl; 0 without pocl.
    ///
    /// Measured with pocl 3.1: 530 MiB to list devices and 830 to train, on two cores.
    static var addressSpace: Int { hasPocl ? 640 << 20 + poclThreads * AddressSpace.perThread : 0 }

    /// Bytes of address space that are taken after the devices have been listed, besides a network.
    static let addressSpaceOfCompiler = 384 << 20

    /// Prevents what pocl would end the process for: an empty `POCL_CACHE_DIR`, too few threads, or too
    /// little address space.
    ///
    /// - Throws: `ThreadLimit`, `ComputeError`
    static func prepare() throws {
        guard hasPocl else { return }
        // pocl ends the process over a variable that is set to nothing.
        if environment["POCL_CACHE_DIR"] == "" { unsetenv("POCL_CACHE_DIR") }
        if let limit = AddressSpace.limit, let text = AddressSpace.limitText {
            let needed = AddressSpace.used + addressSpace
            guard needed <= limit else {
                throw ComputeError(
                    "pocl, the OpenCL runtime, needs about \(needed >> 20) MiB of address space, and \(text)",
                    kind: .limitedMemory)
            }
        }
        // Beside the threads for the cores there must be room for pocl's linker, and for a reader.
        try SystemThread.requireRoom(for: poclThreads + 4, "OpenCL runtime")
    }

    /// Returns why there is no device, as far as that can be found out.
    static func reasonForNoDevice() -> ComputeError {
        if hasPocl, let problem = cacheProblem() {
            return ComputeError(
                "no OpenCL device found: pocl is installed, but its kernel cache \(problem)",
                kind: .unwritableCache)
        }
        guard !names.isEmpty else { return .noDevice }
        if let limit = AddressSpace.limit, limit < 4 << 30, let text = AddressSpace.limitText {
            return ComputeError(
                "no OpenCL device found: \(names.listed(atMost: 3)) is installed, but \(text)",
                kind: .limitedMemory)
        }
        return ComputeError(
            "no OpenCL device found, although \(names.listed(atMost: 3)) is installed", kind: .silentRuntime)
    }

    /// Returns what is wrong with the folder in which pocl keeps its kernels; nil if nothing is.
    static func cacheProblem() -> String? {
        func set(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
        let folder =
            set("POCL_CACHE_DIR") ?? set("XDG_CACHE_HOME").map { $0 + "/pocl/kcache" }
            ?? set("HOME").map { $0 + "/.cache/pocl/kcache" } ?? "/tmp/pocl/kcache"
        do { try Folder.create(folder) } catch { return "\(folder) cannot be made (\(error.found))" }
        guard access(folder, W_OK) == 0 else {
            return "\(folder) cannot be written (\(String(cString: strerror(errno))))"
        }
        return nil
    }
}
