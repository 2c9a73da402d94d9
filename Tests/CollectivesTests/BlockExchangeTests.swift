import Testing

@testable import Collectives

@Suite struct BlockExchangeTests {
    /// Blocks of differing sizes, some of them empty, arrive in every exchange of a long row.
    @Test(arguments: TransportKind.allCases) func blocksArrive(_ transport: TransportKind) throws {
        for (ranks, nodeSize) in [(2, nil), (3, nil), (4, 2), (8, 4)] as [(Int, Int?)] {
            try ThreadCommunicator.run(ranks) { communicator in
                let topology = try Topology(
                    microBatches: 8, nodes: communicator.nodes, nodeSize: nodeSize, transport: transport)
                let exchange = try BlockExchange(communicator, topology: topology, blockBytes: 200)
                func block(_ sender: Int, _ receiver: Int, _ number: Int) -> [UInt8] {
                    let count = (sender * 7 + receiver * 13 + number * 5) % 200
                    return (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ sender &+ number) }
                }
                for number in 0..<50 {
                    let blocks = (0..<ranks).map { block(communicator.rank, $0, number) }
                    let memory = blocks.map { bytes in
                        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: 200, alignment: 1)
                        copy.copyBytes(from: bytes)
                        return UnsafeRawBufferPointer(rebasing: copy[..<bytes.count])
                    }
                    try exchange.exchange(
                        outgoing: { memory[$0] },
                        incoming: { block($0, communicator.rank, number).count })
                    for bytes in memory { bytes.deallocate() }
                    for peer in 0..<ranks where peer != communicator.rank {
                        guard Array(exchange.block(from: peer)) == block(peer, communicator.rank, number)
                        else { throw CollectiveError("exchange \(number), block from \(peer)") }
                    }
                }
                try communicator.barrier()
            }
        }
    }

    @Test func partsAreSubtrees() {
        for leaves in [1, 2, 4, 8, 64] {
            for ranks in 1...9 {
                let parts = MicroBatchTree.parts(leaves: leaves, ranks: ranks)
                #expect(parts.count == ranks && parts.flatMap { Array($0) } == Array(0..<leaves))
                #expect(
                    parts.allSatisfy {
                        $0.isEmpty || $0.count & ($0.count - 1) == 0 && $0.lowerBound % $0.count == 0
                    })
            }
        }
    }
}
