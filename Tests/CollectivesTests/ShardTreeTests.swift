import Testing

@testable import Collectives

@Suite struct ShardTreeTests {
    private func span(_ first: Int, _ count: Int) -> ShardSpan { ShardSpan(first: first, count: count) }

    @Test func cutsShardsIntoAlignedSubtrees() throws {
        #expect(ShardTree.spans(shards: 8, nodes: [3]) == [[span(0, 4), span(4, 2), span(6, 2)]])
        #expect(ShardTree.spans(shards: 8, nodes: [1, 1]) == [[span(0, 4)], [span(4, 4)]])
        #expect(ShardTree.spans(shards: 4, nodes: [2, 2]) == [[span(0, 1), span(1, 1)], [span(2, 1), span(3, 1)]])
        for ranks in 1...16 {
            let spans = try #require(ShardTree.spans(shards: 16, nodes: [ranks]))[0]
            #expect(spans.count == ranks)
            var next = 0
            for span in spans {
                #expect(span.first == next && span.count & (span.count - 1) == 0 && span.first % span.count == 0)
                next += span.count
            }
            #expect(next == 16)
        }
    }

    @Test func refusesWhatTheTreeCannotBeCutInto() {
        #expect(ShardTree.spans(shards: 2, nodes: [3]) == nil)
        #expect(ShardTree.spans(shards: 4, nodes: [1, 3]) == nil)
    }

    @Test func defaultIsTheNextPowerOfTwo() {
        #expect([1, 2, 3, 4, 5, 8, 9].map { ShardTree.defaultShards(ranks: $0) } == [1, 2, 4, 4, 8, 8, 16])
    }

    /// Adds 8 shards one way only: by a loop over the tree's levels.
    private func tree(_ shards: [Float]) -> Float {
        var level = shards
        while level.count > 1 { level = stride(from: 0, to: level.count, by: 2).map { level[$0] + level[$0 + 1] } }
        return level[0]
    }

    @Test func addsInTheTreesOrderOnAnyNumberOfMembers() throws {
        // Numbers of very different size: every other order gives other bits.
        let shards: [Float] = [0.1, 1e4, -3.3e3, 7.7e-3, 123.456, -8.1e3, 0.3, 1.1e3]
        let expected = tree(shards)
        #expect(shards.reduce(0, +).bitPattern != expected.bitPattern)
        for ranks in 1...8 {
            let spans = try #require(ShardTree.spans(shards: 8, nodes: [ranks]))[0]
            // 1500 floats: more than one block.
            let partial = spans.map { span in Array(repeating: tree(Array(shards[span.first..<(span.first + span.count)])), count: 1500) }
            let pointers = partial.map { values in
                let copy = UnsafeMutablePointer<Float>.allocate(capacity: 1500)
                copy.initialize(from: values, count: 1500)
                return copy
            }
            defer { for pointer in pointers { pointer.deallocate() } }
            SumOrder(spans).add(pointers.map { UnsafePointer($0) }, count: 1500, into: pointers[ranks / 2])
            #expect((0..<1500).allSatisfy { pointers[ranks / 2][$0].bitPattern == expected.bitPattern })
        }
    }
}
