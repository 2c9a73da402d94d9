/// The micro-batches of a rank or of a node: an aligned subtree of the tree in which gradients are added.
///
/// They are `first ..< first + count`; `count` is a power of two that divides `first`.
public struct MicroBatchSpan: Equatable, Sendable {
    public let first: Int
    public let count: Int

    public var range: Range<Int> { first..<first + count }

    public init(first: Int, count: Int) {
        self.first = first
        self.count = count
    }
}

/// Divides the micro-batches of a mini-batch over ranks.
///
/// Gradients of S micro-batches are added in a fixed binary tree. Every rank adds a complete subtree, and the
/// exchange between the ranks adds the tree's upper levels. So the order of addition, and with it every bit,
/// depends only on S.
public enum MicroBatchTree {
    /// Returns the smallest number of micro-batches for `ranks` ranks: the next power of two.
    public static func defaultMicroBatches(ranks: Int) -> Int {
        var microBatches = 1
        while microBatches < ranks { microBatches *= 2 }
        return microBatches
    }

    /// Returns the spans of each node's ranks, so that every node has a subtree.
    ///
    /// - Parameter nodes: the number of ranks of each node
    /// - Returns: nil if there are too few micro-batches, or the nodes do not fit the tree's branches
    public static func spans(microBatches: Int, nodes: [Int]) -> [[MicroBatchSpan]]? {
        divide(MicroBatchSpan(first: 0, count: microBatches), nodes[...]) { node, span in
            divide(span, Array(repeating: 1, count: node)[...]) { _, leaf in [leaf] }.map { [$0] }
        }
    }

    /// Halves the span and the parts; the left half gets fewer, so 8 micro-batches over 3 are 4 + 2 + 2.
    private static func divide<Result>(
        _ span: MicroBatchSpan, _ parts: ArraySlice<Int>, _ leaf: (Int, MicroBatchSpan) -> [Result]?
    ) -> [Result]? {
        guard parts.count > 1, let first = parts.first else { return parts.first.flatMap { leaf($0, span) } }
        guard span.count > 1, first > 0 else { return nil }
        let half = span.count / 2
        let left = MicroBatchSpan(first: span.first, count: half)
        let right = MicroBatchSpan(first: span.first + half, count: half)
        let middle = parts.startIndex + parts.count / 2
        guard let low = divide(left, parts[..<middle], leaf), let high = divide(right, parts[middle...], leaf)
        else { return nil }
        return low + high
    }
}

/// Adds the partial sums of members that have neighbouring subtrees, in the order of the tree's upper levels.
struct SumOrder {
    private indirect enum Node {
        case member(Int)
        case sum(Node, Node)
    }

    private let root: Node

    /// Takes the members' spans, in rising order and without gaps.
    init(_ spans: [MicroBatchSpan]) { root = SumOrder.node(spans[...]) }

    private static func node(_ spans: ArraySlice<MicroBatchSpan>) -> Node {
        guard spans.count > 1, let first = spans.first, let last = spans.last else {
            return .member(spans.startIndex)
        }
        let middle = (first.first + last.first + last.count) / 2
        let split = spans.firstIndex { $0.first >= middle } ?? spans.endIndex
        return .sum(node(spans[..<split]), node(spans[split...]))
    }

    /// The floats to add at a time, so that partial sums stay in the first-level cache.
    private static let block = 1024

    /// Writes the sum of `sources`, one array of `count` floats per member, to `target`, which may be one of
    /// them.
    func add(_ sources: [UnsafePointer<Float>], count: Int, into target: UnsafeMutablePointer<Float>) {
        if case .sum(.member(let left), .member(let right)) = root {
            return SumOrder.add(sources[left], sources[right], count, target)
        }
        withUnsafeTemporaryAllocation(of: Float.self, capacity: SumOrder.block * sources.count) { scratch in
            guard let base = scratch.baseAddress else { return }
            for start in stride(from: 0, to: count, by: SumOrder.block) {
                let size = min(SumOrder.block, count - start)
                let sum = evaluate(root, sources, start, size, base)
                (target + start).update(from: sum, count: size)
            }
        }
    }

    /// Returns the sum below `node` of `size` floats from `start`: a member's own array, or `scratch`.
    private func evaluate(
        _ node: Node, _ sources: [UnsafePointer<Float>], _ start: Int, _ size: Int,
        _ scratch: UnsafeMutablePointer<Float>
    ) -> UnsafePointer<Float> {
        switch node {
        case .member(let index): return sources[index] + start
        case .sum(let left, let right):
            let low = evaluate(left, sources, start, size, scratch)
            let high = evaluate(right, sources, start, size, scratch + SumOrder.block)
            SumOrder.add(low, high, size, scratch)
            return UnsafePointer(scratch)
        }
    }

    private static func add(
        _ left: UnsafePointer<Float>, _ right: UnsafePointer<Float>, _ count: Int,
        _ target: UnsafeMutablePointer<Float>
    ) { for index in 0..<count { target[index] = left[index] + right[index] } }
}
