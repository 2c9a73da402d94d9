@testable import DeviceInput
import Compute
import TestSupport
import Testing
@testable import Training

@testable import NeuralNet

extension OnDevices {
    /// A device's limits change where numbers lie and in how many launches they are computed, but no bit.
    @Suite struct LimitsTests {
        private static let bodies = presentDevices.flatMap { description in
            KernelBody.allCases.map { body in
                var other = description
                other.kernels = body
                return other
            }
        }

        /// Trains a few steps with all that works on whole arenas: clipping and sums of micro-batches.
        private func train(
            _ model: String, convolution: ConvolutionAlgorithm? = nil, on device: Device
        ) throws -> (bits: [[UInt32]], arenas: [Int]) {
            let network = try Network(
                Architecture(parsing: model), imageSize: 8, classes: 5,
                options: .init(
                    maximumBatch: 2, training: true,
                    convolution: convolution.map { ConvolutionAlgorithms($0) }), device: device)
            try network.initialize(seed: 1)
            let normalization = Normalization(mean: [0.5, 0.4, 0.3], deviation: [0.2, 0.25, 0.3])
            let step = try TrainingStep(
                network: network, normalization: normalization, batch: 4,
                microBatches: 2, rule: UpdateRule(weightDecay: 1e-3, clipNorm: 0.5), seed: 2)
            let data = try DeviceBatch(device: device, capacity: 4)
            try data.upload(0..<4, classes: 5, side: 10)
            var losses: [Double] = []
            for number in 0..<10 {
                try step.run(data, step: number, learningRate: 0.1)
                let totals = try step.takeTotals(of: number)
                losses.append(Double(totals.loss / totals.weight))
            }
            expectLearnt(losses, classes: 5)
            func bits(_ arena: ParameterArena) throws -> [[UInt32]] {
                try network.parameters.map { try arena[$0].read($0.storedCount) }
            }
            let arenas = [network.weights, step.gradients, step.optimizer.moments[0]]
            return (try arenas.flatMap(bits), arenas.map(\.buffers.count))
        }

        @Test(arguments: bodies) func arenasInParts(description: DeviceDescription) throws {
            let model = "16,M,F200,F200"
            let whole = try train(model, on: Device(description))
            #expect(whole.arenas == [1, 1, 1])
            // The largest parameter has 208 · 256 floats, the last layer's 208 · 208.
            let limit = 256 << 10
            let parts = try train(
                model, on: Device(description.limited(toLargestBuffer: limit, baseAlignment: 4096)))
            #expect(parts.arenas == [2, 2, 2])
            #expect(parts.bits == whole.bits)
        }

        /// Slices of the workspace and of activations start where the coarsest alignment allows.
        @Test(arguments: bodies, ConvolutionAlgorithm.allCases) func coarseAlignment(
            description: DeviceDescription, algorithm: ConvolutionAlgorithm
        ) throws {
            let coarse = description.limited(toLargestBuffer: .max, baseAlignment: 4096)
            _ = try train("5,20,M,17,F19", convolution: algorithm, on: Device(coarse))
        }

        /// Winograd's scratch memory is one buffer, so its chunks become smaller where buffers are.
        @Test(arguments: [(1024, 32_768), (512, 16_384), (256, 8_192)])
        func winogradChunks(mebibytes: Int, tiles: Int) {
            let traits = DeviceTraits(body: .gpu, floatVectorWidth: 1, largestBuffer: mebibytes << 20)
            let geometry = WinogradFamily.Geometry(
                input: MapSize(height: 224, width: 224, channels: 64), filters: 64, outputTile: 4,
                tuning: Tuning(for: traits))
            #expect(geometry.workspaceByteCount(maximumBatch: 64) <= mebibytes << 20)
            // Spread evenly: the largest chunk is a little below the limit.
            let largest = geometry.chunks(batch: 64).map(\.rows).max() ?? 0
            #expect(largest <= tiles && largest > tiles * 3 / 4, "\(largest)")
        }

        /// The chunks decide the order of sums, which must not depend on what the user gives the program.
        @Test(arguments: bodies) func limitsOfMemoryKeepTheChunks(description: DeviceDescription) {
            #expect(description.limited(toMemory: 64 << 20).traits == description.traits)
        }

        @Test(arguments: bodies.filter { $0.kernels == .gpu }) func winogradInSmallBuffers(
            description: DeviceDescription
        ) throws {
            let model = "16,16,M,F9"
            let device = try Device(description)
            try device.tuning.set(["winograd.chunk-tiles-4": 16])
            let chosen = try train(model, convolution: .winograd4, on: device)
            // 32 tiles would need 190 KB.
            let small = description.limited(toLargestBuffer: 160 << 10, baseAlignment: 1)
            let limited = try train(model, convolution: .winograd4, on: Device(small))
            #expect(limited.bits == chosen.bits)
        }

        @Test(arguments: presentDevices) func aParameterTooLarge(description: DeviceDescription) throws {
            let narrow = description.limited(toLargestBuffer: 1 << 20, baseAlignment: 1)
            let error = #expect(throws: ComputeError.self) {
                try Network(
                    Architecture(parsing: "F1000"), imageSize: 32, classes: 3,
                    options: .init(maximumBatch: 1, training: false), device: Device(narrow))
            }
            #expect(error?.kind == .parameterTooLarge)
            let said = error?.description ?? ""
            #expect(
                said.contains("classifier.0.weight") && said.contains("\(1008 * 32 * 32 * 4 * 4) bytes")
                    && said.contains("\(1 << 20)"), "\(said)")
        }

        /// Products and convolutions of GPUs in launches of one work-group, with many rows and with few.
        @Test(arguments: bodies.filter { $0.kernels == .gpu }) func productsInParts(
            description: DeviceDescription
        ) throws {
            let k = 37 * 16
            var numbers = TestNumbers(3)
            var results: [[[UInt32]]] = []
            let operands = [(403, 80), (5, 272)].map { m, n in
                (m: m, n: n, a: numbers.floats(m * k), b: numbers.floats(n * k))
            }
            for limit in [nil, 1] {
                let device = try Device(description, profiling: true)
                if let limit { try device.tuning.set(["product.largest-operations": limit]) }
                let product = try MatrixProduct(device: device)
                results.append([])
                for (m, n, a, b) in operands {
                    let c = try Guarded(device, count: m * n)
                    try product.multiply(
                        .init(Buffer(device, a), columns: k), .panels(Buffer(device, b), rows: k),
                        into: .rowMajor(c.buffer, columns: n), size: .init(m: m, n: n, k: k))
                    let launches = try device.profile?.collect().reduce(0) { $0 + $1.launches }
                    #expect(launches == (limit == nil ? 1 : (m + 63) / 64 * ((n + 63) / 64)))
                    results[results.count - 1].append(try c.values().map(\.bitPattern))
                }
                // The implicit convolutions, and products whose depth is cut into slots.
                results[results.count - 1] += try train(
                    "16,20,M,F33", convolution: .direct, on: device
                ).bits
            }
            #expect(results[0] == results[1])
        }
    }
}
