import Foundation
import NeuralNet
import Oracle
import Randomness
import Testing

@testable import Compute

/// Every device here, once for each vector width that kernels are written for: a machine with registers of 16
/// floats also tests what one with 8 will run. Suites take it as their argument, so a second OpenCL runtime
/// is tested by being visible.
let testDevices = ((try? DeviceDescription.all()) ?? []).flatMap { description in
    [8, 16].map { width in
        var variant = description
        variant.floatVectorWidth = width
        return variant
    }
}

extension DeviceDescription: CustomTestStringConvertible {
    public var testDescription: String { "opencl:\(number) \(name), vectors of \(floatVectorWidth)" }
}

/// The suites that use devices: one test at a time, on devices that are opened once, since opening one loads
/// all its programs.
@Suite(.serialized) enum OnDevices {
    nonisolated(unsafe) private static var opened: [String: Device] = [:]

    static func open(_ description: DeviceDescription) throws -> Device {
        if let device = opened[description.testDescription] { return device }
        let device = try Device(description)
        opened[description.testDescription] = device
        return device
    }

    @Suite struct Presence {
        @Test func thereIsADevice() throws {
            // Without one every test that takes a device would run no case at all, and pass.
            #expect(try !DeviceDescription.all().isEmpty)
        }
    }
}

/// Random float32 numbers that the oracle takes in double precision: the same values on both sides.
struct TestNumbers {
    private var random: Philox

    init(_ seed: Int) { random = Philox(seed: UInt64(seed), purpose: .benchmark) }

    mutating func floats(_ count: Int, in range: ClosedRange<Float> = -1...1) -> [Float] {
        (0..<count).map { _ in random.uniform(in: range) }
    }

    mutating func integers(_ count: Int, below bound: Int) -> [Int] {
        (0..<count).map { _ in random.integer(below: bound) }
    }
}

extension [Float] { var doubles: [Double] { map { Double($0) } } }

/// The largest error over the root mean square of the exact values; infinite where anything is not a number
/// or the lengths differ.
func relativeError(_ values: [Float], _ exact: [Double]) -> Double {
    guard values.count == exact.count else { return .infinity }
    let square = exact.reduce(0) { $0 + $1 * $1 } / Double(max(1, exact.count))
    var largest = 0.0
    for (value, exact) in zip(values, exact) {
        let error = abs(Double(value) - exact)
        if !error.isFinite { return .infinity }
        largest = max(largest, error)
    }
    return square > 0 ? largest / square.squareRoot() : largest
}

/// Device memory that shows what a kernel leaves out and where it goes too far: filled with NaN, and followed
/// by numbers that must stay.
struct Guarded {
    let buffer: Buffer
    private let count: Int
    private let seal: [Float] = (0..<64).map { 12_345 + Float($0) }

    init(_ device: Device, count: Int, filledWith value: Float = .nan) throws {
        try self.init(device, [Float](repeating: value, count: count))
    }

    init(_ device: Device, _ values: [Float]) throws {
        count = values.count
        buffer = try Buffer(device, values + seal)
    }

    /// The contents, after a check of what follows them.
    func values(sourceLocation: SourceLocation = #_sourceLocation) throws -> [Float] {
        let all: [Float] = try buffer.read(count + seal.count)
        #expect(Array(all[count...]) == seal, "a kernel wrote past the end", sourceLocation: sourceLocation)
        return Array(all[..<count])
    }
}

extension FeatureShape {
    func oracle(batch: Int) -> Oracle.Shape {
        Oracle.Shape(batch: batch, height: height, width: width, channels: channels)
    }

    /// NHWC without padding → as stored, with zeros in the padding lanes.
    func stored(_ values: [Float], padding: Float = 0) -> [Float] {
        var result: [Float] = []
        result.reserveCapacity(values.count / channels * storedChannels)
        for pixel in 0..<values.count / channels {
            result += values[pixel * channels..<(pixel + 1) * channels]
            result += [Float](repeating: padding, count: storedChannels - channels)
        }
        return result
    }

    /// As stored → NHWC without padding; the padding lanes must hold zeros.
    func unstored(_ values: [Float], sourceLocation: SourceLocation = #_sourceLocation) -> [Float] {
        let pixels = values.count / storedChannels
        let result = (0..<pixels).flatMap { values[$0 * storedChannels..<$0 * storedChannels + channels] }
        let padding = (0..<pixels).flatMap {
            values[$0 * storedChannels + channels..<($0 + 1) * storedChannels]
        }
        #expect(
            padding.allSatisfy { $0 == 0 }, "padding lanes that are not zero", sourceLocation: sourceLocation)
        return result
    }
}

extension Parameter {
    /// From the device's order to torchvision's; the padding lanes must hold zeros.
    func checkedExport(_ values: [Float], sourceLocation: SourceLocation = #_sourceLocation) -> [Float] {
        let result = exported(values)
        #expect(
            stored(result) == values || result.contains { $0.isNaN }, "padding lanes that are not zero",
            sourceLocation: sourceLocation)
        return result
    }
}
