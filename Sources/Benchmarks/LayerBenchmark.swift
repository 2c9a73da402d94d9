import Configuration
import DeviceInput
import Basics
import Compute
import Foundation
import Photographs
import Models
import NeuralNet

/// Where the time of a training step goes: each layer's passes by the device's own clock, and the whole step
/// by the host's.
public struct LayerBenchmark: Sendable {
    /// One pass of one layer, or one part of the step that is no layer.
    public struct Row: Sendable {
        /// Such as `3 conv 32→64`, `loss` or `update`.
        public let label: String
        /// `forward`, `backward-weights`, `backward-data`, or nothing.
        public let pass: String
        public let algorithm: String
        /// Median over the steps, of all the row's launches.
        public let seconds: Double
        public let launches: Int
        /// Multiplications and additions as the plain sums have them, so that a faster algorithm may pass the
        /// peak; 0 where there are none.
        public let operations: Double
        /// Bytes of the tensors read and written, each once; 0 where unknown.
        public let bytes: Double

        /// 10⁹ a second.
        public var gflops: Double { operations / seconds * 1e-9 }
        public var gigabytesPerSecond: Double { bytes / seconds * 1e-9 }
    }

    public let rows: [Row]
    /// Median wall time of a step, from the first command queued to the loss read.
    public let stepSeconds: Double
    /// Of it: the host's wait for photographs; 0 without a folder of them.
    public let dataWaitSeconds: Double
    /// CPU time of the host's thread to bind arguments and queue the launches of a step; it passes while the
    /// device works, unless that waits.
    public let queueingSeconds: Double
    /// What multiply-adds on registers alone reach, in 10⁹ operations a second.
    public let peakGFLOPS: Double
    /// What adding two arrays reaches, in 10⁹ bytes a second.
    public let peakGigabytesPerSecond: Double

    public var launches: Int { rows.reduce(0) { $0 + $1.launches } }

    /// The step's time by what it went for; the parts add up to it.
    public var parts: [(name: String, seconds: Double)] {
        var parts: [(name: String, seconds: Double)] = LayerPass.allCases.map { pass in
            (
                "layers, \(pass.rawValue)",
                rows.filter { $0.pass == pass.rawValue }.reduce(0) { $0 + $1.seconds }
            )
        }
        parts += rows.filter { $0.pass.isEmpty }.map { ($0.label, $0.seconds) }
        parts.append(("data wait", dataWaitSeconds))
        let known = parts.reduce(0) { $0 + $1.seconds }
        parts.append(("launches and copies", max(0, stepSeconds - known)))
        return parts
    }

    /// Times `steps` training steps after one that warms up.
    ///
    /// - Parameters:
    ///   - data: a folder of photographs to train on, through the loader; nil: random images in memory
    ///   - device: opened for profiling
    public init(
        _ architecture: Architecture, imageSize: Int, classes: Int, batch: Int, microBatches: Int, steps: Int,
        convolution: ConvolutionAlgorithms?, data: String?, workers: Int, device: Device
    ) throws {
        guard let profile = device.profile else {
            throw TrainingError("the layers' times need a device that was opened for profiling")
        }
        peakGFLOPS = try Benchmark.arithmeticPeak(runs: 7, device: device)
        peakGigabytesPerSecond = try Benchmark.bandwidth(floatCount: 1 << 24, runs: 7, device: device)

        let set = try data.map { try Dataset.load(root: $0) }
        let classes = set?.classes.count ?? classes
        let options = Network.Options(
            maximumBatch: batch / microBatches, training: true, convolution: convolution)
        let layout = try NetworkPlan(
            architecture, imageSize: imageSize, classes: classes, options: options, device: device.description
        )
        let training = try Benchmark.trainingStep(
            architecture, imageSize: imageSize, classes: classes, batch: batch, microBatches: microBatches,
            convolution: convolution, device: device)
        let deviceBatch = try DeviceBatch(device: device, capacity: batch)
        let loader = set.map { set in
            let count = set.training.count
            return BatchLoader(
                set: set.training,
                shortSide: ModelDescription.usualShortSide(imageSize: imageSize), workers: workers
            ) { index in (0..<batch).map { (index * batch + $0) % count } }
        }
        defer { loader?.stop() }
        if loader == nil {
            try Benchmark.upload(to: deviceBatch, imageSize: imageSize, classes: classes, batch: batch)
        }

        var walls: [Double] = []
        var waits: [Double] = []
        var queueings: [Double] = []
        var order: [[String]] = []
        var times: [[String]: [Double]] = [:]
        var launches: [[String]: Int] = [:]
        for step in 0...steps {
            try device.finish()
            _ = try profile.collect()
            let start = ContinuousClock.now
            if let loader, let host = try loader.next() {
                waits.append((ContinuousClock.now - start).seconds)
                try deviceBatch.upload(host, size: imageSize) { width, height, _ in
                    AugmentationParameters.central(width: width, height: height, size: imageSize)
                }
            }
            let queueing = threadSeconds()
            try training.run(deviceBatch, step: step, learningRate: Benchmark.learningRate)
            queueings.append(threadSeconds() - queueing)
            _ = try Benchmark.finiteLoss(of: step, training)
            try device.finish()
            let end = ContinuousClock.now
            let entries = try profile.collect()
            if step == 0 {
                waits = []
                queueings = []
                continue
            }
            walls.append((end - start).seconds)
            var sums: [[String]: Double] = [:]
            for entry in entries {
                let key = [entry.label, entry.pass]
                if launches[key] == nil { order.append(key) }
                sums[key, default: 0] += entry.seconds
                if step == 1 { launches[key, default: 0] += entry.launches }
            }
            for (key, seconds) in sums { times[key, default: []].append(seconds) }
        }
        stepSeconds = Benchmark.median(walls)
        queueingSeconds = Benchmark.median(queueings)
        dataWaitSeconds = waits.isEmpty ? 0 : Benchmark.median(waits)
        let layers = Dictionary(
            uniqueKeysWithValues: layout.layers.enumerated().map {
                (Network.profileLabel($0.offset, $0.element.name), $0.element)
            })
        rows = order.map { key in
            let layer = layers[key[0]]
            let pass = LayerPass(rawValue: key[1])
            return Row(
                label: key[0], pass: key[1], algorithm: pass.flatMap { layer?.algorithm($0) } ?? "",
                seconds: Benchmark.median(times[key] ?? [0]), launches: launches[key] ?? 0,
                operations: layer?.operations(batch: batch) ?? 0,
                bytes: pass.flatMap { pass in layer.map { $0.bytes(pass, batch: batch) } } ?? 0)
        }
    }
}

/// CPU seconds of this thread so far: unlike the clock they leave out what others took meanwhile.
private func threadSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}

extension Benchmark {
    /// 10⁹ multiplications and additions a second of nothing but multiply-adds on registers (`peak.cl`): the
    /// best of `runs`.
    public static func arithmeticPeak(runs: Int, device: Device) throws -> Double {
        let vector = device.tuning[KernelFamilies.peak.vector]
        let sums = device.tuning[KernelFamilies.peak.sums]
        let iterations = 4096
        let items = 64 * max(1, device.description.computeUnits)
        let kernel = try device.kernel("peak", "multiply_add")
        let result = try Buffer(device, floatCount: items * vector)
        var best = Double.infinity
        for _ in 0...runs {
            let start = ContinuousClock.now
            try kernel.launch([items], local: [1], result, iterations, Float(0.5))
            try device.finish()
            best = min(best, (ContinuousClock.now - start).seconds)
        }
        return 2 * Double(items * iterations * sums * vector) / best * 1e-9
    }
}
