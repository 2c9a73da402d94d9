import Compute

/// Device memory for one float array a parameter — weights, gradients or velocities — in few large buffers.
///
/// A slab stays below the device's largest buffer, and each parameter starts where the device allows a
/// sub-buffer to start.
public final class ParameterArena {
    public let slabs: [Buffer]
    private let slices: [Buffer]
    /// The first parameter's place in the network.
    private let firstIndex: Int

    /// - Parameters:
    ///   - parameters: neighbours in the network, in its order
    ///   - layout: the device whose limits the places follow, where that is not `device`: of ranks that
    ///     exchange gradients all have the same
    ///   - allocate: makes a slab of so many bytes; a way to place gradients in memory that others can see.
    public init(
        _ parameters: [Parameter], device: Device, layout: DeviceDescription? = nil,
        allocate: (Int) throws -> Buffer
    ) throws {
        let places = ParameterArena.places(
            parameters.map(\.storedCount), device: layout ?? device.description)
        let slabs = try places.slabSizes.map(allocate)
        self.slabs = slabs
        firstIndex = parameters.first?.index ?? 0
        slices = try zip(places.starts, parameters).map { start, parameter in
            try slabs[start.slab].slice(byteOffset: start.byteOffset, byteCount: parameter.storedCount * 4)
        }
    }

    public convenience init(_ parameters: [Parameter], device: Device) throws {
        try self.init(parameters, device: device) { try Buffer(device, byteCount: $0) }
    }

    public subscript(parameter: Parameter) -> Buffer { slices[parameter.index - firstIndex] }

    /// Zeros everywhere, the lanes between parameters too.
    public func clear() throws { for slab in slabs { try slab.clear() } }

    /// Bytes of each slab of an arena for `parameters`.
    public static func slabSizes(_ parameters: [Parameter], device: DeviceDescription) -> [Int] {
        places(parameters.map(\.storedCount), device: device).slabSizes
    }

    /// Where each parameter's array begins: the slab, and bytes in it.
    public static func places(_ parameters: [Parameter], device: DeviceDescription) -> [(
        slab: Int, byteOffset: Int
    )] { places(parameters.map(\.storedCount), device: device).starts }

    /// Where each array of `floatCounts` floats lies, and the bytes of each slab.
    static func places(_ floatCounts: [Int], device: DeviceDescription) -> (
        starts: [(slab: Int, byteOffset: Int)], slabSizes: [Int]
    ) {
        let alignment = max(128, device.baseAlignment)
        var starts: [(slab: Int, byteOffset: Int)] = []
        var sizes: [Int] = []
        for count in floatCounts {
            let bytes = (count * 4 + alignment - 1) / alignment * alignment
            if sizes.isEmpty
                || (sizes[sizes.count - 1] > 0 && sizes[sizes.count - 1] + bytes > device.largestBuffer)
            {
                sizes.append(0)
            }
            starts.append((sizes.count - 1, sizes[sizes.count - 1]))
            sizes[sizes.count - 1] += bytes
        }
        return (starts, sizes)
    }
}
