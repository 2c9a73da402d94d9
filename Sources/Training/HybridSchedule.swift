import Collectives
import NeuralNet

/// Divides hidden fully connected layers over the ranks, and the mini-batch into the turns in which they run.
///
/// The convolutions run one of a rank's micro-batches at a time. In turn t the split layers run on
/// micro-batch t of every rank that has more than t of them.
package struct HybridSchedule: Sendable {
    /// The micro-batches of each rank.
    let spans: [MicroBatchSpan]
    /// The ranks of each node, which hold neighbouring slices: their sums are added in the node first.
    private let nodes: [[Int]]
    /// The images of a micro-batch.
    let microBatch: Int

    var ranks: Int { spans.count }
    package var turns: Int { spans.map(\.count).max() ?? 0 }

    /// - Parameter nodes: the groups that exchange among themselves first; nil for one of all ranks
    package init(spans: [MicroBatchSpan], nodes: [[Int]]? = nil, microBatch: Int) {
        self.spans = spans
        self.nodes = nodes ?? [Array(spans.indices)]
        self.microBatch = microBatch
    }

    /// Returns the images that each rank has in a turn.
    package func rows(turn: Int) -> [Int] { spans.map { turn < $0.count ? microBatch : 0 } }

    /// Where the images of each micro-batch are: the turn and the first row.
    var places: [(turn: Int, row: Int)] {
        // Neighbouring ranks have no neighbouring micro-batches if a launcher deals them out to the nodes.
        spans.indices.sorted { spans[$0].first < spans[$1].first }.flatMap { rank in
            (0..<spans[rank].count).map { turn in (turn, rows(turn: turn)[..<rank].reduce(0, +)) }
        }
    }

    /// Returns the slices that each rank holds of a layer that has `count`.
    package func slices(_ count: Int) -> [Range<Int>] { MicroBatchTree.parts(leaves: count, nodes: nodes) }

    /// Returns what a rank's network holds.
    package func split(of rank: Int) -> LayerSplit {
        let nodes = nodes
        return LayerSplit(
            slices: { MicroBatchTree.parts(leaves: $0, nodes: nodes)[rank] },
            turns: (0..<turns).map { rows(turn: $0).reduce(0, +) }, microBatch: microBatch)
    }

    /// Returns the stored outputs that each rank holds of a layer.
    package func held(of shape: HiddenShape) -> [Range<Int>] {
        slices(shape.slices.count).map { shape.slices.outputs(of: $0) }
    }

    /// Returns the bytes of the largest block of the all-to-alls behind the last layer.
    package func allToAllBytes(_ shapes: [HiddenShape]) -> Int {
        4 * microBatch * (shapes.last.map { held(of: $0) } ?? []).reduce(0) { max($0, $1.count) }
    }

    /// Returns the bytes of the largest block that a rank sends to another.
    package func blockBytes(_ shapes: [HiddenShape]) -> Int {
        let turn = rows(turn: 0).reduce(0, +)
        var floats = microBatch * (shapes.first?.inputs ?? 0)
        for (index, shape) in shapes.enumerated() {
            let held = held(of: shape).map(\.count).max() ?? 0
            floats = max(floats, (index + 1 < shapes.count ? turn : microBatch) * held)
        }
        // Checkpoints are collected in such blocks too.
        return max(1 << 18, 4 * floats)
    }

    /// Returns the bytes that a rank sends in a step, without those that it passes on for other ranks of its
    /// node.
    ///
    /// - Parameter needsFeatureGradient: whether layers below the first one need its gradient
    func bytesSent(by rank: Int, _ shapes: [HiddenShape], needsFeatureGradient: Bool) -> Int {
        var floats = 0
        for turn in 0..<turns {
            let rows = rows(turn: turn)
            let all = rows.reduce(0, +)
            for (index, shape) in shapes.enumerated() {
                let held = held(of: shape)
                let own = held[rank].count
                if index == 0 {
                    floats += (ranks - 1) * rows[rank] * shape.inputs
                    if needsFeatureGradient, own > 0 { floats += (all - rows[rank]) * shape.inputs }
                }
                if index + 1 < shapes.count {
                    floats += (ranks - 1) * all * own
                    // The partial sums of this layer's output gradient, if this rank has some.
                    if !self.held(of: shapes[index + 1])[rank].isEmpty {
                        floats += all * (shape.outputs - own)
                    }
                } else {
                    floats += (all - rows[rank]) * own + rows[rank] * (shape.outputs - own)
                }
            }
        }
        return 4 * floats
    }
}
