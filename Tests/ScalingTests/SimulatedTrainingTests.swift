import Collectives
import Compute
import Configuration
import NeuralNet
import Testing

@testable import Scaling
@testable import Training

/// The model of steps on machines, compared with sums by hand and with the paper.
@Suite struct SimulatedTrainingTests {
    typealias Strategy = SimulatedTraining.Strategy

    private let device: DeviceDescription

    init() throws { device = try #require(DeviceDescription.all().first) }

    private func training(_ machine: Machine, _ model: String = "scaling", imageSize: Int = 224) throws
        -> SimulatedTraining
    {
        try SimulatedTraining(
            machine, model: model, imageSize: imageSize,
            classes: model == "scaling" ? 1000 : 16, device: device)
    }

    private func isNear(_ a: Double, _ b: Double, within tolerance: Double = 1e-9) -> Bool {
        abs(a - b) <= tolerance * abs(b)
    }

    // MARK: - Closed forms

    /// A linear classifier has one layer, so that everything can be added by hand.
    ///
    /// 8·8 pixels, stored with 4 channels, times 16 classes, and 16 biases.
    @Test func aLinearClassifierByHand() throws {
        var machine = Machine(
            name: "hand", gflops: 0.001, memoryBandwidth: 1e6, memory: 1,
            portBandwidth: 0.001, insideBandwidth: 0.004)
        machine.devicesPerNode = 2
        machine.efficiency = 0.5
        let linear = try training(machine, "linear", imageSize: 8)
        // 192 inputs × 16 units, multiplied and added, forward and for the weights' gradient, at 500 000 a
        // second.
        let image = 2.0 * 2 * 192 * 16 / 500_000
        let lazy = Strategy(.lazy, nodeFirst: false)
        #expect(
            try isNear(linear.stepSeconds(devices: 1, batch: 8, strategy: lazy), 8 * image, within: 1e-4))

        // 2 devices in a node: half of the bytes each way, twice. All gradients are one bucket, and nothing
        // hides it, because the only layer's weights are needed at once.
        let bytes = 4.0 * (16 * 8 * 8 * 4 + 16)
        let two = bytes * 0.5 / 4e6 * 2
        for method in [Strategy.Method.lazy, .synchronous] {
            let seconds = try linear.stepSeconds(
                devices: 2, batch: 8, strategy: .init(method, nodeFirst: true))
            #expect(isNear(seconds, 4 * image + two, within: 1e-4))
        }
        // 4 devices on 2 nodes, flat: each sends 2 of 4 parts to the other node, twice, and 2 share the port.
        let flat = try linear.stepSeconds(devices: 4, batch: 8, strategy: lazy)
        #expect(isNear(flat, 2 * image + bytes * 2 / 4 * 2 / 1e6 * 2, within: 1e-4))
        // Node first: each owns a half of the bucket, and sends half of that to the other node.
        let nodeFirst = try linear.stepSeconds(
            devices: 4, batch: 8, strategy: .init(.lazy, nodeFirst: true))
        #expect(isNear(nodeFirst, 2 * image + two + bytes / 2 / 2 * 2 / 1e6 * 2, within: 1e-4))
    }

    @Test func messagesAndLatencyByHand() throws {
        var machine = Machine(
            name: "hand", gflops: 1e9, memoryBandwidth: 1e9, memory: 1,
            portBandwidth: 1e6, insideBandwidth: 1e6)
        machine.devicesPerNode = 4
        machine.messageTime = 1e6
        machine.latency = 10e6
        let linear = try training(machine, "linear", imageSize: 8)
        func seconds(_ devices: Int, nodeFirst: Bool) throws -> Double {
            try linear.stepSeconds(
                devices: devices, batch: 16, strategy: .init(.lazy, nodeFirst: nodeFirst))
        }
        // A message to each of 3 others, then the latency, twice; the totals' messages go first.
        #expect(try isNear(seconds(4, nodeFirst: true), 3 + 2 * (3 + 10), within: 1e-6))
        // 4 devices send to 4 others through one port, which totals and gradients keep busy in turn.
        #expect(try isNear(seconds(8, nodeFirst: false), 4 * 16 + 10, within: 1e-6))
        // To 3 in the node, then to one in the other node through the port that 4 share, where the totals'
        // messages are in the way.
        #expect(try isNear(seconds(8, nodeFirst: true), 4 + 2 * (3 + 10 + 4 + 10), within: 1e-6))
    }

    @Test func withoutNetworkTimeStrategiesAreEqual() throws {
        var machine = Machine.minwa
        (machine.portBandwidth, machine.insideBandwidth) = (1e12, 1e12)
        (machine.latency, machine.messageTime, machine.contention) = (0, 0, 0)
        let training = try training(machine)
        let one = try training.stepSeconds(
            devices: 1, batch: 64, strategy: .init(.lazy, nodeFirst: true))
        for strategy in training.strategies where strategy.method != .hybrid {
            let many = try training.stepSeconds(devices: 64, batch: 64 * 64, strategy: strategy)
            #expect(isNear(many, one, within: 1e-6), "\(strategy)")
        }
    }

    // MARK: - Hybrid

    /// A layer of 32 units has two slices, so that two devices hold a half of it each.
    @Test func activationsByHand() throws {
        var machine = Machine(
            name: "hand", gflops: 1e9, memoryBandwidth: 1e9, memory: 1,
            portBandwidth: 0.001, insideBandwidth: 0.004)
        machine.devicesPerNode = 2
        let network = try training(machine, "F32", imageSize: 8)
        func seconds(_ devices: Int, nodeFirst: Bool) throws -> Double {
            try network.stepSeconds(
                devices: devices, batch: 32 * devices, strategy: .init(.hybrid, nodeFirst: nodeFirst))
        }
        // Blocks: the features of 32 images, 8·8 pixels with 4 channels; and 16 outputs of 32 images.
        let (features, outputs) = (4.0 * 32 * 256, 4.0 * 32 * 16)
        // Each crosses forward and backward. The gradients of the last layer hide behind them.
        #expect(try isNear(seconds(2, nodeFirst: true), 2 * (features + outputs) / 4e6, within: 1e-4))
        // On 2 nodes, flat: to 2 devices of the other node; 2 devices share the port.
        let flat = 2 * (features + outputs) * 4 / 1e6
        #expect(try isNear(seconds(4, nodeFirst: false), flat, within: 1e-4))
        // Node first: features once to the other node, and then those of 2 nodes to the device beside it.
        // Outputs for 2 nodes to the device beside it, and then those of 2 devices to the other node.
        let nodeFirst = 2 * (features * 2 / 1e6 + features * 2 / 4e6 + outputs * 2 / 4e6 + outputs * 4 / 1e6)
        #expect(try isNear(seconds(4, nodeFirst: true), nodeFirst, within: 1e-4))
    }

    /// A device holds whole slices, so that a narrow layer is not split over all devices.
    @Test func slicesLimitTheSplit() throws {
        var machine = Machine(
            name: "hand", gflops: 1, memoryBandwidth: 1e9, memory: 1,
            portBandwidth: 1e6, insideBandwidth: 1e6)
        machine.devicesPerNode = 8
        let network = try training(machine, "F32,F128", imageSize: 8)
        func layers(_ method: Strategy.Method) throws -> [StepModel.Layer] {
            try network.stepModel(
                devices: 8, batch: 64, strategy: .init(method, nodeFirst: true)
            ).layers
        }
        let (data, hybrid) = try (layers(.lazy), layers(.hybrid))
        // Layers, each with a dropout: a half of 32 units, and an eighth of 128, for the images of 8 devices.
        for (layer, share) in [(0, 0.5), (2, 0.125)] {
            #expect(isNear(hybrid[layer].forward, 8 * share * data[layer].forward))
            #expect(isNear(hybrid[layer].update, share * data[layer].update, within: 0.01))
        }
        #expect(hybrid[4].forward == data[4].forward && hybrid[4].update == data[4].update)
        // Outputs of the first layer: 16 of 64 images, from each of two devices to 7.
        #expect(isNear(hybrid[2].exchangeOfInputs, 4.0 * 64 * 16 * 7 / 1e15))
        // Up to 256 slices, as many as devices.
        #expect([2, 8, 9, 64, 1024].map { SimulatedTraining.slices(devices: $0) } == [8, 8, 16, 64, 256])
    }

    // MARK: - The paper

    @Test func minwaGivesThePapersFigures() throws {
        let training = try training(.minwa)
        let data = Strategy(.lazy, nodeFirst: false)
        let hybrid = Strategy(.hybrid, nodeFirst: false)
        let speedUp = try training.speedUp(devices: 64, batch: 1024, strategy: data)
        #expect(abs(speedUp - 47) <= 2, "section 3.3 has 47, this is \(speedUp)")
        func difference(_ devices: Int) throws -> Double {
            try training.stepSeconds(devices: devices, batch: 64 * devices, strategy: hybrid)
                - training.stepSeconds(devices: devices, batch: 64 * devices, strategy: data)
        }
        for devices in [2, 4, 8, 16] { #expect(try difference(devices) < 0, "hybrid is ahead on \(devices)") }
        for devices in [32, 64, 128] { #expect(try difference(devices) > 0, "data is ahead on \(devices)") }
        // Larger mini-batches scale further (figure 3).
        let speedUps = try [256, 512, 1024].map {
            try training.speedUp(devices: 64, batch: $0, strategy: data)
        }
        #expect(speedUps == speedUps.sorted() && speedUps[0] < 0.5 * speedUps[2], "\(speedUps)")
    }

    /// The preset's efficiency is the one that gives the step measured on an H100.
    @Test func h100x8GivesTheMeasuredStep() throws {
        let training = try SimulatedTraining(
            .h100x8, model: "vgg16", imageSize: 224, classes: 1000, device: device)
        let seconds = try training.stepSeconds(
            devices: 1, batch: 64, strategy: .init(.lazy, nodeFirst: true))
        #expect(isNear(seconds, 0.0711, within: 0.03), "\(seconds)")
    }

    // MARK: - Decisions of the program

    /// Bucket sizes are those of the program, and near the best for every number of nodes.
    @Test(arguments: Machine.presets.flatMap { machine in [16, 64, 256, 1024].map { (machine, $0) } })
    func bucketsThatGrowAreNearTheBest(machine: Machine, devices: Int) throws {
        let training = try training(machine)
        let strategy = Strategy(.lazy, nodeFirst: true)
        // Over messages between machines, buckets are smaller.
        let joined = machine.hasWindows ? 1 << 20 : 1 << 18
        let cut = machine.hasWindows ? 1 << 24 : 1 << 20
        for images in [16, 64] {
            func seconds(_ factor: Int?) throws -> Double {
                try training.stepModel(
                    devices: devices, batch: images * devices, strategy: strategy,
                    bucketSizes: factor.map { .init(joined: $0 * joined, cut: $0 * cut) }
                ).seconds(.lazy)
            }
            let own = try seconds(nil)
            let all = try [1, 2, 4, 8, 16, 32, 64, 128, 256].map { try seconds($0) }
            let best = all.min() ?? 0
            // With few images the messages matter more than what they overlap with.
            let tolerance = images == 64 ? 1.04 : 1.16
            #expect(
                own <= tolerance * best, "\(devices) devices, \(images) images: \(own), others \(all)")
            // Messages take next to nothing of minwa's steps, so that large buckets only begin later there.
            let loss = machine == .minwa ? 1.03 : 1.001
            #expect(own <= loss * all[0], "\(own) with the rule, \(all[0]) without it")
            if machine != .minwa, devices == 1024 { #expect(own < 0.5 * all[0], "larger buckets pay") }
        }
    }

    @Test func bucketsAreThoseOfTheExchange() throws {
        let sizes = [1, 2, 4, 5, 8, 128].map { GradientBuckets.Sizes.forGroups(of: $0) }
        #expect(sizes.map(\.joined) == [1, 1, 1, 2, 2, 32].map { $0 << 20 })
        #expect(sizes.allSatisfy { $0.cut == 16 * $0.joined && $0.joined % 4096 == 0 })
        let training = try training(.minwa)
        let model = try training.stepModel(
            devices: 4, batch: 64, strategy: .init(.lazy, nodeFirst: true))
        // The first two convolutions together, the other six, and 25, 4 and 1 pieces of the fully connected
        // layers; each with its bias. Before them, the totals.
        #expect(model.buckets.count == 38, "\(model.buckets.count)")
        #expect(model.buckets[0].layer == nil)
        let layers = model.buckets.dropFirst().compactMap(\.layer)
        #expect(layers.count == 37 && layers == layers.sorted())
        // Messages between machines have buckets of at most 1 MiB: here a send of half of it each way.
        let pc = try self.training(.pc)
        let messages = try pc.stepModel(devices: 2, batch: 64, strategy: .init(.lazy, nodeFirst: true))
        let longest = messages.buckets.flatMap(\.transfers).map(\.seconds).max() ?? 0
        #expect(isNear(longest, Double(1 << 19) / 0.117e9 + 30e-6, within: 0.02), "\(longest)")
    }

    /// The simulated buckets are those of an exchange that trains: as many, as large, in the same order.
    @Test(arguments: [(2, false), (4, false), (2, true), (4, true)])
    func bucketsAreThoseOfARealExchange(ranks: Int, isHybrid: Bool) throws {
        // Two convolutions are joined, one layer is cut, and the last one joins the bucket before it.
        let (model, imageSize) = ("32,M,64,M,F2048,F640", 32)
        var machine = Machine.minwa
        machine.devicesPerNode = ranks
        let training = try training(machine, model, imageSize: imageSize)
        let strategy = Strategy(isHybrid ? .hybrid : .lazy, nodeFirst: true)
        let simulated = try training.buckets(devices: ranks, batch: 8, strategy: strategy)
        let device = device
        try ThreadCommunicator.run(ranks) { communicator in
            let topology = try Topology(microBatches: ranks, nodes: communicator.nodes)
            let schedule = HybridSchedule(
                spans: topology.spans, nodes: topology.groups, microBatch: 8 / ranks)
            let network = try NetworkPlan(
                Architecture(parsing: model), imageSize: imageSize, classes: 16,
                options: .init(
                    maximumBatch: 8 / ranks, training: true,
                    split: isHybrid ? schedule.split(of: communicator.rank) : nil), device: device)
            let exchange = try GradientExchange(
                network.trainedParameters.filter { !$0.isSplit }, device: Device.open(.auto),
                communicator: communicator, topology: topology)
            let real = exchange.buckets
            guard real.map(\.bytes.count) == simulated.map(\.bytes.count),
                real.map(\.parameters) == simulated.map(\.parameters)
            else { throw CollectiveError("real buckets \(real), simulated ones \(simulated)") }
            guard real.count == (isHybrid ? 2 : 5), real[0].parameters.isEmpty else {
                throw CollectiveError("\(real.count) buckets: \(real)")
            }
            try communicator.barrier()
        }
        // Transfers have these bytes too, here half of a bucket to the other rank and back.
        guard ranks == 2 else { return }
        let step = try training.stepModel(devices: 2, batch: 8, strategy: strategy)
        for (bucket, own) in zip(step.buckets, simulated) {
            let seconds = Double(own.bytes.count) / 2 / 6e9 + 1e-6
            #expect(bucket.transfers.map(\.seconds).allSatisfy { isNear($0, seconds, within: 1e-6) })
        }
    }

    /// Memory is what the program plans for a rank.
    @Test func memoryIsThatOfThePlan() throws {
        let model = "16,M,F2048,F1024"
        let training = try training(.h100x8, model, imageSize: 64)
        var options = TrainingOptions()
        (options.model, options.imageSize, options.optimizer, options.cache) = (model, 64, .sgd, .off)
        (options.batchSize, options.microBatches) = (64, 4)
        let topology = try Topology(microBatches: 4, nodes: [[0, 1, 2, 3]])
        let choice = try ParallelismChoice(
            options, classes: 16, spans: topology.spans, nodes: topology.groups, rank: 0,
            device: device.imaginedGPU(memory: 80_000_000_000))
        let hybrid = try #require(choice.hybrid?.memory.total)
        #expect(try training.memory(devices: 4, batch: 64, isHybrid: false) == choice.data.memory.total)
        #expect(try training.memory(devices: 4, batch: 64, isHybrid: true) == hybrid)
        #expect(2 * hybrid < choice.data.memory.total, "hidden layers have most of the weights")
    }

    /// Two of four devices hold nothing of a layer of two slices; memory is that of the others.
    @Test func memoryIsThatOfTheDeviceThatNeedsMost() throws {
        var options = TrainingOptions()
        (options.model, options.imageSize, options.optimizer, options.cache) = ("F32", 64, .sgd, .off)
        (options.batchSize, options.microBatches) = (64, 4)
        let topology = try Topology(microBatches: 4, nodes: [[0, 1, 2, 3]])
        let totals = try (0..<4).compactMap {
            try ParallelismChoice(
                options, classes: 16, spans: topology.spans, nodes: topology.groups, rank: $0,
                device: device.imaginedGPU(memory: 80_000_000_000)
            ).hybrid?.memory.total
        }
        let training = try training(.h100x8, "F32", imageSize: 64)
        #expect(try training.memory(devices: 4, batch: 64, isHybrid: true) == totals.max())
        #expect(totals.count == 4 && totals[3] < totals[0], "\(totals)")
    }

    /// At 1,024 devices with one port a node, reducing inside the nodes first is several times as fast.
    @Test func nodeFirstPays() throws {
        let training = try training(.h100x8)
        let seconds = try [false, true].map {
            try training.stepSeconds(
                devices: 1024, batch: 64 * 1024, strategy: .init(.lazy, nodeFirst: $0))
        }
        #expect(seconds[0] > 3 * seconds[1], "\(seconds)")
    }

    @Test func uneven() throws {
        let training = try training(.minwa)
        let lazy = Strategy(.lazy, nodeFirst: false)
        // 3 devices have 4 micro-batches: one of them has two, as many images as each of 2 devices.
        let three = try training.stepSeconds(devices: 3, batch: 64, strategy: lazy)
        let two = try training.stepSeconds(devices: 2, batch: 64, strategy: lazy)
        #expect(three > 0.95 * two)
        #expect(SimulatedTraining.divides(batch: 64, devices: 48))
        #expect(!SimulatedTraining.divides(batch: 96, devices: 48))
        #expect(throws: (any Error).self) {
            try training.stepSeconds(devices: 48, batch: 96, strategy: lazy)
        }
    }

    // MARK: - Machines

    @Test func machinesAreWrittenAndRead() throws {
        for machine in Machine.presets {
            var read = try Machine(Array(machine.yaml.utf8), path: "machine.yaml")
            read.name = machine.name
            #expect(read == machine)
        }
    }

    @Test(arguments: [
        ("gflops: fast\n", "machine.yaml:1:9: gflops is 'fast'; expected a number from 0.001 to 1e+09"),
        ("gflop: 1\n", "machine.yaml:1:1: unknown name 'gflop'; did you mean 'gflops'?"),
        ("gflops: 1\n", "machine.yaml: memory-bandwidth is missing; expected a number"),
        ("devices-per-node: 1.5\n", "machine.yaml:1:19: devices-per-node is '1.5'; expected a whole number"),
        ("contention: 2\n", "contention is '2'; expected a number from 0 to 1"),
        ("gflops: [1]\n", "gflops is 'a list or a mapping'"), ("", "the file is empty"),
    ]) func mistakesInFilesAreNamed(text: String, message: String) {
        let error = #expect(throws: (any Error).self) { try Machine(Array(text.utf8), path: "machine.yaml") }
        #expect("\(error.map { "\($0)" } ?? "")".contains(message), "\(String(describing: error))")
    }

    @Test func aThousandDevicesAreQuick() throws {
        let start = ContinuousClock.now
        let study = try ScalingStudy(
            training(.h100x8, "scaling"), imagesPerDevice: 64, batches: [1024, 65_536], largest: 1024)
        #expect(ContinuousClock.now - start < .seconds(10))
        #expect(study.steps.map(\.devices) == (0...10).map { 1 << $0 })
        #expect(study.speedUps[0].points.count == 11)
        for chart in [study.stepChart, study.speedUpChart] { #expect(chart.svg.hasSuffix("</svg>\n")) }
    }
}
