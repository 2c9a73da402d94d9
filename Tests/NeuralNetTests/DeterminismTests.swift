@testable import DeviceInput
import Compute
import TestSupport
import Testing
@testable import Training

@testable import NeuralNet

extension OnDevices {
    /// The same bits: from the same seed, from parts of a mini-batch, and from any number of a CPU's threads.
    @Suite struct DeterminismTests {
        private let imageSize = 9
        private let classes = 6

        private func network(batch: Int, algorithm: ConvolutionAlgorithm?, device: Device) throws -> Network {
            let network = try Network(
                Architecture(parsing: "16,20,M,18,F33"), imageSize: imageSize, classes: classes,
                options: .init(
                    maximumBatch: batch, training: true,
                    convolution: algorithm.map { ConvolutionAlgorithms($0) }), device: device)
            try network.initialize(seed: 1)
            return network
        }

        /// Tinted pictures, a little larger than the network's input.
        private func batch(_ count: Int, device: Device) throws -> DeviceBatch {
            let data = try DeviceBatch(device: device, capacity: count)
            try data.upload(
                0..<count, classes: classes, side: imageSize + 2,
                crop: { (Int32($0 % 3), Int32($0 % 4 - 1), $0 % 2 == 0) }, weight: { $0 == 5 ? 0 : 1 })
            return data
        }

        private let normalization = Normalization(mean: [0.5, 0.4, 0.3], deviation: [0.2, 0.25, 0.3])

        private func bits(_ arena: ParameterArena, _ network: Network) throws -> [[UInt32]] {
            try network.parameters.map { try arena[$0].read($0.storedCount) }
        }

        @Test(arguments: testDevices, ConvolutionAlgorithm.allCases) func sameSeedSameBits(
            description: DeviceDescription, algorithm: ConvolutionAlgorithm
        ) throws {
            let device = try open(description)
            func train(seed: UInt64, _ method: UpdateRule.Method) throws -> [[UInt32]] {
                let network = try network(batch: 8, algorithm: algorithm, device: device)
                let step = try TrainingStep(
                    network: network, normalization: normalization, batch: 8, microBatches: 1,
                    rule: UpdateRule(method, weightDecay: 1e-3), seed: seed)
                let data = try batch(8, device: device)
                var losses: [Double] = []
                for number in 0..<12 {
                    try step.run(data, step: number, learningRate: method == .sgd ? 0.05 : 0.01)
                    let totals = try step.takeTotals(of: number)
                    losses.append(Double(totals.loss / totals.weight))
                }
                expectLearnt(losses, classes: classes)
                return try ([network.weights] + step.optimizer.moments).flatMap { try bits($0, network) }
            }
            let start = try network(batch: 8, algorithm: algorithm, device: device)
            for method in UpdateRule.Method.allCases {
                let first = try train(seed: 1, method)
                #expect(try train(seed: 1, method) == first)
                // Other dropout masks.
                #expect(try train(seed: 2, method) != first)
                // What was compared are numbers that have moved.
                #expect(first.joined().allSatisfy { Float(bitPattern: $0).isFinite })
                #expect(try zip(bits(start.weights, start), first).allSatisfy { $0 != $1 })
            }
        }

        /// Micro-batches of 16 in `TrainingStep` equal batches of 16 that the host adds in the same tree.
        @Test(arguments: testDevices, [2, 4, 8]) func microBatchesAreAccumulated(
            description: DeviceDescription, microBatches: Int
        ) throws {
            let device = try open(description)
            let (total, size) = (16 * microBatches, 16)
            let data = try batch(total, device: device)
            let network = try network(batch: size, algorithm: nil, device: device)
            let step = try TrainingStep(
                network: network, normalization: normalization, batch: total, microBatches: microBatches,
                rule: UpdateRule(weightDecay: 1e-3), seed: 7)

            let input = try ImageInput(device: device, size: imageSize, normalization: normalization)
            let loss = try SoftmaxCrossEntropy(
                device: device, classes: classes, maximumBatch: size, stepImages: total)
            let arena = try ParameterArena(network.parameters, device: device)
            var parts: [[[Float]]] = []
            for microBatch in 0..<microBatches {
                let pass = Pass(batch: size, training: true, seed: 7, step: 2, firstImage: microBatch * size)
                try input.load(bytes: data.bytes, records: data.records, output: network.input, pass: pass)
                try network.forward(pass)
                try loss.forwardBackward(
                    logits: network.logits, labels: data.labels, weights: data.weights,
                    gradient: #require(network.logitsGradient), scale: 1 / Float(total), step: 0,
                    addsToStep: microBatch > 0, pass: pass)
                try network.backward(pass, gradients: arena)
                parts.append(try network.parameters.map { try arena[$0].read($0.storedCount) })
            }
            #expect(parts[0] != parts[1])
            while parts.count > 1 {
                parts = stride(from: 0, to: parts.count, by: 2).map { left in
                    zip(parts[left], parts[left + 1]).map { zip($0, $1).map { $0 + $1 } }
                }
            }
            try step.run(data, step: 2, learningRate: 0.05)
            let sums = try bits(step.gradients, network)
            #expect(sums == parts[0].map { $0.map(\.bitPattern) })
            let totals = try step.takeTotals(of: 2)
            #expect(totals.weight == Float(total - 1))
            #expect(try loss.totals(step: 0) == totals)
        }

        /// Trains twice in processes of their own, with one and with two of pocl's threads: every byte of
        /// what they write is the same.
        @Test(
            .enabled(if: testDevices.contains { $0.platform == "Portable Computing Language" }),
            arguments: ConvolutionAlgorithm.allCases, KernelBody.allCases)
        func anyNumberOfThreads(algorithm: ConvolutionAlgorithm, body: KernelBody) throws {
            let place = try Workplace()
            let device = try #require(testDevices.first { $0.platform == "Portable Computing Language" })
            for threads in ["1", "2"] {
                try place.train(
                    "--model 16,M,20,20,M,F40 --image-size 22 --batch 16 --micro-batches 2 --out \(threads) "
                        + "--device opencl:\(device.number) --convolution \(algorithm.rawValue) "
                        + "--kernels \(body.rawValue)",
                    environment: ["POCL_MAX_PTHREAD_COUNT": threads])
            }
            try place.expectSameModel("1", "2")
        }

        @Test func anyCacheAndNumberOfWorkers() throws {
            let place = try Workplace()
            try place.train("--out plain --cache off")
            // 20 KB hold a part of the pictures.
            for (cache, workers) in [("auto", "1"), ("20000", "3")] {
                try place.train("--out \(cache) --cache \(cache) --workers \(workers)")
                try place.expectSameModel(cache, "plain")
            }
        }
    }
}
