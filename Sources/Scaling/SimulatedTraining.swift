import Basics
import Collectives
import Compute
import Configuration
import NeuralNet
import Training

/// Predicts the steps of a network that trains on many devices of a machine.
///
/// Buckets, micro-batches, the groups that exchange and the parts of split layers are those of the program;
/// only times are modelled. What differs is in docs/scaling.md.
public struct SimulatedTraining {
    /// How the devices divide the work and exchange.
    public struct Strategy: Sendable, Equatable {
        public enum Method: String, Sendable {
            /// Data parallelism that waits for all gradients at the end of a step.
            case synchronous
            /// Data parallelism that waits for a layer's gradients when its weights are read.
            case lazy
            /// Lazy, but hidden fully connected layers are split over the devices, which exchange
            /// activations.
            case hybrid
            /// The same, but synchronous.
            case synchronousHybrid = "hybrid, synchronous"

            /// Those of the paper's figure 2.
            static let compared = [synchronous, lazy, hybrid]

            public var isHybrid: Bool { self == .hybrid || self == .synchronousHybrid }
            public var isLazy: Bool { self == .lazy || self == .hybrid }
        }

        public var method: Method
        /// Whether the devices of a node exchange first.
        public var nodeFirst: Bool

        public init(_ method: Method, nodeFirst: Bool) {
            self.method = method
            self.nodeFirst = nodeFirst
        }

        var timing: StepModel.Timing { method.isLazy ? .lazy : .synchronous }
    }

    public let machine: Machine
    public let architecture: Architecture
    public let classes: Int
    private let options: TrainingOptions
    /// Whether the micro-batches and slices are those of the options, and not those that suit the devices.
    private let isDivided: Bool
    /// The device whose limits decide how gradients are arranged.
    private let device: DeviceDescription
    let plan: NetworkPlan

    /// The name or the list of tokens that describes the network.
    public var model: String { options.model }
    public var imageSize: Int { options.imageSize }

    /// Simulates training by SGD, without a cache of photographs.
    ///
    /// - Parameter device: any device here; that of `machine` differs from it in kind and memory
    /// - Throws: `NetworkError` if the image is too small for the poolings.
    public init(
        _ machine: Machine, model: String, imageSize: Int, classes: Int, device: DeviceDescription
    ) throws {
        var options = TrainingOptions()
        (options.model, options.imageSize) = (model, imageSize)
        (options.optimizer, options.cache) = (.sgd, .off)
        try self.init(machine, options, isDivided: false, classes: classes, device: device)
    }

    /// Simulates training with these options, of which it uses the micro-batches and slices too.
    public init(
        _ machine: Machine, _ options: TrainingOptions, classes: Int, device: DeviceDescription
    ) throws { try self.init(machine, options, isDivided: true, classes: classes, device: device) }

    private init(
        _ machine: Machine, _ options: TrainingOptions, isDivided: Bool, classes: Int,
        device: DeviceDescription
    ) throws {
        self.machine = machine
        (self.options, self.isDivided) = (options, isDivided)
        self.classes = classes
        self.device = device.imaginedGPU(memory: Int(machine.memory * 1e9))
        architecture = try Architecture(parsing: options.model)
        plan = try SimulatedTraining.plan(options, classes: classes, device: self.device)
    }

    /// Plans the network of one device, with the operations of the plain sums.
    private static func plan(
        _ options: TrainingOptions, classes: Int, split: LayerSplit? = nil, device: DeviceDescription
    ) throws -> NetworkPlan {
        try NetworkPlan(
            Architecture(parsing: options.model), imageSize: options.imageSize, classes: classes,
            options: .init(
                maximumBatch: 1, training: true, convolution: .init(.direct),
                freezesFeatures: options.freeze == .features, slices: options.slices, split: split),
            device: device)
    }

    /// Returns the options with the numbers of micro-batches and slices that are simulated.
    private func options(devices: Int) -> TrainingOptions {
        var options = options
        if !isDivided {
            options.microBatches = SimulatedTraining.microBatches(devices: devices)
            options.slices = SimulatedTraining.slices(devices: devices)
        }
        return options
    }

    private func partition(devices: Int, batch: Int, nodeFirst: Bool) throws -> Partition {
        try Partition(
            machine, devices: devices, batch: batch,
            microBatches: options(devices: devices).microBatches, nodeFirst: nodeFirst)
    }

    /// Returns the number of slices with which all devices hold a part of a wide layer, if that is possible.
    static func slices(devices: Int) -> Int {
        min(Slices.most, max(Slices.standard, microBatches(devices: devices)))
    }

    /// The strategies worth comparing: methods as the machine reduces, then the other way to reduce.
    ///
    /// Hybrid is left out if there is no layer to split.
    public var strategies: [Strategy] {
        let methods = Strategy.Method.compared.map { Strategy($0, nodeFirst: machine.nodeFirst) }
        let others =
            machine.devicesPerNode > 1
            ? [Strategy.Method.lazy, .hybrid].map { Strategy($0, nodeFirst: !machine.nodeFirst) } : []
        return (methods + others).filter { hasHybrid || !$0.method.isHybrid }
    }

    /// Whether there is a layer that hybrid parallelism splits.
    public var hasHybrid: Bool { architecture.hasHiddenFullyConnected }

    /// The number of trained parameters.
    public var parameterCount: Int { plan.trainedParameters.reduce(0) { $0 + $1.count } }

    // MARK: - Results

    /// Returns the seconds of a step.
    ///
    /// - Parameter batch: images of a mini-batch over all devices
    /// - Throws: `TrainingError` if the mini-batch cannot be divided over the devices.
    public func stepSeconds(devices: Int, batch: Int, strategy: Strategy) throws -> Double {
        try stepModel(devices: devices, batch: batch, strategy: strategy).seconds(strategy.timing)
    }

    /// Returns the number of images per second, as a multiple of one device's with the same mini-batch.
    public func speedUp(devices: Int, batch: Int, strategy: Strategy) throws -> Double {
        try stepSeconds(devices: 1, batch: batch, strategy: strategy)
            / stepSeconds(devices: devices, batch: batch, strategy: strategy)
    }

    /// Returns the number of micro-batches of a step, of which each device has at least one.
    public static func microBatches(devices: Int) -> Int {
        MicroBatchTree.defaultMicroBatches(ranks: devices)
    }

    /// Returns whether a mini-batch can be divided over the devices.
    public static func divides(batch: Int, devices: Int) -> Bool {
        batch % microBatches(devices: devices) == 0
    }

    /// Returns the bytes of device memory that training takes on the device that needs most.
    ///
    /// - Parameter isHybrid: whether hidden fully connected layers are split over the devices
    public func memory(devices: Int, batch: Int, isHybrid: Bool) throws -> Int {
        let partition = try partition(devices: devices, batch: batch, nodeFirst: machine.nodeFirst)
        return try TrainingMemory(
            options(devices: devices), classes: classes, microBatches: partition.microBatches,
            exchanges: devices > 1, split: isHybrid ? partition.schedule.split(of: 0) : nil, device: device
        ).plan(batch: partition.microBatches * partition.microBatchImages).total
    }

    // MARK: - The model

    /// Returns the step as the simulation sees it.
    ///
    /// - Parameter bucketSizes: nil for those that the program would choose
    package func stepModel(
        devices: Int, batch: Int, strategy: Strategy, bucketSizes: GradientBuckets.Sizes? = nil
    ) throws -> StepModel {
        let partition = try partition(devices: devices, batch: batch, nodeFirst: strategy.nodeFirst)
        let isHybrid = strategy.method.isHybrid && devices > 1
        let plan = try isHybrid ? split(partition) : self.plan
        var layers = layers(plan, partition)
        if isHybrid { addActivations(to: &layers, plan, partition) }
        var model = StepModel(
            layers: layers,
            buckets: buckets(plan, partition, sizes: bucketSizes ?? .init(for: partition.topology)))
        model.microBatches = partition.microBatches
        model.latency = machine.latency * 1e-6
        model.contention = machine.contention
        return model
    }

    /// Plans the network of the first device with its part of the split layers; it holds as much as any.
    private func split(_ partition: Partition) throws -> NetworkPlan {
        try SimulatedTraining.plan(
            options(devices: partition.devices), classes: classes,
            split: partition.schedule.split(of: 0), device: device)
    }

    private func layers(_ plan: NetworkPlan, _ partition: Partition) -> [StepModel.Layer] {
        let stored = plan.trainedParameters.reduce(0) { $0 + $1.storedCount }
        let update = plan.updateWork(options.optimizer, averages: options.averageDecay != nil)
            .seconds(at: machine.speed)
        return plan.layers.map { layer in
            func seconds(_ passes: [LayerPass]) -> Double {
                passes.filter { plan.runs($0, layer) }.flatMap {
                    layer.work($0, batch: partition.microBatchImages)
                }.seconds(at: machine.speed)
            }
            let trained = layer.index < plan.lowestTrained ? [] : layer.parameters
            let own = trained.reduce(0) { $0 + $1.storedCount }
            var result = StepModel.Layer()
            result.forward = seconds([.forward])
            result.backward = seconds([.backwardWeights, .backwardData])
            result.update = update * Double(own) / Double(max(1, stored))
            return result
        }
    }

    /// Adds the exchanges of the split layers' activations, as the first device sends them.
    ///
    /// Backward exchanges as many bytes the other way round.
    private func addActivations(
        to layers: inout [StepModel.Layer], _ plan: NetworkPlan, _ partition: Partition
    ) {
        let schedule = partition.schedule
        let shapes = plan.hiddenShapes
        let places = plan.layers.indices.filter { plan.layers[$0].parameters.contains(where: \.isSplit) }
        let turn = schedule.rows(turn: 0).reduce(0, +)
        for (index, place) in places.enumerated() {
            let floats =
                index == 0
                ? partition.microBatchImages * shapes[0].inputs
                : turn * schedule.held(of: shapes[index - 1])[0].count
            layers[place].exchangeOfInputs = partition.gatherSeconds(block: 4 * floats)
        }
        if let last = places.last, let shape = shapes.last {
            layers[last].exchangeOfOutputs = partition.allToAllSeconds(
                block: 4 * partition.microBatchImages * schedule.held(of: shape)[0].count)
        }
    }

    private func buckets(_ plan: NetworkPlan, _ partition: Partition, sizes: GradientBuckets.Sizes)
        -> [StepModel.Bucket]
    {
        guard partition.devices > 1 else { return [] }
        let (buckets, layerOf) = exchange(plan, sizes)
        return buckets.map { bucket in
            StepModel.Bucket(
                layer: bucket.parameters.min().map { layerOf[$0] },
                transfers: partition.allReduce(bytes: bucket.bytes.count))
        }
    }

    /// Returns the buckets of a device, and the layer of each parameter that is exchanged.
    private func exchange(_ plan: NetworkPlan, _ sizes: GradientBuckets.Sizes) -> (
        buckets: [GradientBuckets.Bucket], layerOf: [Int]
    ) {
        var parameters: [Parameter] = []
        var layerOf: [Int] = []
        for layer in plan.layers[plan.lowestTrained...] {
            // Those of split layers are only on their device.
            for parameter in layer.parameters where !parameter.isSplit {
                parameters.append(parameter)
                layerOf.append(layer.index)
            }
        }
        return (GradientLayout(parameters, device: device, sizes: sizes).buckets, layerOf)
    }

    /// Returns the buckets that a device exchanges in a step, the most urgent first.
    package func buckets(devices: Int, batch: Int, strategy: Strategy) throws -> [GradientBuckets.Bucket] {
        let partition = try partition(devices: devices, batch: batch, nodeFirst: strategy.nodeFirst)
        let plan = try strategy.method.isHybrid ? split(partition) : self.plan
        return exchange(plan, .init(for: partition.topology)).buckets
    }
}

/// How the devices of a machine divide a mini-batch, and what their exchanges cost.
private struct Partition {
    /// An exchange within a group, as its first member sees it.
    private struct Stage {
        let wire: StepModel.Wire
        let count: Int
        /// Seconds for each byte of a block that goes to each other member, and for the messages.
        let perByte: Double
        let messages: Double

        func seconds(block: Double) -> Double { block * perByte + messages }
    }

    let devices: Int
    let topology: Topology
    /// The micro-batches of the device that has most, and the images of each.
    let microBatches: Int
    let microBatchImages: Int
    private let stages: [Stage]
    private let latency: Double

    /// How the devices split hidden fully connected layers.
    var schedule: HybridSchedule {
        HybridSchedule(spans: topology.spans, nodes: topology.groups, microBatch: microBatchImages)
    }

    /// - Parameter all: the micro-batches of all devices
    init(_ machine: Machine, devices: Int, batch: Int, microBatches all: Int, nodeFirst: Bool) throws {
        guard batch % all == 0 else {
            throw TrainingError(
                "a mini-batch of \(batch) on \(devices) devices: expected a multiple of \(all), the number "
                    + "of micro-batches")
        }
        self.devices = devices
        let nodes = stride(from: 0, to: devices, by: machine.devicesPerNode).map {
            Array($0..<min(devices, $0 + machine.devicesPerNode))
        }
        // One group of all devices is flat.
        let topology = try Topology(
            microBatches: all, nodes: nodes, nodeSize: nodeFirst ? nil : devices,
            hasWindows: machine.hasWindows)
        self.topology = topology
        microBatches = topology.spans.map(\.count).max() ?? 1
        microBatchImages = batch / all
        latency = machine.latency * 1e-6
        stages = topology.stages(of: 0).map { stage in
            let local = stage.group.filter { nodes[0].contains($0) }.count
            let away = stage.group.count - local
            let message = machine.messageTime * 1e-6
            let inside = Double(local - 1) / (machine.insideBandwidth * 1e9)
            guard away > 0 else {
                return Stage(
                    wire: .inside, count: local, perByte: inside, messages: message * Double(local - 1))
            }
            // All devices of the node send through its port at the same time.
            let sent = Double(away * nodes[0].count)
            return Stage(
                wire: .port, count: stage.group.count,
                perByte: max(sent / (machine.portBandwidth * 1e9), inside), messages: message * sent)
        }
    }

    /// Returns the transfers of a butterfly: reduce-scatters from the first stage to the last, then
    /// all-gathers from the last to the first.
    func allReduce(bytes: Int) -> [StepModel.Transfer] {
        var block = Double(bytes)
        let half = stages.map { stage in
            block /= Double(stage.count)
            return StepModel.Transfer(stage.wire, stage.seconds(block: block))
        }
        return half + half.reversed()
    }

    /// Returns the seconds of an all-gather in which each device has a block of `block` bytes, or of a
    /// reduce-scatter in which each receives one: inside a node, the blocks for all nodes.
    func gatherSeconds(block: Int) -> Double { seconds(Double(block), between: 1) }

    /// Returns the seconds of an all-to-all with blocks of `block` bytes: between nodes, the blocks of all
    /// devices of a node.
    func allToAllSeconds(block: Int) -> Double { seconds(Double(block), between: stages.first?.count ?? 1) }

    private func seconds(_ block: Double, between blocks: Int) -> Double {
        guard stages.count > 1 else { return stages.reduce(0) { $0 + $1.seconds(block: block) + latency } }
        return stages[0].seconds(block: block * Double(stages[1].count))
            + stages[1].seconds(block: block * Double(blocks)) + 2 * latency
    }
}
