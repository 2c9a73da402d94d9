/// Who holds which micro-batches, and which ranks exchange with which, by which transport.
public struct Topology: Sendable {
    /// The groups of ranks that exchange with each other first, all of equal size; one group of all where
    /// there are no nodes.
    public let groups: [[Int]]
    /// Of each rank.
    public let spans: [MicroBatchSpan]
    let inner: TransportKind
    let outer: TransportKind

    /// - Parameters:
    ///   - nodes: the ranks of each node, each in rising order
    ///   - nodeSize: takes each so many neighbouring ranks for a node instead
    ///   - transport: nil is the fastest: shared memory in a node, one-sided windows between nodes
    /// - Throws: `CollectiveError` where the micro-batches are too few, or a transport cannot reach
    public init(
        microBatches: Int, nodes realNodes: [[Int]], nodeSize: Int? = nil, transport: TransportKind? = nil
    )
        throws
    {
        let ranks = realNodes.flatMap { $0 }.sorted()
        guard microBatches >= ranks.count, microBatches & (microBatches - 1) == 0 else {
            throw CollectiveError(
                "--micro-batches \(microBatches) on \(ranks.count) ranks: expected a power of two, at least one micro-batch a rank; start at most \(microBatches) ranks, or a new "
                    + "run with more micro-batches")
        }
        let sizes: [Int]
        if let nodeSize {
            guard nodeSize > 0, ranks.count % nodeSize == 0 else {
                throw CollectiveError(
                    "--node-size \(nodeSize) on \(ranks.count) ranks: expected a divisor of the number of ranks"
                )
            }
            sizes = Array(repeating: nodeSize, count: ranks.count / nodeSize)
        } else {
            sizes = realNodes.map(\.count)
        }
        // Nodes work together only where they are alike, hold neighbouring ranks, and the tree can be cut
        // between them.
        let neighbours = nodeSize != nil || realNodes.flatMap { $0 } == ranks
        if neighbours, Set(sizes).count == 1,
            let spans = MicroBatchTree.spans(microBatches: microBatches, nodes: sizes)
        {
            var first = 0
            groups = sizes.map { size in
                defer { first += size }
                return Array(first..<(first + size))
            }
            self.spans = spans.flatMap { $0 }
        } else if let spans = MicroBatchTree.spans(microBatches: microBatches, nodes: [ranks.count]) {
            groups = [ranks]
            self.spans = spans.flatMap { $0 }
        } else {
            throw CollectiveError(
                "--micro-batches \(microBatches) cannot be cut over \(ranks.count) ranks: expected a power of two, at least one micro-batch a rank"
            )
        }
        let isOneMachine = realNodes.count == 1
        let flatOverNodes = groups.count == 1 && !isOneMachine
        if transport == .shared, !isOneMachine {
            throw CollectiveError(
                "--transport shared: the ranks are on \(realNodes.count) nodes, which share no memory; choose auto, onesided or sendrecv"
            )
        }
        inner = transport ?? (flatOverNodes ? .onesided : .shared)
        outer = transport ?? (isOneMachine ? .shared : .onesided)
    }

    struct Stage {
        let group: [Int]
        let kind: TransportKind
        /// Of each of the group's members: the micro-batches that it has added up when the stage begins.
        let spans: [MicroBatchSpan]
    }

    /// The exchanges of one rank, one after the other.
    func stages(of rank: Int) -> [Stage] {
        guard let own = groups.firstIndex(where: { $0.contains(rank) }),
            let place = groups[own].firstIndex(of: rank)
        else { return [] }
        var stages: [Stage] = []
        if groups[own].count > 1 {
            stages.append(Stage(group: groups[own], kind: inner, spans: groups[own].map { spans[$0] }))
        }
        if groups.count > 1 {
            let nodeSpans = groups.map { group in
                MicroBatchSpan(first: spans[group[0]].first, count: group.reduce(0) { $0 + spans[$1].count })
            }
            stages.append(Stage(group: groups.map { $0[place] }, kind: outer, spans: nodeSpans))
        }
        return stages
    }

    /// "4 ranks in 2 nodes: shared inside, onesided between"
    public var description: String {
        let ranks = spans.count
        if groups.count == 1 { return "\(ranks) ranks over \(inner.rawValue)" }
        return groups[0].count == 1
            ? "\(ranks) ranks over \(outer.rawValue)"
            : "\(ranks) ranks in \(groups.count) nodes, \(inner.rawValue) inside and \(outer.rawValue) between"
    }
}
