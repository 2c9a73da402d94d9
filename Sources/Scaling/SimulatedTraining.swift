import Basics
import Collectives
import Compute
import Configuration
import NeuralNet
import Training

/// Predicts the steps of a network that trains on many devices of a machine.
///
/// Buckets, micro-batches and the groups that exchange are those of the program; only times are modelled.
/// The hybrid strategy and buckets over TCP are simplified (docs/scaling.md).
public struct SimulatedTraining {
    /// How the devices divide the work and exchange.
    public struct Strategy: Sendable, Equatable {
        public enum Method: String, CaseIterable, Sendable {
            /// Data parallelism that waits for all gradients at the end of a step.
            case synchronous
            /// Data parallelism that waits for a layer's gradients when its weights are read.
            case lazy
            /// Lazy, but hidden fully connected layers are cut over the devices, which exchange activations.
            case hybrid
        }

        public var method: Method
        /// Whether the devices of a node exchange first.
        public var nodeFirst: Bool

        public init(_ method: Method, nodeFirst: Bool) {
            self.method = method
            self.nodeFirst = nodeFirst
        }

        var timing: StepModel.Timing { method == .synchronous ? .synchronous : .lazy }
    }

    public let machine: Machine
    /// The name or the list of tokens that describes the network.
    public let model: String
    public let architecture: Architecture
    public let imageSize, classes: Int
    /// The device whose limits decide how gradients are arranged.
    private let device: DeviceDescription
    let plan: NetworkPlan

    /// - Parameter device: any device here; that of `machine` differs from it in kind and memory
    /// - Throws: `NetworkError` if the image is too small for the poolings.
    public init(
        _ machine: Machine, model: String, imageSize: Int, classes: Int, device: DeviceDescription
    ) throws {
        self.machine = machine
        self.model = model
        self.imageSize = imageSize
        self.classes = classes
        self.device = device.imaginedGPU(memory: Int(machine.memory * 1e9))
        architecture = try Architecture(parsing: model)
        // Operations are those of the plain sums.
        plan = try NetworkPlan(
            architecture, imageSize: imageSize, classes: classes,
            options: .init(maximumBatch: 1, training: true, convolution: .init(.direct)), device: self.device)
    }

    /// The strategies worth comparing: all methods as the machine reduces, then the other way to reduce.
    public var strategies: [Strategy] {
        let methods = Strategy.Method.allCases.map { Strategy($0, nodeFirst: machine.nodeFirst) }
        guard machine.devicesPerNode > 1 else { return methods }
        return methods
            + [Strategy.Method.lazy, .hybrid].map { Strategy($0, nodeFirst: !machine.nodeFirst) }
    }

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

    /// Returns the bytes of device memory that data parallelism takes on each device.
    public func memory(devices: Int, batch: Int) throws -> Int {
        var options = TrainingOptions()
        (options.model, options.imageSize) = (model, imageSize)
        (options.optimizer, options.cache) = (.sgd, .off)
        let layout = try Layout(machine, devices: devices, batch: batch, nodeFirst: machine.nodeFirst)
        return try TrainingMemory(
            options, classes: classes, microBatches: layout.microBatches,
            exchanges: devices > 1, device: device
        ).plan(batch: layout.microBatches * layout.microBatchImages).total
    }

    // MARK: - The model

    /// Returns the step as the simulation sees it.
    ///
    /// - Parameter bucketSizes: nil for those that the program would choose
    package func stepModel(
        devices: Int, batch: Int, strategy: Strategy, bucketSizes: GradientBuckets.Sizes? = nil
    ) throws -> StepModel {
        let layout = try Layout(machine, devices: devices, batch: batch, nodeFirst: strategy.nodeFirst)
        let isCut = cutLayers(strategy, devices: devices)
        var model = StepModel(
            layers: layers(layout, isCut),
            buckets: buckets(layout, isCut, sizes: bucketSizes ?? .forGroups(of: layout.largestGroup)))
        model.microBatches = layout.microBatches
        model.latency = machine.latency * 1e-6
        model.contention = machine.contention
        return model
    }

    /// Returns which layers are cut over the devices: hidden fully connected ones.
    private func cutLayers(_ strategy: Strategy, devices: Int) -> [Bool] {
        plan.layers.indices.map {
            strategy.method == .hybrid && devices > 1 && $0 < plan.layers.count - 1
                && plan.layers[$0].spec.isClassifier && plan.layers[$0].spec.hasWeights
        }
    }

    private func layers(_ layout: Layout, _ isCut: [Bool]) -> [StepModel.Layer] {
        let stored = plan.trainedParameters.reduce(0) { $0 + $1.storedCount }
        let update = plan.updateWork(.sgd).seconds(at: machine.speed)
        return plan.layers.indices.map { index in
            let layer = plan.layers[index]
            let own = layer.parameters.reduce(0) { $0 + $1.storedCount }
            func seconds(_ passes: [LayerPass]) -> Double {
                passes.filter { plan.runs($0, layer) }.reduce(0) {
                    $0 + work(layer, $1, layout, isCut: isCut[index]).seconds(at: machine.speed)
                }
            }
            var result = StepModel.Layer()
            result.forward = seconds([.forward])
            result.backward = seconds([.backwardWeights, .backwardData])
            result.update = update * Double(own) / Double(max(1, stored))
            guard isCut[index] else { return result }
            result.update /= Double(layout.devices)
            // All images' inputs go to all devices, and backward adds their gradients by the same way. The
            // outputs are the inputs of the next cut layer, or each image's return to its own device.
            let images = layout.microBatchImages * layout.devices
            result.exchangeOfInputs = layout.gatherSeconds(bytes: 4 * images * layer.input.storedCount)
            let next = plan.layers.indices.dropFirst(index + 1).first {
                !plan.layers[$0].parameters.isEmpty
            }
            if let next, !isCut[next] {
                result.exchangeOfOutputs = layout.allToAllSeconds(
                    bytes: 4 * images * layer.output.storedCount / layout.devices)
            }
            return result
        }
    }

    /// Returns what one device computes and moves in a pass over a micro-batch.
    private func work(_ layer: LayerPlan, _ pass: LayerPass, _ layout: Layout, isCut: Bool) -> [Work] {
        let images = layout.microBatchImages
        guard isCut else { return layer.work(pass, batch: images) }
        // The operations are the same: a part of the outputs for all images.
        let devices = Double(layout.devices)
        let tensors = layer.spec.tensors(pass)
        let weights = layer.parameters.reduce(0) { $0 + Double($1.storedCount) }
        let floats =
            tensors.input * Double(layer.input.storedCount * images) * devices
            + tensors.output * Double(layer.output.storedCount * images) + weights / devices
        return [Work(operations: layer.operations(batch: images), bytes: 4 * floats)]
    }

    private func buckets(_ layout: Layout, _ isCut: [Bool], sizes: GradientBuckets.Sizes)
        -> [StepModel.Bucket]
    {
        guard layout.devices > 1 else { return [] }
        // The layer of each parameter that is exchanged. Those of cut layers are only on their device.
        var parameters: [Parameter] = []
        var layerOf: [Int] = []
        for (index, layer) in plan.layers.enumerated() where !isCut[index] {
            for parameter in layer.parameters {
                parameters.append(parameter)
                layerOf.append(index)
            }
        }
        return GradientBuckets(of: parameters, layout: device, sizes: sizes).buckets.map { bucket in
            StepModel.Bucket(
                layer: layerOf[bucket.parameters.min() ?? 0],
                transfers: layout.allReduce(bytes: bucket.bytes.count))
        }
    }
}

/// How the devices of a machine divide a mini-batch, and what their exchanges cost.
private struct Layout {
    /// An exchange within a group, as one of its members sees it.
    private struct Stage {
        let wire: StepModel.Wire
        /// Seconds for each byte of the data that is exchanged, and for the messages.
        let perByte: Double
        let messages: Double

        func seconds(bytes: Int) -> Double { Double(bytes) * perByte + messages }
    }

    let devices: Int
    /// The micro-batches of the device that has most, and the images of each.
    let microBatches: Int
    let microBatchImages: Int
    let largestGroup: Int
    private let stages: [Stage]
    private let direct: Stage?
    private let latency: Double

    init(_ machine: Machine, devices: Int, batch: Int, nodeFirst: Bool) throws {
        let all = SimulatedTraining.microBatches(devices: devices)
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
            microBatches: all, nodes: nodes, nodeSize: nodeFirst ? nil : devices)
        microBatches = topology.spans.map(\.count).max() ?? 1
        microBatchImages = batch / all
        largestGroup = topology.largestGroup
        latency = machine.latency * 1e-6

        /// Returns the stage of a group that contains device 0, for a share of the data.
        func stage(_ group: [Int], share: Double) -> Stage {
            let local = group.filter { nodes[0].contains($0) }.count
            let away = group.count - local
            let count = Double(group.count)
            let message = machine.messageTime * 1e-6
            let inside = share * Double(local - 1) / count / (machine.insideBandwidth * 1e9)
            guard away > 0 else {
                return Stage(wire: .inside, perByte: inside, messages: message * Double(local - 1))
            }
            // All devices of the node send through its port at the same time.
            let sharers = Double(nodes[0].count)
            let port = share * Double(away) / count * sharers / (machine.portBandwidth * 1e9)
            return Stage(
                wire: .port, perByte: max(port, inside), messages: message * Double(away) * sharers)
        }
        var share = 1.0
        stages = topology.stages(of: 0).map { exchange in
            defer { share /= Double(exchange.group.count) }
            return stage(exchange.group, share: share)
        }
        direct = devices > 1 ? stage(Array(0..<devices), share: 1) : nil
    }

    /// Returns the transfers of a butterfly: reduce-scatters from the first stage to the last, then
    /// all-gathers from the last to the first.
    func allReduce(bytes: Int) -> [StepModel.Transfer] {
        let half = stages.map { StepModel.Transfer($0.wire, $0.seconds(bytes: bytes)) }
        return half + half.reversed()
    }

    /// Returns the seconds of an all-gather, or of a reduce-scatter, of `bytes` of all devices together.
    func gatherSeconds(bytes: Int) -> Double {
        stages.reduce(0) { $0 + $1.seconds(bytes: bytes) + latency }
    }

    /// Returns the seconds in which each device sends `bytes` in equal parts to all.
    func allToAllSeconds(bytes: Int) -> Double { direct.map { $0.seconds(bytes: bytes) + latency } ?? 0 }
}
