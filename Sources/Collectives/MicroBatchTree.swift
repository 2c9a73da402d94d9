/// Micro-batches `first ..< first + count` of a mini-batch: those of one rank, or of one node. An aligned
/// subtree of the binary tree in which micro-batches are added: `count` is a power of two and divides
/// `first`.
public struct MicroBatchSpan: Equatable, Sendable {
    public let first: Int
    public let count: Int

    public init(first: Int, count: Int) {
        self.first = first
        self.count = count
    }

    var halves: (MicroBatchSpan, MicroBatchSpan) {
        (
            MicroBatchSpan(first: first, count: count / 2),
            MicroBatchSpan(first: first + count / 2, count: count / 2)
        )
    }
}

/// How the micro-batches of a mini-batch are cut over ranks.
///
/// Gradients of S micro-batches are added in a fixed binary tree. Every rank holds a whole subtree and adds
/// it by itself; what is left to do between ranks are the tree's upper levels. So the order of addition, and
/// with it every bit, depends on S alone.
public enum MicroBatchTree {
    /// Returns the smallest number of micro-batches for `ranks` ranks: the next power of two.
    public static func defaultMicroBatches(ranks: Int) -> Int {
        var microBatches = 1
        while microBatches < ranks { microBatches *= 2 }
        return microBatches
    }

    /// The spans of each node's ranks; every node holds a subtree of its own.
    ///
    /// - Parameter nodes: ranks of each node
    /// - Returns: nil where that cannot be: too few micro-batches, or nodes that do not fit between the
    ///   tree's branches
    public static func spans(microBatches: Int, nodes: [Int]) -> [[MicroBatchSpan]]? {
        divide(MicroBatchSpan(first: 0, count: microBatches), nodes[...]) { node, span in
            divide(span, Array(repeating: 1, count: node)[...]) { _, leaf in [leaf] }.map { [$0] }
        }
    }

    /// Halves the span and the parts, the left half getting the smaller one: 8 micro-batches over 3 are 4 + 2
    /// + 2.
    private static func divide<Result>(
        _ span: MicroBatchSpan, _ parts: ArraySlice<Int>, _ leaf: (Int, MicroBatchSpan) -> [Result]?
    ) -> [Result]? {
        guard parts.count > 1, let first = parts.first else { return parts.first.flatMap { leaf($0, span) } }
        guard span.count > 1, first > 0 else { return nil }
        let (left, right) = span.halves
        let middle = parts.startIndex + parts.count / 2
        guard let low = divide(left, parts[..<middle], leaf), let high = divide(right, parts[middle...], leaf)
        else { return nil }
        return low + high
    }
}

/// The upper levels of the tree, over members that hold neighbouring subtrees: adds their partial sums in the
/// tree's order.
struct SumOrder {
    private indirect enum Node {
        case member(Int)
        case sum(Node, Node)
    }

    private let root: Node

    /// - Parameter spans: of the members, in rising order and without gaps
    init(_ spans: [MicroBatchSpan]) { root = SumOrder.node(spans[...]) }

    private static func node(_ spans: ArraySlice<MicroBatchSpan>) -> Node {
        guard spans.count > 1, let first = spans.first, let last = spans.last else {
            return .member(spans.startIndex)
        }
        let middle = (first.first + last.first + last.count) / 2
        let split = spans.firstIndex { $0.first >= middle } ?? spans.endIndex
        return .sum(node(spans[..<split]), node(spans[split...]))
    }

    /// Floats that are added at a time: few enough that partial sums stay in the first-level cache.
    private static let block = 1024

    /// target ← the sum of `sources`, one array of `count` floats a member. `target` may be one of them.
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

    /// The sum below `node` over `size` floats from `start`, in place where that is a member alone and in
    /// `scratch` otherwise.
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
