/// Names the folder of Kernels/ that holds a body, by the devices that it is shaped for.
public enum KernelBody: String, Sendable { case cpu, gpu, shared }

/// Holds what a family needs to know of a device to choose a body and constants.
public struct DeviceTraits: Sendable, Equatable {
    public let kind: DeviceDescription.Kind
    /// Floats in a vector register.
    public let floatVectorWidth: Int

    /// Whether there are 32 registers of 16 floats (AVX-512), and not 16 of 8 (AVX2).
    var hasWideVectors: Bool { floatVectorWidth >= 16 }

    /// The devices that kernels are written for, to check every program without having them all.
    public static let all = [DeviceDescription.Kind.cpu, .gpu].flatMap { kind in
        [8, 16].map { DeviceTraits(kind: kind, floatVectorWidth: $0) }
    }
}

/// Describes the kernels of one file: its bodies for kinds of devices, its tuning constants and its launches.
///
/// Each stored property of type `TuningConstant` is a constant of the family. Bodies have the same functions
/// with the same arguments. The family answers what differs: constants, work-items and scratch memory.
public protocol KernelFamily: Sendable {
    /// The name of the family's files, and the first word of its constants' keys.
    var name: String { get }
    /// Macros that a caller chooses, not the tuning: each combination that a network can need.
    var variants: [[String: Int]] { get }
    /// Returns the body that a device runs.
    func body(for device: DeviceTraits) -> KernelBody
    /// Checks constants that must fit each other.
    ///
    /// - Throws: `ComputeError` naming them.
    func check(_ tuning: Tuning) throws
}

extension KernelFamily {
    public var variants: [[String: Int]] { [[:]] }
    public func body(for device: DeviceTraits) -> KernelBody { .shared }
    public func check(_ tuning: Tuning) throws {}

    public var constants: [TuningConstant] {
        Mirror(reflecting: self).children.compactMap { $0.value as? TuningConstant }
    }

    /// Returns the program that a device needs for one variant.
    func program(for device: DeviceTraits, tuning: Tuning, variant: [String: Int]) -> Program.Key {
        Program.Key(
            family: name, file: "\(body(for: device).rawValue)/\(name).cl",
            macros: tuning.macros(of: self).merging(variant) { $1 })
    }
}

/// Lists the kernel families.
public enum KernelFamilies {
    public static let augment = AugmentFamily()
    public static let convolution = ConvolutionFamily()
    public static let fullyConnected = FullyConnectedFamily()
    public static let gemm = GEMMFamily()
    public static let optimizer = OptimizerFamily()
    public static let peak = PeakFamily()
    public static let winograd = WinogradFamily()

    private static let tuned: [any KernelFamily] = [
        augment, convolution, fullyConnected, gemm, optimizer, peak, PoolingFamily(), winograd,
    ]

    /// Every family: those above, and each shared file that needs no constants.
    public static let all: [any KernelFamily] = {
        let known = Set(tuned.map(\.name))
        let shared = Program.sources.keys.sorted().filter { $0.hasPrefix("shared/") && $0.hasSuffix(".cl") }
        let names = shared.map { String($0.dropFirst("shared/".count).dropLast(".cl".count)) }
        return tuned + names.filter { !known.contains($0) }.map { PlainFamily(name: $0) }
    }()

    static func named(_ name: String) throws -> any KernelFamily {
        guard let family = all.first(where: { $0.name == name }) else {
            throw ComputeError(
                "no kernel family named \(name); there are \(all.map(\.name).joined(separator: ", "))")
        }
        return family
    }

    /// Returns every program that a network can need on a device.
    public static func programs(for device: DeviceTraits, tuning: Tuning) -> [Program.Key] {
        all.flatMap { family in
            family.variants.map { family.program(for: device, tuning: tuning, variant: $0) }
        }
    }
}
