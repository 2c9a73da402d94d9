import Basics
import Compute
import DeviceInput
import Foundation
import Models
import NeuralNet
import Photographs
import Training

/// Times a training step by the host's clock, and each layer's passes by the device's.
public struct LayerBenchmark: Sendable {
    /// One pass of one layer, or a part of the step that belongs to no layer.
    public struct Row: Sendable {
        /// Such as `3 conv 32→64`, `loss` or `update`.
        public let label: String
        /// `forward`, `backward-weights` or `backward-data`; empty if the row is no layer's.
        public let pass: String
        public let algorithm: String
        /// The median over the steps of all the row's launches.
        public let seconds: Double
        public let launches: Int
        /// Multiplications and additions of the direct sums, so that a faster algorithm may exceed the peak.
        public let operations: Double
        /// What the pass computes and moves; empty if unknown.
        public let work: [Work]

        /// 10⁹ operations per second.
        public var gflops: Double { operations / seconds * 1e-9 }
        public var gigabytesPerSecond: Double { work.reduce(0) { $0 + $1.bytes } / seconds * 1e-9 }
    }

    public let rows: [Row]
    /// The median wall time of a step, from its first command to its loss on the host.
    public let stepSeconds: Double
    /// The part of it in which the host waits for photographs; 0 for random images.
    public let dataWaitSeconds: Double
    /// CPU time in which the host's thread enqueues a step's launches, while the device works.
    public let queueingSeconds: Double
    /// The peak of multiply-adds on registers (`Benchmark.arithmeticPeak`) and of memory
    /// (`Benchmark.bandwidth`): the better of before and after the steps, because other work on the machine
    /// comes and goes.
    public let peak: DeviceSpeed

    /// The sum of the launches' times at the peak: what a step takes at least.
    public var rooflineSeconds: Double { rows.reduce(0) { $0 + $1.work.seconds(at: peak) } }

    public var launches: Int { rows.reduce(0) { $0 + $1.launches } }

    /// The parts of the step's time, which add up to it.
    public var parts: [(name: String, seconds: Double)] {
        var parts: [(name: String, seconds: Double)] = LayerPass.allCases.map { pass in
            let rows = rows.filter { $0.pass == pass.rawValue }
            return ("layers, \(pass.rawValue)", rows.reduce(0) { $0 + $1.seconds })
        }
        parts += rows.filter { $0.pass.isEmpty }.map { ($0.label, $0.seconds) }
        parts.append(("data wait", dataWaitSeconds))
        let known = parts.reduce(0) { $0 + $1.seconds }
        parts.append(("launches and copies", max(0, stepSeconds - known)))
        return parts
    }

    /// Times `steps` training steps, after one that warms up.
    ///
    /// - Parameters:
    ///   - data: folder of photographs to train on; nil for random images in memory
    ///   - workers: threads that read the photographs
    ///   - device: opened for profiling
    public init(_ step: BenchmarkedStep, steps: Int, data: String? = nil, workers: Int = 1, device: Device)
        throws
    {
        let profile = try Benchmark.profile(of: device)
        let before = try Benchmark.peak(of: device, runs: 15)

        let set = try data.map { try Dataset.load(root: $0) }
        var step = step
        step.classes = set?.classes.count ?? step.classes
        let (batch, microBatches, imageSize) = (step.batch, step.microBatches, step.imageSize)
        let plan = try NetworkPlan(
            step.architecture, imageSize: imageSize, classes: step.classes,
            options: step.options(training: true), device: device.description, tuning: device.tuning)
        let training = try step.trainingStep(on: device)
        let loader = set.map { set in
            let count = set.training.count
            let shortSide = ModelDescription.usualShortSide(imageSize: imageSize)
            return BatchLoader(
                set: set.training, shortSide: shortSide, workers: workers, memory: device.batchMemory
            ) { index in
                (0..<batch).map { (index * batch + $0) % count }
            }
        }
        defer { loader?.stop() }
        let deviceBatch =
            try loader == nil ? step.randomBatch(on: device) : DeviceBatch(device: device, capacity: batch)

        var walls: [Double] = []
        var waits: [Double] = []
        var queueings: [Double] = []
        var order: [[String]] = []
        var times: [[String]: [Double]] = [:]
        var launches: [[String]: Int] = [:]
        for number in 0...steps {
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
            try training.run(deviceBatch, step: number, learningRate: Benchmark.learningRate)
            queueings.append(threadSeconds() - queueing)
            _ = try Benchmark.finiteLoss(of: number, training)
            try device.finish()
            let end = ContinuousClock.now
            let entries = try profile.collect()
            if number == 0 {
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
                if number == 1 { launches[key, default: 0] += entry.launches }
            }
            for (key, seconds) in sums { times[key, default: []].append(seconds) }
        }
        let after = try Benchmark.peak(of: device, runs: 15)
        peak = DeviceSpeed(
            gflops: max(before.gflops, after.gflops),
            reading: max(before.reading, after.reading), writing: max(before.writing, after.writing),
            adding: max(before.adding, after.adding))
        stepSeconds = Benchmark.median(walls)
        queueingSeconds = Benchmark.median(queueings)
        dataWaitSeconds = Benchmark.median(waits)
        let layers = Dictionary(
            uniqueKeysWithValues: plan.layers.enumerated().map {
                (Network.profileLabel($0.offset, $0.element.name), $0.element)
            })
        rows = order.map { key in
            let layer = layers[key[0]]
            let pass = LayerPass(rawValue: key[1])
            return Row(
                label: key[0], pass: key[1], algorithm: pass.flatMap { layer?.algorithm($0) } ?? "",
                seconds: Benchmark.median(times[key] ?? []), launches: launches[key] ?? 0,
                operations: layer?.operations(batch: batch) ?? 0,
                work: key[0] == "update"
                    ? [plan.updateWork(training.optimizer.rule.method)]
                    : pass.flatMap { layer?.work($0, batch: batch / microBatches) }.map {
                        [[Work]](repeating: $0, count: microBatches).flatMap(\.self)
                    } ?? [])
        }
    }
}

/// Returns the CPU seconds of this thread so far, which do not count the time of other threads.
private func threadSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}
