/// Adds the partial sums of members that have neighbouring subtrees, in the order of the tree's upper levels.
public struct SumOrder {
    private indirect enum Node {
        case member(Int)
        case sum(Node, Node)
    }

    private let root: Node

    /// Takes the members' spans, in rising order and without gaps.
    public init(_ spans: [MicroBatchSpan]) { root = SumOrder.node(spans[...]) }

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

    /// Adds one array of `count` floats per member, into `target`, which may be one of them.
    public func add(_ sources: [UnsafePointer<Float>], count: Int, into target: UnsafeMutablePointer<Float>) {
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
