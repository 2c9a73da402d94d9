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

    /// Returns the leaves of another tree that each rank has, which are a complete subtree; so are those of a
    /// node.
    ///
    /// Some ranks have none if there are more ranks than leaves.
    ///
    /// - Parameter nodes: the ranks of each node
    public static func parts(leaves: Int, nodes: [[Int]]) -> [Range<Int>] {
        func divide(_ span: MicroBatchSpan, over parts: Int) -> [MicroBatchSpan] {
            let ones = Array(repeating: 1, count: min(parts, span.count))
            return self.divide(span, ones[...]) { _, leaf in [leaf] } ?? [span]
        }
        var parts = Array(repeating: 0..<0, count: nodes.joined().count)
        let all = MicroBatchSpan(first: 0, count: leaves)
        for (ranks, span) in zip(nodes, divide(all, over: nodes.count)) {
            for (rank, part) in zip(ranks, divide(span, over: ranks.count)) { parts[rank] = part.range }
        }
        return parts
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
