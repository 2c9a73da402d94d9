import Basics
import Collectives
import Compute
import Foundation
import NeuralNet

/// Runs the hidden fully connected layers that are split by outputs over the ranks (section 3.2 of the
/// paper).
///
/// Each rank computes its own outputs of the images of all ranks. Before the first layer and between the
/// layers, all ranks receive the whole inputs (all-gather). Behind the last one, each receives the whole
/// outputs of its own images (all-to-all). Backward mirrors this: the gradient of a layer's input is a sum
/// over the ranks that hold the layer, which add their slices; the receiver adds the ranks' sums in the
/// slices' tree (reduce-scatter). All exchanges are synchronous, and pass through the host's memory.
public final class HybridLayers {
    let schedule: HybridSchedule
    private let network: Network
    private let communicator: any Communicator
    private let exchange: BlockExchange
    private let layers: [SplitLayer]
    private let shapes: [HiddenShape]
    /// The stored outputs of each layer that each rank holds.
    private let held: [[Range<Int>]]
    /// The order in which the ranks' partial sums of each layer's input gradient are added.
    private let reductions: [BlockExchange.Reduction]
    /// Rows that this rank has computed; rows to send, packed by receiver; rows made of what has arrived.
    private let own, packed, joined: HostFloats
    private var rank: Int { communicator.rank }
    /// The rows of the turn that is under way.
    private var rows: [SplitRows] = []
    private var counts: [Int] = []

    /// Host memory for floats, which the device's driver may reach directly.
    private struct HostFloats {
        private let memory: HostMemory
        let base: UnsafeMutablePointer<Float>

        init(_ device: Device, count: Int) {
            memory = device.hostMemory.allocate(byteCount: max(1, count) * 4)
            guard let start = memory.bytes.baseAddress else { preconditionFailure("no memory") }
            base = start.bindMemory(to: Float.self, capacity: max(1, count))
        }

        func bytes(_ floats: Range<Int>) -> UnsafeRawBufferPointer {
            UnsafeRawBufferPointer(start: base + floats.lowerBound, count: 4 * floats.count)
        }

        /// Reads the first floats of a buffer, once the device has computed them.
        func read(_ count: Int, of buffer: Buffer) throws {
            try buffer.read(into: .init(start: base, count: 4 * count), byteOffset: 0).wait()
        }
    }

    /// Opens the exchange of activations; every rank calls it.
    package init(
        _ network: Network, schedule: HybridSchedule, communicator: any Communicator, topology: Topology
    ) throws {
        self.network = network
        self.schedule = schedule
        self.communicator = communicator
        layers = network.splitLayers
        let shapes = network.plan.hiddenShapes
        self.shapes = shapes
        held = shapes.map { schedule.held(of: $0) }
        let exchange = try BlockExchange(
            communicator, topology: topology, blockBytes: schedule.blockBytes(shapes),
            allToAllBytes: schedule.allToAllBytes(shapes))
        self.exchange = exchange
        reductions = shapes.map { exchange.reduction(schedule.slices($0.slices.count)) }
        let turn = schedule.rows(turn: 0).reduce(0, +)
        let widest = shapes.flatMap { [$0.inputs, $0.outputs] }.max() ?? 0
        (own, packed, joined) = (
            HostFloats(network.device, count: turn * widest),
            HostFloats(network.device, count: turn * widest),
            HostFloats(network.device, count: turn * widest)
        )
    }

    // MARK: - Forward

    /// Runs the layers on the images of a turn.
    ///
    /// - Parameters:
    ///   - counts: the images that each rank has in this turn
    ///   - pass: returns the pass of a rank's images
    ///   - beforeLayer: called before a layer's weights are read
    func forward(
        turn: Int, counts: [Int], pass: (_ rank: Int, _ images: Int) -> Pass,
        beforeLayer: (any Layer) throws -> Void = { _ in }
    ) throws {
        self.counts = counts
        rows = counts.indices.filter { counts[$0] > 0 }.map {
            SplitRows(first: counts[..<$0].reduce(0, +), pass: pass($0, counts[$0]))
        }
        guard let first = layers.first, !rows.isEmpty else { return }
        try own.read(counts[rank] * shapes[0].inputs, of: network.activations[first.index])
        try exchange.allGather(
            own.bytes(0..<counts[rank] * shapes[0].inputs), sizes: counts.map { 4 * $0 * shapes[0].inputs })
        for peer in counts.indices where counts[peer] > 0 {
            try first.turnInputs[turn].write(
                exchange.block(from: peer), byteOffset: 4 * start(of: peer) * shapes[0].inputs
            ).wait()
        }
        for (index, layer) in layers.enumerated() {
            try beforeLayer(layer.layer)
            network.device.profile?.begin(
                Network.profileLabel(layer.index, layer.layer.name), pass: LayerPass.forward.rawValue)
            try layer.forward(turn: turn, rows)
            try gatherOutputs(
                index, into: index + 1 < layers.count ? layers[index + 1].turnInputs[turn] : nil)
        }
    }

    /// The first row of a rank's images.
    private func start(of rank: Int) -> Int { counts[..<rank].reduce(0, +) }
    private var total: Int { counts.reduce(0, +) }

    /// Gives each rank the whole output of a layer, of all images if there is a next layer, else of its own.
    private func gatherOutputs(_ index: Int, into next: Buffer?) throws {
        let (width, columns) = (shapes[index].outputs, held[index])
        let count = columns[rank].count
        if count > 0 { try own.read(total * count, of: layers[index].output) }
        let (ownRows, all) = (counts[rank], total)
        if next != nil {
            try exchange.allGather(own.bytes(0..<all * count), sizes: columns.map { 4 * all * $0.count })
        } else {
            try exchange.allToAll {
                own.bytes(start(of: $0) * count..<(start(of: $0) + counts[$0]) * count)
            } size: {
                4 * counts[$1] * columns[$0].count
            }
        }
        let rows = next == nil ? ownRows : all
        for peer in columns.indices where !columns[peer].isEmpty && rows > 0 {
            copyRows(
                rows, of: columns[peer].count, from: exchange.block(from: peer).floats,
                stride: columns[peer].count, to: joined.base + columns[peer].lowerBound, stride: width)
        }
        if let next { try next.write(joined.bytes(0..<all * width)).wait() }
        // The network has its own images' activations, for the layers behind and for diagnosis.
        let place = next == nil ? 0 : start(of: rank) * width
        try network.activations[layers[index].index + 1].write(
            joined.bytes(place..<place + ownRows * width)
        ).wait()
    }

    private func copyRows(
        _ rows: Int, of count: Int, from source: UnsafePointer<Float>, stride sourceStride: Int,
        to target: UnsafeMutablePointer<Float>, stride targetStride: Int
    ) {
        for row in 0..<rows {
            (target + row * targetStride).update(from: source + row * sourceStride, count: count)
        }
    }

    // MARK: - Backward

    /// Runs the layers' backward pass on the images of the last forward's turn.
    ///
    /// - Parameters:
    ///   - gradient: that of the last layer's output for this rank's images, if it has any
    ///   - features: receives the gradient of the first layer's input for this rank's images
    func backward(turn: Int, gradient: Buffer?, features: Buffer) throws {
        try scatterOutputGradient(turn: turn, gradient)
        for (index, layer) in layers.enumerated().reversed() {
            let needsInput = network.needsGradient(ofInputOf: layer.index)
            network.device.profile?.begin(
                Network.profileLabel(layer.index, layer.layer.name), pass: LayerPass.backwardData.rawValue)
            try layer.backward(turn: turn, rows, needsInput: needsInput)
            guard needsInput else { continue }
            if !layer.held.isEmpty { try own.read(total * shapes[index].inputs, of: layer.inputGradient) }
            if index > 0 {
                try reduceScatterColumns(index, into: layers[index - 1].turnGradients[turn])
            } else {
                try reduceScatterRows(into: features)
            }
        }
    }

    /// Gives each rank the gradients of its outputs of the last layer, of all images (all-to-all).
    private func scatterOutputGradient(turn: Int, _ gradient: Buffer?) throws {
        guard let layer = layers.last, let columns = held.last, let width = shapes.last?.outputs else {
            return
        }
        let count = columns[rank].count
        if let gradient { try own.read(counts[rank] * width, of: gradient) }
        let ownRows = counts[rank]
        pack(ownRows, width, columns)
        try exchange.allToAll {
            packed.bytes(ownRows * columns[$0].lowerBound..<ownRows * columns[$0].upperBound)
        } size: {
            4 * counts[$0] * columns[$1].count
        }
        for peer in counts.indices where counts[peer] > 0 && count > 0 {
            try layer.turnGradients[turn].write(
                exchange.block(from: peer), byteOffset: 4 * start(of: peer) * count
            ).wait()
        }
    }

    /// Puts the columns of each rank next to each other; those of a rank begin at rows × its first column.
    private func pack(_ rows: Int, _ width: Int, _ columns: [Range<Int>]) {
        for part in columns where !part.isEmpty {
            copyRows(
                rows, of: part.count, from: own.base + part.lowerBound, stride: width,
                to: packed.base + rows * part.lowerBound, stride: part.count)
        }
    }

    /// Adds the gradients of a layer's input, of all images; each rank those of its outputs of the layer
    /// below.
    private func reduceScatterColumns(_ index: Int, into target: Buffer) throws {
        let (columns, all) = (held[index - 1], total)
        if !layers[index].held.isEmpty { pack(all, shapes[index].inputs, columns) }
        try exchange.reduceScatter(
            reductions[index], { UnsafePointer(packed.base + all * columns[$0].lowerBound) },
            count: { all * columns[$0].count }, into: joined.base)
        let count = all * columns[rank].count
        if count > 0 { try target.write(joined.bytes(0..<count)).wait() }
    }

    /// Adds the gradients of the first layer's input; each rank those of its images.
    private func reduceScatterRows(into target: Buffer) throws {
        let width = shapes[0].inputs
        try exchange.reduceScatter(
            reductions[0], { UnsafePointer(own.base + start(of: $0) * width) },
            count: { counts[$0] * width }, into: joined.base)
        if counts[rank] > 0 { try target.write(joined.bytes(0..<counts[rank] * width)).wait() }
    }

    /// Queues the gradients of the held weights, once all turns of a step have run.
    func backwardWeights(_ gradients: ParameterArena) throws {
        let places = schedule.places
        for layer in layers.reversed() where !layer.held.isEmpty {
            network.device.profile?.begin(
                Network.profileLabel(layer.index, layer.layer.name), pass: LayerPass.backwardWeights.rawValue)
            let parameters = layer.layer.parameters
            try layer.backwardWeights(
                places, weights: gradients[parameters[0]], bias: gradients[parameters[1]])
        }
    }

    // MARK: - Other collectives

    /// Completes the sums of squares of the split layers' gradients (`Optimizer.completeSquares`).
    func completeSquares(_ sums: inout [Float], held: [Int]) throws {
        let places = try communicator.gather(held)
        let values = try communicator.gather(held.map { sums[$0] })
        for (places, values) in zip(places, values) {
            for (place, value) in zip(places, values) { sums[place] = value }
        }
    }

    /// Sends a parameter to the first rank, a panel at a time; every rank calls it at the same point.
    ///
    /// - Parameter write: called on the first rank only, with the next of the parameter's numbers
    func export(
        _ parameter: Parameter, _ values: Buffer, _ write: @escaping ([Float]) throws -> Void
    ) throws {
        guard parameter.isSplit,
            let index = layers.firstIndex(where: { $0.layer.parameters.contains { $0 === parameter } })
        else {
            if rank == 0 { try exportPanels(parameter, values, write) }
            return
        }
        let most = exchange.blockBytes / 4
        let parts = held[index]
        for holder in parts.indices.sorted(by: { parts[$0].lowerBound < parts[$1].lowerBound })
        where !parts[holder].isEmpty {
            if holder == 0 {
                if rank == 0 { try exportPanels(parameter, values, write) }
                continue
            }
            // The numbers of this holder's outputs, panel by panel, in blocks that the exchange takes.
            let outputs = parts[holder].clamped(to: 0..<parameter.shape[0])
            for panel in 0..<outputs.count.ceilDivided(by: 16) {
                let count = min(16, outputs.count - 16 * panel)
                let numbers = holder == rank ? try self.panel(panel, count, of: parameter, values) : []
                for first in stride(from: 0, to: count * parameter.numbersPerOutput, by: most) {
                    let size = min(most, count * parameter.numbersPerOutput - first)
                    try numbers.withUnsafeBytes { bytes in
                        try exchange.allToAll {
                            $0 == 0 && holder == rank
                                ? UnsafeRawBufferPointer(rebasing: bytes[4 * first..<4 * (first + size)])
                                : UnsafeRawBufferPointer(start: nil, count: 0)
                        } size: {
                            $0 == holder && $1 == 0 ? 4 * size : 0
                        }
                    }
                    if rank == 0 {
                        let block = exchange.block(from: holder)
                        try write(Array(UnsafeBufferPointer(start: block.floats, count: size)))
                    }
                }
            }
        }
    }

    private func exportPanels(_ parameter: Parameter, _ values: Buffer, _ write: ([Float]) throws -> Void)
        throws
    {
        let count = parameter.heldOutputs.count
        for panel in 0..<count.ceilDivided(by: 16) {
            try write(self.panel(panel, min(16, count - 16 * panel), of: parameter, values))
        }
    }

    /// Reads a panel in torchvision's order.
    private func panel(_ panel: Int, _ outputs: Int, of parameter: Parameter, _ values: Buffer) throws
        -> [Float]
    {
        var stored = [Float](repeating: 0, count: parameter.panelFloats)
        try stored.withUnsafeMutableBytes {
            try values.read(into: $0, byteOffset: 4 * panel * parameter.panelFloats).wait()
        }
        return parameter.exported(stored, outputs: outputs)
    }
}

extension UnsafeRawBufferPointer {
    /// The bytes of a block that has arrived, as floats.
    fileprivate var floats: UnsafePointer<Float> {
        guard let baseAddress else { preconditionFailure("an empty block") }
        return baseAddress.assumingMemoryBound(to: Float.self)
    }
}

extension Network {
    /// Computes the whole output of a split layer for a few images, from the first rank's input.
    ///
    /// For the initialisation only, before the ranks have opened memory to each other: everything passes
    /// through `gather`.
    func forwardSplit(_ split: SplitLayer, _ pass: Pass, schedule: HybridSchedule, ranks: Ranks) throws {
        let shape = plan.hiddenShapes[splitLayers.firstIndex { $0 === split } ?? 0]
        let input: [Float] =
            ranks.isFirst ? try activations[split.index].read(pass.batch * shape.inputs) : []
        try split.turnInputs[0].write(try ranks.gather(input)[0])
        try split.forward(turn: 0, [SplitRows(first: 0, pass: pass)])
        let own: [Float] = try split.output.read(pass.batch * split.held.count)
        let all = try ranks.gather(own)
        var output = [Float](repeating: 0, count: pass.batch * shape.outputs)
        for (values, columns) in zip(all, schedule.held(of: shape)) {
            for row in 0..<pass.batch {
                for (place, column) in columns.enumerated() {
                    output[row * shape.outputs + column] = values[row * columns.count + place]
                }
            }
        }
        try activations[split.index + 1].write(output)
    }
}
