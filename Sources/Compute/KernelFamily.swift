/// Names the devices that a kernel's body is shaped for, and the folder of Kernels/ that holds it.
public enum KernelBody: String, Sendable, CaseIterable {
    /// A work-item is one core's work: long loops over vectors, groups of one.
    case cpu
    /// A work-group shares local memory, and its work-items run side by side.
    case gpu
}

/// Says which bodies run: those for the device's kind, or one of them on any device.
public enum KernelChoice: String, Sendable, CaseIterable {
    case auto, cpu, gpu

    /// The bodies asked for; nil for those of the device's kind.
    public var body: KernelBody? { KernelBody(rawValue: rawValue) }
}

/// Names the makers of GPUs whose kernels have initial values of their own.
public enum DeviceVendor: String, Sendable, CaseIterable { case nvidia, amd, intel, other }

/// Holds what a family needs to know of a device to choose a body and constants.
public struct DeviceTraits: Sendable, Equatable {
    /// The bodies that run: by default those for the device's kind.
    public var body: KernelBody
    /// Floats in a vector register.
    public let floatVectorWidth: Int
    /// The maker of a GPU; `other` for CPUs.
    public let vendor: DeviceVendor
    /// Whether the compiler takes clang's `__builtin_prefetch`, as those of pocl and of Intel's runtime do.
    public let takesPrefetch: Bool
    /// Bytes of the largest buffer.
    public let largestBuffer: Int
    /// Bytes of the cache that the device reports; 0: unknown.
    public let cacheSize: Int

    public init(
        body: KernelBody, floatVectorWidth: Int, vendor: DeviceVendor = .other, takesPrefetch: Bool = false,
        largestBuffer: Int = .max, cacheSize: Int = 0
    ) {
        self.body = body
        self.floatVectorWidth = floatVectorWidth
        self.vendor = vendor
        self.takesPrefetch = takesPrefetch
        self.largestBuffer = largestBuffer
        self.cacheSize = cacheSize
    }

    /// Whether kernels ask for memory ahead, as those for CPUs do.
    var prefetches: Bool { body == .cpu && takesPrefetch }

    /// Whether there are 32 registers of 16 floats (AVX-512), and not 16 of 8 (AVX2).
    var hasWideVectors: Bool { floatVectorWidth >= 16 }

    /// The devices that kernels are written for, to check every program without having them all.
    public static let all =
        [
            DeviceTraits(body: .cpu, floatVectorWidth: 8, takesPrefetch: true),
            DeviceTraits(body: .cpu, floatVectorWidth: 16, takesPrefetch: true),
        ] + DeviceVendor.allCases.map { DeviceTraits(body: .gpu, floatVectorWidth: 1, vendor: $0) }
}

/// Describes the kernels of one file: its bodies for kinds of devices, its tuning constants and its launches.
///
/// Each stored property of type `TuningConstant` is a constant of the family. A function that two bodies have
/// takes the same arguments in both. The family answers what differs: constants, work-items and scratch
/// memory.
public protocol KernelFamily: Sendable {
    /// The name of the family's files, and the first word of its constants' keys.
    var name: String { get }
    /// Macros of the sizes that kernels and their launches share, and that nothing changes.
    var sizes: [String: Int] { get }
    /// Returns the same with sizes that follow from tuning constants.
    func sizes(_ tuning: Tuning) -> [String: Int]
    /// Macros that a caller chooses, not the tuning: each combination that a network can need.
    var variants: [[String: Int]] { get }
    /// Returns the combinations of those macros that a network can need with a tuning.
    func variants(_ tuning: Tuning) -> [[String: Int]]
    /// Returns what to change with a constant, so that all constants still fit each other.
    func changes(_ constant: TuningConstant, to value: Int) -> [String: Int]
    /// Checks constants that must fit each other.
    ///
    /// - Throws: `ComputeError` naming them.
    func check(_ tuning: Tuning) throws
}

extension KernelFamily {
    public var sizes: [String: Int] { [:] }
    public func sizes(_ tuning: Tuning) -> [String: Int] { sizes }
    public var variants: [[String: Int]] { [[:]] }
    public func variants(_ tuning: Tuning) -> [[String: Int]] { variants }
    public func changes(_ constant: TuningConstant, to value: Int) -> [String: Int] { [constant.key: value] }
    public func check(_ tuning: Tuning) throws {}

    public var constants: [TuningConstant] {
        Mirror(reflecting: self).children.compactMap { $0.value as? TuningConstant }
    }

    /// Returns the file that a device runs: of the body's folder, or else the shared one.
    ///
    /// - Returns: nil if devices of this kind do without the family
    func file(for body: KernelBody) -> String? {
        ["\(body.rawValue)/\(name).cl", "shared/\(name).cl"].first { Program.sources[$0] != nil }
    }

    /// Returns the program that a device needs for one variant; nil if it does without the family.
    func program(tuning: Tuning, variant: [String: Int]) -> Program.Key? {
        guard let file = file(for: tuning.device.body) else { return nil }
        let prefetch = ["PREFETCH": tuning.device.prefetches ? 1 : 0]
        let macros = [prefetch, tuning.macros(of: self), sizes(tuning), variant]
        return Program.Key(
            family: name, file: file, macros: macros.reduce([:]) { $0.merging($1) { $1 } })
    }
}
