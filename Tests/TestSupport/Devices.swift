import Compute
import Testing

/// Every device of this machine; suites take them as arguments, so they test a second OpenCL runtime too.
public let presentDevices = (try? DeviceDescription.all()) ?? []

/// Every device, and each CPU also with the host's side of a GPU, where waits, copies and memory differ.
public let deviceKinds =
    presentDevices
    + presentDevices.filter { $0.kind == .cpu }.map { description in
        var other = description
        other.kind = .gpu
        other.kernels = .cpu
        return other
    }

/// Every device with each body of the kernels, the CPU's once for each vector width that it is written for.
///
/// A machine with registers of 16 floats also tests what one with 8 runs, and a CPU tests what a GPU runs.
public let testDevices = presentDevices.flatMap { description in
    [(KernelBody.cpu, 8), (.cpu, 16), (.gpu, 1)].map { kernels, width in
        var variant = description
        variant.kernels = kernels
        variant.floatVectorWidth = width
        return variant
    }
}

extension DeviceDescription: CustomTestStringConvertible {
    public var testDescription: String {
        "opencl:\(number) \(name) as \(kind.rawValue), \(traits.body) bodies, vectors of \(floatVectorWidth)"
    }
}

/// Checks that there is a device: without one, tests that take a device run no case at all, and pass.
public func expectDevice(sourceLocation: SourceLocation = #_sourceLocation) throws {
    #expect(try !DeviceDescription.all().isEmpty, sourceLocation: sourceLocation)
}

/// Device memory that shows what a kernel leaves out and where it writes too far.
///
/// It is filled with NaN and followed by numbers that must not change.
public struct Guarded {
    public let buffer: Buffer
    private let count: Int
    private let seal: [Float] = (0..<64).map { 12_345 + Float($0) }

    public init(_ device: Device, count: Int, filledWith value: Float = .nan) throws {
        try self.init(device, [Float](repeating: value, count: count))
    }

    public init(_ device: Device, _ values: [Float]) throws {
        count = values.count
        buffer = try Buffer(device, values + seal)
    }

    /// Returns the contents, after a check of what follows them.
    public func values(sourceLocation: SourceLocation = #_sourceLocation) throws -> [Float] {
        let all: [Float] = try buffer.read(count + seal.count)
        #expect(Array(all[count...]) == seal, "a kernel wrote past the end", sourceLocation: sourceLocation)
        return Array(all[..<count])
    }
}
