/// Says which rank has which micro-batches, and which ranks exchange gradients by which transport.
public struct Topology: Sendable {
    /// The groups of equal size that exchange among themselves first: the nodes, or one group of all ranks.
    public let groups: [[Int]]
    /// The micro-batches of each rank.
    public let spans: [MicroBatchSpan]
    let inner: TransportKind
    let outer: TransportKind
    /// Whether messages carry the gradients from machine to machine.
    public let sendsBetweenMachines: Bool
    /// Why one group of all ranks exchanges although a node has several; nil if there is no such case.
    public let flatReason: FlatReason?

    /// Divides the micro-batches over the ranks.
    ///
    /// - Parameters:
    ///   - nodes: the ranks of each node, each in rising order
    ///   - nodeSize: makes a node of each group of this many neighbouring ranks instead
    ///   - transport: nil is the fastest: shared memory in a node, one-sided windows between nodes
    ///   - hasWindows: whether MPI opens windows between nodes; messages take their place
    /// - Throws: `TopologyError` if there are too few micro-batches, or a transport does not reach all ranks
    public init(
        microBatches: Int, nodes realNodes: [[Int]], nodeSize: Int? = nil,
        transport: TransportKind? = nil, hasWindows: Bool = true
    ) throws {
        let ranks = realNodes.flatMap { $0 }.sorted()
        guard microBatches >= ranks.count, microBatches & (microBatches - 1) == 0 else {
            throw TopologyError.microBatches(microBatches, ranks: ranks.count)
        }
        var nodes = realNodes
        if let nodeSize {
            guard nodeSize > 0, ranks.count % nodeSize == 0 else {
                let found = "nodes of \(nodeSize) among \(ranks.count) ranks"
                throw TopologyError(
                    kind: .nodeSize, description: "\(found): expected a divisor of the number of ranks")
            }
            nodes = stride(from: 0, to: ranks.count, by: nodeSize).map { Array($0..<$0 + nodeSize) }
        }
        // Nodes are groups only if they have the same size and the tree can be cut between them. Their ranks
        // need not be neighbours: a launcher may deal ranks out to the nodes in turn.
        let sizes = nodes.map(\.count)
        if Set(sizes).count == 1, let spans = MicroBatchTree.spans(microBatches: microBatches, nodes: sizes) {
            groups = nodes
            let places = zip(nodes.joined(), spans.joined())
            self.spans = places.sorted { $0.0 < $1.0 }.map { $0.1 }
        } else if let spans = MicroBatchTree.spans(microBatches: microBatches, nodes: [ranks.count]) {
            groups = [ranks]
            self.spans = spans.flatMap { $0 }
        } else {
            throw TopologyError.microBatches(microBatches, ranks: ranks.count)
        }
        let isFlat = groups.count == 1 && nodes.count > 1 && (sizes.max() ?? 1) > 1
        flatReason =
            !isFlat
            ? nil
            : Set(sizes).count > 1
                ? .unequalNodes(ranks: sizes)
                : .indivisible(microBatches: microBatches, nodes: nodes.count, ranksPerNode: sizes[0])
        let isOneMachine = realNodes.count == 1
        if transport == .shared, !isOneMachine {
            let found = "the ranks, which are on \(realNodes.count) nodes"
            throw TopologyError(
                kind: .transport, description: "shared memory does not connect \(found)")
        }
        let between = hasWindows ? TransportKind.onesided : .sendrecv
        inner = transport ?? (groups.count == 1 && !isOneMachine ? between : .shared)
        outer = transport ?? (isOneMachine ? .shared : between)
        sendsBetweenMachines = !isOneMachine && (groups.count == 1 ? inner : outer) == .sendrecv
    }

    /// Says why the ranks of a node do not add among themselves first.
    public enum FlatReason: Sendable, Equatable, CustomStringConvertible {
        case unequalNodes(ranks: [Int])
        case indivisible(microBatches: Int, nodes: Int, ranksPerNode: Int)

        public var description: String {
            "all ranks exchange as one group, without a sum inside each node first, because " + cause
        }

        private var cause: String {
            switch self {
            case .unequalNodes(let ranks):
                "the nodes have different numbers of ranks: "
                    + ranks.map(String.init).joined(separator: ", ")
            case .indivisible(let microBatches, let nodes, let ranks):
                "\(microBatches) micro-batches cannot be divided between \(nodes) nodes of \(ranks) ranks"
            }
        }
    }

    package struct Stage {
        package let group: [Int]
        let kind: TransportKind
        /// The micro-batches that each of the group's members has added up when the stage begins.
        let spans: [MicroBatchSpan]
    }

    /// Returns the exchanges of one rank, in order.
    package func stages(of rank: Int) -> [Stage] {
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

    /// The number of ranks that exchange among themselves in the largest stage.
    package var largestGroup: Int { max(groups[0].count, groups.count) }

    /// The ranks and transports, such as "4 ranks in 2 nodes, shared inside and onesided between".
    public var description: String {
        let ranks = "\(spans.count) ranks"
        if groups.count == 1 { return "\(ranks) over \(inner.rawValue)" }
        if groups[0].count == 1 { return "\(ranks) over \(outer.rawValue)" }
        return "\(ranks) in \(groups.count) nodes, \(transports)"
    }

    /// The transports at the two levels, such as "shared inside and onesided between".
    package var transports: String { "\(inner.rawValue) inside and \(outer.rawValue) between" }
}

/// Says why ranks cannot be arranged as requested.
public struct TopologyError: Error, CustomStringConvertible, Equatable {
    /// What was requested and is impossible.
    public enum Kind: Sendable { case microBatches, nodeSize, transport }

    public let kind: Kind
    public let description: String

    fileprivate static func microBatches(_ count: Int, ranks: Int) -> TopologyError {
        TopologyError(
            kind: .microBatches,
            description: "\(count) micro-batches on \(ranks) ranks: expected a power of two, at least one "
                + "micro-batch a rank")
    }
}
