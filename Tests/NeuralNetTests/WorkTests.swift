import Compute
import NeuralNet
import TestSupport
import Testing

/// The roofline model, with numbers counted by hand.
@Suite struct WorkTests {
    /// The layers of `16,16,F16` on two images of 8×8; each body plans its own launches.
    private func plan(_ body: KernelBody) throws -> NetworkPlan {
        var description = try #require(presentDevices.first)
        description.kernels = body
        return try NetworkPlan(
            Architecture(parsing: "16,16,F16"), imageSize: 8, classes: 3,
            options: .init(maximumBatch: 2, training: true), device: description)
    }

    /// F(4×4) has 8 tiles of 36 positions; on GPUs what is transformed goes through memory.
    @Test func winogradsProductsAndTransforms() throws {
        let operations = 2.0 * 8 * 36 * 16 * 16
        // Two maps of 2·8·8·16 floats, 9·16·16 weights and 16 biases.
        let tensors = 4.0 * (2048 + 2048 + 2320)
        let cpu = try plan(.cpu).layers[1].work(.forward, batch: 2)
        #expect(cpu.map(\.operations) == [operations] && cpu.map(\.bytes) == [tensors])
        #expect(cpu.map(\.written) == [8192.0])
        // Both transformed maps and the transformed weights are written once and read once.
        let transformed = 4.0 * (8 * 36 * 32 + 36 * 16 * 16)
        let gpu = try plan(.gpu).layers[1].work(.forward, batch: 2)
        #expect(gpu.map(\.operations) == [0, operations])
        #expect(gpu.map(\.bytes) == [tensors + transformed, transformed])
        // The transforms write one map, the transformed weights and the output.
        let map = 4.0 * 8 * 36 * 16
        let transforms: Double = map + 4 * (36 * 16 * 16 + 2048)
        #expect(gpu.map(\.written) == [transforms, map])
    }

    /// A pass takes as long as its reads, its writes or both together, whichever is longest.
    @Test func readsAndWritesHaveTheirRates() {
        let work = Work(read: 300, written: 100)
        func seconds(_ reading: Double, _ writing: Double, _ both: Double) -> Double {
            (1e9 * work.seconds(at: DeviceSpeed(gflops: 1, reading: reading, writing: writing, adding: both)))
                .rounded()
        }
        #expect(seconds(1, 1, 1) == 400 && seconds(1, 1, 4) == 300 && seconds(4, 0.5, 4) == 200)
        #expect(seconds(1, 0.25, 1) == 400 && seconds(3, 1, 8) == 100)
    }

    /// Each pass writes one tensor: the output, the input's gradient or that of the weights.
    @Test func passesWriteTheirResult() throws {
        let layers = try plan(.cpu).layers
        func written(_ layer: Int, _ pass: LayerPass) -> Double {
            layers[layer].work(pass, batch: 2).reduce(0) { $0 + $1.written } / 4
        }
        #expect(written(1, .backwardData) == 2048 && written(1, .backwardWeights) == 2320)
        let connected = try #require(layers.indices.first { layers[$0].name == "fc 1024→16" })
        #expect(written(connected, .forward) == 2 * 16 && written(connected, .backwardData) == 2 * 1024)
        #expect(written(connected, .backwardWeights) == 1024 * 16 + 16)
    }

    /// The transforms are bound by memory here, the product by arithmetic.
    @Test func theLongerTimeCounts() throws {
        let work = try plan(.gpu).layers[1].work(.forward, batch: 2)
        let seconds = work.seconds(at: DeviceSpeed(gflops: 1, gigabytesPerSecond: 1))
        #expect(abs(seconds - (99_392 + 147_456) * 1e-9) < 1e-15)
        let fast = work.seconds(at: DeviceSpeed(gflops: 1000, gigabytesPerSecond: 1))
        #expect(abs(fast - (99_392 + 73_728) * 1e-9) < 1e-15)
    }

    /// The first layer's input needs no gradient, and the update moves five floats per parameter.
    @Test func passesOfAStep() throws {
        let plan = try plan(.cpu)
        let image: Double = 2 * 18 * 3 * 16 * 64
        let convolution: Double = 2 * 8 * 36 * 16 * 16
        let hidden: Double = 2 * 2 * 1024 * 16
        let last: Double = 2 * 2 * 16 * 3
        let sum = plan.passWork.reduce(0) { $0 + $1.operations }
        #expect(sum == 2 * image + 3 * (convolution + hidden + last))
        let features = 9 * 4 * 16 + 16 + 9 * 16 * 16 + 16
        let classifier = 1024 * 16 + 16 + 16 * 16 + 16
        #expect(plan.updateWork(.sgd).bytes == 20 * Double(features + classifier))
        #expect(plan.updateWork(.sgd).written == 8 * Double(features + classifier))
        #expect(plan.updateWork(.adamw, averages: true).written == 16 * Double(features + classifier))
        #expect(plan.updateWork(.adamw).bytes == 28 * Double(features + classifier))
    }
}
