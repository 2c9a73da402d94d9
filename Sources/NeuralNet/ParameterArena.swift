import Basics
import Compute

/// Device memory for one float array per parameter (weights, gradients or moments) in few large buffers.
///
/// A buffer stays within the device's largest one, and each parameter starts where the device allows a
/// sub-buffer to start.
public final class ParameterArena {
    public let buffers: [Buffer]
    /// Each parameter's array, by the parameter's index in the network.
    private let slices: [Int: Buffer]

    /// - Parameters:
    ///   - parameters: in the network's order
    ///   - limits: the device whose limits decide the arrangement, by default `device`. Ranks that exchange
    ///     gradients must all pass the same.
    ///   - allocate: makes a buffer of this many bytes, for example in memory that other ranks can read
    /// - Throws: `ComputeError` that names a parameter larger than the largest buffer.
    public init(
        _ parameters: [Parameter], device: Device, limits: DeviceDescription? = nil,
        allocate: (Int) throws -> Buffer
    ) throws {
        let limits = limits ?? device.description
        if let large = parameters.first(where: { $0.storedCount * 4 > limits.largestBuffer }) {
            throw ComputeError(
                "\(large.name) takes \(large.storedCount * 4) bytes, more than the largest buffer that "
                    + "\(limits.name) allows (\(limits.largestBuffer))", kind: .parameterTooLarge)
        }
        let arrangement = ParameterArena.arrange(parameters.map(\.storedCount), device: limits)
        let buffers = try arrangement.bufferSizes.map(allocate)
        self.buffers = buffers
        slices = try Dictionary(
            uniqueKeysWithValues: zip(arrangement.starts, parameters).map { start, parameter in
                // A slice has at least a float, also that of a parameter of which the device holds nothing.
                let slice = try buffers[start.buffer].slice(
                    byteOffset: start.byteOffset, byteCount: max(1, parameter.storedCount) * 4)
                return (parameter.index, slice)
            })
    }

    /// Makes one arena of two that hold different parameters.
    public init(_ one: ParameterArena, _ other: ParameterArena) {
        buffers = one.buffers + other.buffers
        slices = one.slices.merging(other.slices) { first, _ in first }
    }

    public convenience init(_ parameters: [Parameter], device: Device) throws {
        try self.init(parameters, device: device) { try Buffer(device, byteCount: $0) }
    }

    public subscript(parameter: Parameter) -> Buffer {
        guard let slice = slices[parameter.index] else {
            preconditionFailure("\(parameter.name) is not in this arena")
        }
        return slice
    }

    /// Fills the buffers with zeros, the gaps between parameters too.
    public func clear() throws { for buffer in buffers { try buffer.clear() } }

    /// Returns the bytes of each buffer of an arena for `parameters`.
    public static func bufferSizes(_ parameters: [Parameter], device: DeviceDescription) -> [Int] {
        arrange(parameters.map(\.storedCount), device: device).bufferSizes
    }

    /// Returns where each parameter's array starts: the buffer's index, and bytes in it.
    public static func starts(_ parameters: [Parameter], device: DeviceDescription) -> [(
        buffer: Int, byteOffset: Int
    )] { arrange(parameters.map(\.storedCount), device: device).starts }

    /// Arranges arrays of `floatCounts` floats in buffers; one larger than the largest has its own.
    static func arrange(_ floatCounts: [Int], device: DeviceDescription) -> (
        starts: [(buffer: Int, byteOffset: Int)], bufferSizes: [Int]
    ) {
        let alignment = max(128, device.baseAlignment)
        var starts: [(buffer: Int, byteOffset: Int)] = []
        var sizes: [Int] = []
        for count in floatCounts {
            let bytes = (max(1, count) * 4).roundedUp(to: alignment)
            let used = sizes.last ?? 0
            if sizes.isEmpty || (used > 0 && used + bytes > device.largestBuffer) { sizes.append(0) }
            starts.append((sizes.count - 1, sizes[sizes.count - 1]))
            sizes[sizes.count - 1] += bytes
        }
        return (starts, sizes)
    }
}
