import Compute
import Oracle
import Randomness
import TestSupport
import Testing

@testable import NeuralNet

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

    @Suite struct Presence { @Test func thereIsADevice() throws { try expectDevice() } }
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

/// A layer's passes on the device, as they are read back, with checks of what they must not change.
struct LayerPasses {
    var output: [Float]
    var inputGradient: [Float]?
    var parameterGradients: [[Float]]

    /// - Parameters:
    ///   - parameters: in torchvision's order
    ///   - needsInputGradient: false for a network's first layer
    init(
        _ layer: any Layer, input values: [Float], parameters: [[Float]] = [], outputGradient: [Float],
        batch: Int, maximumBatch: Int? = nil, needsInputGradient: Bool = true, on device: Device
    ) throws {
        let maximum = maximumBatch ?? batch
        let pass = Pass(batch: batch, training: true)
        let workspace = try Guarded(device, count: layer.workspaceByteCount(maximumBatch: maximum) / 4)
        try layer.prepare(
            weights: zip(layer.parameters, parameters).map { try Buffer(device, $0.stored($1)) },
            workspace: workspace.buffer, maximumBatch: maximum)
        let input = try Buffer(device, layer.inputShape.stored(values))
        let output = try Guarded(device, count: batch * layer.outputShape.storedCount)
        try layer.forward(input: input, output: output.buffer, pass: pass)
        let inputGradient =
            needsInputGradient ? try Guarded(device, count: batch * layer.inputShape.storedCount) : nil
        let gradients = try layer.parameters.map { try Guarded(device, count: $0.storedCount) }
        let outputGradient = try Guarded(device, layer.outputShape.stored(outputGradient))
        try layer.backward(
            input: input, output: output.buffer, outputGradient: outputGradient.buffer,
            inputGradient: inputGradient?.buffer, parameterGradients: gradients.map(\.buffer), pass: pass)
        _ = try workspace.values()
        _ = try outputGradient.values()
        self.output = layer.outputShape.unstored(try output.values())
        self.inputGradient = try inputGradient.map { layer.inputShape.unstored(try $0.values()) }
        parameterGradients = try zip(layer.parameters, gradients).map { $0.checkedExport(try $1.values()) }
    }
}

extension SoftmaxCrossEntropy {
    func totals(step: Int) throws -> Totals {
        var totals = Totals(loss: .nan, top1: .nan, top5: .nan, weight: .nan)
        try withUnsafeMutableBytes(of: &totals) { try readTotals(step: step, into: $0).wait() }
        return totals
    }
}

extension [Float] { var doubles: [Double] { map { Double($0) } } }

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
