/// A training step as the simulation sees it: one device of a machine on which all devices do the same.
///
/// It holds seconds and orders only, so that the simulation is a pure function of it.
package struct StepModel: Sendable {
    /// A layer's passes, each over one micro-batch.
    package struct Layer: Sendable {
        package var forward = 0.0
        package var backward = 0.0
        /// The update of its weights, once a step.
        package var update = 0.0
        /// The exchange of activations before the forward pass and after the backward pass, and in the other
        /// direction after forward and before backward, for which the device waits.
        package var exchangeOfInputs = 0.0
        package var exchangeOfOutputs = 0.0

        package init() {}
    }

    /// What carries an exchange.
    package enum Wire: CaseIterable, Sendable { case port, inside }

    /// One transfer of a bucket's exchange.
    package struct Transfer: Sendable {
        package var wire: Wire
        package var seconds: Double

        package init(_ wire: Wire, _ seconds: Double) {
            self.wire = wire
            self.seconds = seconds
        }
    }

    /// Gradients that are exchanged together.
    package struct Bucket: Sendable {
        /// The lowest layer in it, which backward reaches last and forward reads first.
        ///
        /// Nil for the step's totals, which are ready when forward ends, and read before the first update.
        package var layer: Int?
        /// One after the other.
        package var transfers: [Transfer]

        package init(layer: Int?, transfers: [Transfer]) {
            self.layer = layer
            self.transfers = transfers
        }
    }

    /// When exchanges run, and when the device waits for them.
    package enum Timing: Sendable {
        /// All of them follow the backward pass, and the device waits at the end of the step.
        case afterBackward
        /// Each begins when its gradients are ready; the device waits at the end of the step.
        case synchronous
        /// Each begins when its gradients are ready; the next step waits where it reads the weights.
        case lazy
    }

    package var layers: [Layer]
    /// The most urgent first.
    package var buckets: [Bucket]
    /// The device's micro-batches in a step.
    package var microBatches = 1
    /// Seconds from the end of a transfer until what it carries can be used.
    package var latency = 0.0
    /// The share of the device's speed that is lost while an exchange is on a wire.
    package var contention = 0.0

    package init(layers: [Layer], buckets: [Bucket]) {
        self.layers = layers
        self.buckets = buckets
    }

    /// Returns the seconds of a step in a long row of steps.
    package func seconds(_ timing: Timing) -> Double {
        var simulation = StepSimulation(self, timing)
        return simulation.run()
    }

    /// The seconds in which the device works, whatever the exchange.
    package var computation: Double {
        layers.reduce(0) { $0 + Double(microBatches) * ($1.forward + $1.backward) + $1.update }
    }
}

/// Runs steps event by event.
private struct StepSimulation {
    /// A piece of the device's work, in the order in which it runs.
    private struct Piece {
        var seconds: Double
        /// Whether exchanges slow it down; a wait for activations is none of the device's work.
        var isWork = true
        /// Begins only when these buckets' exchanges are complete.
        var needs: [Int] = []
        /// Begins these buckets' exchanges at its end.
        var starts: [Int] = []
    }

    /// How far a bucket's exchange is.
    private enum State {
        case idle
        /// The transfer that is next, and when it can begin.
        case waiting(Int, since: Double)
        case moving(Int)
        /// All transfers are over; its sums can be used at this time.
        case arriving(Double)

        var isIdle: Bool { if case .idle = self { true } else { false } }
    }

    private let model: StepModel
    private let pieces: [Piece]
    private var states: [State]
    /// The bucket on each wire, and when its transfer ends.
    private var wires: [StepModel.Wire: (bucket: Int, end: Double)] = [:]
    private var now = 0.0
    /// The piece that is next or running, and its seconds at full speed that are left if it is running.
    private var piece = 0
    private var left: Double?

    init(_ model: StepModel, _ timing: StepModel.Timing) {
        self.model = model
        states = model.buckets.map { _ in .idle }
        pieces = StepSimulation.pieces(model, timing)
    }

    private static func pieces(_ model: StepModel, _ timing: StepModel.Timing) -> [Piece] {
        let all = Array(model.buckets.indices)
        func buckets(of layer: Int?) -> [Int] { all.filter { model.buckets[$0].layer == layer } }
        let totals = buckets(of: nil)
        func wait(_ seconds: Double) -> [Piece] {
            seconds > 0 ? [Piece(seconds: seconds, isWork: false)] : []
        }
        var pieces: [Piece] = []
        for microBatch in 0..<model.microBatches {
            let (isFirst, isLast) = (microBatch == 0, microBatch == model.microBatches - 1)
            for (index, layer) in model.layers.enumerated() {
                pieces += wait(layer.exchangeOfInputs)
                var forward = Piece(seconds: layer.forward + (isFirst ? layer.update : 0))
                let isBottom = index == 0
                if isFirst, timing == .lazy {
                    forward.needs = buckets(of: index) + (isBottom ? totals : [])
                } else if isFirst, isBottom {
                    forward.needs = all
                }
                if isLast, index == model.layers.count - 1, timing != .afterBackward {
                    forward.starts = totals
                }
                pieces.append(forward)
                pieces += wait(layer.exchangeOfOutputs)
            }
            for (index, layer) in model.layers.enumerated().reversed() {
                pieces += wait(layer.exchangeOfOutputs)
                var backward = Piece(seconds: layer.backward)
                if isLast {
                    backward.starts =
                        timing == .afterBackward ? (index == 0 ? all : []) : buckets(of: index)
                }
                pieces.append(backward)
                pieces += wait(layer.exchangeOfInputs)
            }
        }
        return pieces
    }

    mutating func run() -> Double {
        guard !pieces.isEmpty else { return 0 }
        // The first step has nothing to wait for, and later ones may take turns in being long.
        let (warmUp, steps) = (8, 24)
        for _ in 0..<warmUp { while !advance() {} }
        let start = now
        for _ in 0..<steps { while !advance() {} }
        return (now - start) / Double(steps)
    }

    /// Advances to the next event.
    ///
    /// - Returns: whether it is the end of a step
    private mutating func advance() -> Bool {
        if left == nil, pieces[piece].needs.allSatisfy({ states[$0].isIdle }) { left = pieces[piece].seconds }
        startTransfers()
        let isSlowed = !wires.isEmpty && pieces[piece].isWork
        let speed = isSlowed ? 1 - model.contention : 1
        var next = left.map { $0 > 0 ? now + $0 / speed : now } ?? .infinity
        let pieceEnd = next
        for wire in wires.values { next = min(next, wire.end) }
        for case .waiting(_, let since) in states where since > now { next = min(next, since) }
        for case .arriving(let time) in states { next = min(next, time) }
        precondition(next < .infinity, "the simulated device waits for an exchange that has not begun")
        finishTransfers(until: next)
        var endsStep = false
        if pieceEnd <= next {
            for bucket in pieces[piece].starts where !model.buckets[bucket].transfers.isEmpty {
                states[bucket] = .waiting(0, since: next)
            }
            left = nil
            piece = (piece + 1) % pieces.count
            endsStep = piece == 0
        } else if let rest = left {
            left = rest - (next - now) * speed
        }
        now = next
        return endsStep
    }

    /// Gives each free wire to the most urgent bucket that waits for it.
    private mutating func startTransfers() {
        for wire in StepModel.Wire.allCases where wires[wire] == nil {
            for bucket in states.indices {
                guard case .waiting(let transfer, let since) = states[bucket], since <= now else { continue }
                let next = model.buckets[bucket].transfers[transfer]
                guard next.wire == wire else { continue }
                wires[wire] = (bucket, now + next.seconds)
                states[bucket] = .moving(transfer)
                break
            }
        }
    }

    private mutating func finishTransfers(until time: Double) {
        for wire in StepModel.Wire.allCases {
            guard let (bucket, end) = wires[wire], end <= time, case .moving(let transfer) = states[bucket]
            else { continue }
            wires[wire] = nil
            let usable = end + model.latency
            states[bucket] =
                transfer + 1 < model.buckets[bucket].transfers.count
                ? .waiting(transfer + 1, since: usable) : .arriving(usable)
        }
        for bucket in states.indices {
            if case .arriving(let usable) = states[bucket], usable <= time { states[bucket] = .idle }
        }
    }
}
