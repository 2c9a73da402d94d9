import Basics
import Compute
import Configuration
import NeuralNet
import Randomness

extension Benchmark {
    /// The speed of a matrix product.
    public struct Product: Sendable {
        /// 10⁹ multiplications and additions per second in the median run.
        public let gflops: Double
        /// The seconds of each timed run.
        public let seconds: [Double]
    }

    /// Times C = A · B for row-major matrices of `size` rows and columns, including the packing of B on CPUs.
    public static func product(size: Int, runs: Int, device: Device) throws -> Product {
        let product = try MatrixProduct(device: device)
        let columns = size.roundedUp(to: 16)
        var random = Philox(seed: 1, purpose: .benchmark)
        let values = (0..<size * size).map { _ in random.uniform(in: -1...1) }
        let a = try Buffer(device, values)
        let b = try Buffer(device, values + [Float](repeating: 0, count: size * (columns - size)))
        let packs = !device.tuning.sharesGroups
        let panels = packs ? try Buffer(device, floatCount: columns * size) : b
        let c = try Buffer(device, floatCount: size * columns)
        let seconds = try seconds(runs: runs) { _ in
            if packs { try product.pack(b, into: panels, k: size, n: size) }
            try product.multiply(
                .init(a, columns: size),
                packs ? .panels(panels, rows: size) : .rowMajor(b, columns: columns),
                into: .rowMajor(c, columns: columns), size: .init(m: size, n: columns, k: size))
            try device.finish()
        }
        let operations = 2 * Double(size) * Double(size) * Double(size)
        return Product(gflops: operations / median(seconds) * 1e-9, seconds: seconds)
    }

    /// Returns a device's peaks of arithmetic and of memory, each from the best run.
    public static func peak(of device: Device, runs: Int) throws -> DeviceSpeed {
        func rate(_ access: MemoryAccess) throws -> Double {
            try bandwidth(access, runs: runs, device: device)
        }
        let (reading, writing, adding) = (try rate(.reading), try rate(.writing), try rate(.adding))
        // On a GPU, adding moves as many bytes a second as reading or writing can: if a benchmark's kernel is
        // slower than that, it is not bound by memory.
        let least = device.tuning.sharesGroups ? adding : 0
        return DeviceSpeed(
            gflops: try arithmeticPeak(runs: runs, device: device),
            reading: max(reading, least), writing: max(writing, least), adding: adding)
    }

    /// The memory access that a benchmark times: reading an array, writing it, or adding another to it.
    public enum MemoryAccess { case reading, writing, adding }

    /// Returns the rate of one kind of access in 10⁹ bytes per second, from the best run.
    ///
    /// The arrays hold four times what a large last-level cache does, if the device can allocate that and
    /// takes less than 50 ms for it.
    public static func bandwidth(_ access: MemoryAccess, runs: Int, device: Device) throws -> Double {
        let largest = max(1 << 16, min(32 << 20, device.description.largestBuffer / 8 / 65_536 * 65_536))
        let kernel =
            switch access {
            case .reading: try device.kernel("peak", "read_values")
            case .writing: try device.kernel("peak", "write_values")
            case .adding: try device.kernel("optimizer", "gradient_add")
            }
        func launch(_ count: Int) throws -> () throws -> Void {
            let values = try Buffer(device, floatCount: count)
            try values.clear()
            let (range, vectors) = KernelFamilies.peak.memory(count: count, tuning: device.tuning)
            switch access {
            case .reading:
                let sums = try Buffer(device, floatCount: range.count)
                return { try kernel.launch(range, values, sums, vectors) }
            case .writing:
                return { try kernel.launch(range, values, Float(1), vectors) }
            case .adding:
                let addend = try Buffer(device, floatCount: count)
                try addend.clear()
                let range = KernelFamilies.optimizer.values(count, tuning: device.tuning)
                return { try kernel.launch(range, values, addend, UInt64(count)) }
            }
        }
        func run(_ launch: () throws -> Void, times: Int) throws {
            for _ in 0..<times { try launch() }
            try device.finish()
        }
        var count = 1 << 16
        var launchOnce = try launch(count)
        func elapsed() throws -> Double {
            try (0..<3).map { _ in try time { try run(launchOnce, times: 1) } }.min() ?? 0
        }
        var seconds = try elapsed()
        while count < largest, seconds < 0.01 {
            count = min(8 * count, largest)
            launchOnce = try launch(count)
            seconds = try elapsed()
        }
        // Several launches, so that starting them does not count where they are short.
        let launches = max(1, Int(0.005 / seconds))
        let best = try Benchmark.seconds(runs: runs) { _ in try run(launchOnce, times: launches) }.min()
        let arrays = access == .adding ? 3 : 1
        return 4 * Double(arrays * count * launches) / (best ?? .infinity) * 1e-9
    }

    /// Returns the 10⁹ operations per second of multiply-adds on registers (`peak.cl`) in the best run.
    public static func arithmeticPeak(runs: Int, device: Device) throws -> Double {
        let vector = device.tuning[KernelFamilies.peak.vector]
        let sums = device.tuning[KernelFamilies.peak.sums]
        let range = KernelFamilies.peak.launch(
            computeUnits: max(1, device.description.computeUnits), tuning: device.tuning)
        let kernel = try device.kernel("peak", "multiply_add")
        let result = try Buffer(device, floatCount: range.count * vector)
        func run(_ iterations: Int) throws {
            try kernel.launch(range, result, iterations, Float(0.5))
            try device.finish()
        }
        // Starts with few iterations, because a simulator is slow.
        var iterations = 4
        try run(iterations)
        while iterations < 4096, try time({ try run(iterations) }) < 0.02 { iterations *= 4 }
        let seconds = try seconds(runs: runs) { _ in try run(iterations) }
        return 2 * Double(range.count * iterations * sums * vector) / (seconds.min() ?? .infinity) * 1e-9
    }

    /// Returns the seconds of each pass of a fully connected layer by the device's clock, run by run.
    ///
    /// One run before these warms up. The backward-weights pass includes the bias.
    ///
    /// - Parameter device: opened for profiling
    public static func fullyConnected(
        inputs: Int, outputs: Int, batch: Int, slices: Int = Slices.standard, runs: Int, device: Device
    ) throws -> [(pass: LayerPass, seconds: [Double])] {
        let profile = try profile(of: device)
        let input = FeatureShape(height: 1, width: 1, channels: inputs)
        let spec = FullyConnectedSpec(units: outputs, slices: slices)
        let layer = try LayerPlan(spec, input: input, device: device.description, tuning: device.tuning)
            .makeLayer(on: device)
        var random = Philox(seed: 1, purpose: .benchmark)
        func buffer(_ count: Int) throws -> Buffer {
            // Allocated first, so that a size that does not fit fails before the host makes the numbers.
            let buffer = try Buffer(device, floatCount: count)
            try buffer.write((0..<count).map { _ -> Float in random.uniform(in: -1...1) })
            return buffer
        }
        let images = try buffer(batch * layer.inputShape.storedCount)
        let output = try buffer(batch * layer.outputShape.storedCount)
        let outputGradient = try buffer(batch * layer.outputShape.storedCount)
        let inputGradient = try buffer(batch * layer.inputShape.storedCount)
        let weights = try layer.parameters.map { try buffer($0.storedCount) }
        let gradients = try layer.parameters.map { try buffer($0.storedCount) }
        let workspace = try Buffer(device, byteCount: layer.workspaceByteCount(maximumBatch: batch))
        try layer.prepare(weights: weights, workspace: workspace, maximumBatch: batch)
        let pass = Pass(batch: batch, training: true)
        let sums = try (0...runs).map { _ in
            profile.begin("", pass: LayerPass.forward.rawValue)
            try layer.forward(input: images, output: output, pass: pass)
            profile.begin("", pass: LayerPass.backwardWeights.rawValue)
            try layer.backward(
                input: images, output: output, outputGradient: outputGradient, inputGradient: inputGradient,
                parameterGradients: gradients, pass: pass)
            return Dictionary(try profile.collect().map { ($0.pass, $0.seconds) }, uniquingKeysWith: +)
        }.dropFirst()
        return LayerPass.allCases.map { pass in (pass, sums.map { $0[pass.rawValue] ?? 0 }) }
    }

    static func profile(of device: Device) throws -> Profile {
        guard let profile = device.profile else {
            throw TrainingError("timing by layer needs a device that was opened for profiling")
        }
        return profile
    }
}
