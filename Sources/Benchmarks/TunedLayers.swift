import Basics
import Compute
import Foundation
import NeuralNet
import Randomness

/// Runs the layers of a network that take the most time, forward and backward, for `Tuner`.
public final class TunedLayers {
    /// A layer that the network has once or several times.
    struct Layer {
        let spec: any LayerSpec
        let input: FeatureShape
        let name: String
        var count: Int
        let isFirst: Bool
        let operations: Double
        var batch = 1
    }

    private let description: DeviceDescription
    private let initial: Tuning
    private var layers: [Layer]
    private var device: Device?
    /// The scratch memory of all trials: slices may keep a buffer's memory for good (`Buffer.slice`).
    private var workspace: Buffer?
    /// The time that a run of one layer should take at least; the batch grows until it does.
    private static let wantedSeconds = 4e-3
    private static let largestBatch = 128

    /// Chooses up to three convolutions of different shapes, one fully connected layer, and their batches.
    public init(_ architecture: Architecture, imageSize: Int, classes: Int, on description: DeviceDescription)
        throws
    {
        self.description = description
        initial = Tuning(for: description.traits)
        layers = try TunedLayers.choose(
            NetworkPlan(
                architecture, imageSize: imageSize, classes: classes,
                options: .init(maximumBatch: 1, training: true), device: description, tuning: initial))
        for index in layers.indices { try chooseBatch(index) }
    }

    private static func choose(_ plan: NetworkPlan) -> [Layer] {
        var found: [Layer] = []
        for (index, layer) in plan.layers.enumerated() where !layer.parameters.isEmpty {
            let same = found.firstIndex {
                $0.name == layer.name && $0.input == layer.input && $0.isFirst == (index == 0)
            }
            if let same {
                found[same].count += 1
            } else {
                found.append(
                    Layer(
                        spec: layer.spec, input: layer.input, name: layer.name, count: 1, isFirst: index == 0,
                        operations: layer.operations(batch: 1)))
            }
        }
        let sorted = found.sorted { Double($0.count) * $0.operations > Double($1.count) * $1.operations }
        let convolutions = sorted.filter { !$0.spec.isClassifier }.prefix(3)
        return Array(convolutions + sorted.filter(\.spec.isClassifier).prefix(1))
    }

    /// A line for each layer, such as `2 × conv 256→256, 56×56×256, batch 16`.
    public var descriptions: [String] {
        layers.map { "\($0.count) × \($0.name), \($0.input), batch \($0.batch)" }
    }

    /// Doubles a layer's batch until a run takes long enough to be timed.
    private func chooseBatch(_ index: Int) throws {
        while true {
            let seconds = try run(layers[index], initial).seconds
            let larger = 2 * layers[index].batch
            let plan = plan(layers[index], initial)
            let floats = larger * (plan.input.storedCount + plan.output.storedCount)
            let fits = 4 * floats <= min(description.largestBuffer, description.globalMemory / 8)
            guard seconds < TunedLayers.wantedSeconds, larger <= TunedLayers.largestBatch, fits else {
                return
            }
            layers[index].batch = larger
        }
    }

    /// Runs every layer with a tuning.
    ///
    /// - Returns: the sum of the layers' median times, each as often as the network has it
    public func measure(_ tuning: Tuning) throws -> Tuner.Trial {
        var hash = FNVHash()
        var seconds = 0.0
        for layer in layers {
            let trial = try run(layer, tuning)
            hash.add(trial.digest)
            seconds += Double(layer.count) * trial.seconds
        }
        return Tuner.Trial(seconds: seconds, digest: hash.value)
    }

    private func plan(_ layer: Layer, _ tuning: Tuning) -> LayerPlan {
        LayerPlan(layer.spec, input: layer.input, device: description, tuning: tuning)
    }

    private func run(_ layer: Layer, _ tuning: Tuning) throws -> Tuner.Trial {
        do {
            let device = try self.device ?? Device(description)
            self.device = device
            device.tuning = tuning
            return try run(layer, plan(layer, tuning), on: device)
        } catch {
            // After some errors a context is of no more use.
            device = nil
            workspace = nil
            throw error
        }
    }

    private func run(_ layer: Layer, _ plan: LayerPlan, on device: Device) throws -> Tuner.Trial {
        let batch = layer.batch
        let numbers = try Numbers(device)
        let made = try plan.makeLayer(on: device)
        let weights = try made.parameters.map { try numbers.buffer($0.storedCount) }
        let input = try numbers.buffer(batch * plan.input.storedCount)
        let outputGradient = try numbers.buffer(batch * plan.output.storedCount)
        let workspace = try workspace(of: made.workspaceByteCount(maximumBatch: batch), on: device)
        let output = try unwritten(batch * plan.output.storedCount, on: device)
        let inputGradient =
            layer.isFirst ? nil : try unwritten(batch * plan.input.storedCount, on: device)
        let gradients = try made.parameters.map { try unwritten($0.storedCount, on: device) }
        try made.prepare(weights: weights, workspace: workspace, maximumBatch: batch)
        let pass = Pass(batch: batch, training: true)
        func runOnce() throws {
            try made.forward(input: input, output: output, pass: pass)
            try made.backward(
                input: input, output: output, outputGradient: outputGradient, inputGradient: inputGradient,
                parameterGradients: gradients, pass: pass)
            try device.finish()
        }
        try runOnce()
        var hash = FNVHash()
        for buffer in [output] + (inputGradient.map { [$0] } ?? []) + gradients {
            try TunedLayers.add(buffer, to: &hash, of: layer.name)
        }
        let times = try (0..<5).map { _ in try Benchmark.time(runOnce) }
        return Tuner.Trial(seconds: Benchmark.median(times), digest: hash.value)
    }

    /// Returns scratch memory of this size or more, filled with numbers that are none.
    private func workspace(of byteCount: Int, on device: Device) throws -> Buffer {
        if let workspace, workspace.byteCount >= byteCount {
            try workspace.fill(Float.nan)
            return workspace
        }
        let larger = try unwritten(byteCount / 4, on: device)
        workspace = larger
        return larger
    }

    private func unwritten(_ floatCount: Int, on device: Device) throws -> Buffer {
        let buffer = try Buffer(device, floatCount: floatCount)
        try buffer.fill(Float.nan)
        return buffer
    }

    /// Adds a buffer's bits; a number that is none was not written.
    private static func add(_ buffer: Buffer, to hash: inout FNVHash, of layer: String) throws {
        let piece = 1 << 22
        var words = [UInt64](repeating: 0, count: min(piece, buffer.byteCount) / 8)
        for start in stride(from: 0, to: buffer.byteCount, by: piece) {
            let count = min(piece, buffer.byteCount - start) / 8
            try words.withUnsafeMutableBytes {
                let part = UnsafeMutableRawBufferPointer(rebasing: $0[..<(8 * count)])
                try buffer.read(into: part, byteOffset: start).wait()
            }
            for word in words[..<count] {
                guard !isNaN(word), !isNaN(word >> 32) else {
                    throw ComputeError("\(layer): the kernels leave numbers of the result unwritten")
                }
                hash.add(word)
            }
        }
    }

    /// Whether the lower half holds the bits of a float that is not a number.
    private static func isNaN(_ word: UInt64) -> Bool { word & 0x7FFF_FFFF > 0x7F80_0000 }

    /// Random numbers, repeated on the device.
    private struct Numbers {
        private let device: Device
        /// A prime number, so that no row of a matrix repeats another.
        private let block: Buffer
        private static let count = 999_983

        init(_ device: Device) throws {
            self.device = device
            block = try Buffer(device, Numbers.values)
        }

        private static let values: [Float] = {
            var random = Philox(seed: 1, purpose: .benchmark)
            return (0..<count).map { _ in random.uniform(in: -0.1...0.1) }
        }()

        func buffer(_ floatCount: Int) throws -> Buffer {
            let buffer = try Buffer(device, floatCount: floatCount)
            for start in stride(from: 0, to: floatCount, by: Numbers.count) {
                let count = min(Numbers.count, floatCount - start)
                try buffer.copy(from: block, sourceOffset: 0, byteCount: 4 * count, to: 4 * start)
            }
            return buffer
        }
    }
}
