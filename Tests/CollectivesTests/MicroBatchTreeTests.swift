import Testing

@testable import Collectives

@Suite struct MicroBatchTreeTests {
    private func span(_ first: Int, _ count: Int) -> MicroBatchSpan {
        MicroBatchSpan(first: first, count: count)
    }

    @Test func cutsMicroBatchesIntoAlignedSubtrees() throws {
        #expect(MicroBatchTree.spans(microBatches: 8, nodes: [3]) == [[span(0, 4), span(4, 2), span(6, 2)]])
        #expect(MicroBatchTree.spans(microBatches: 8, nodes: [1, 1]) == [[span(0, 4)], [span(4, 4)]])
        #expect(
            MicroBatchTree.spans(microBatches: 4, nodes: [2, 2]) == [
                [span(0, 1), span(1, 1)], [span(2, 1), span(3, 1)],
            ])
        for ranks in 1...16 {
            let spans = try #require(MicroBatchTree.spans(microBatches: 16, nodes: [ranks]))[0]
            #expect(spans.count == ranks)
            var next = 0
            for span in spans {
                #expect(
                    span.first == next && span.count & (span.count - 1) == 0 && span.first % span.count == 0)
                next += span.count
            }
            #expect(next == 16)
        }
    }

    @Test func refusesWhatTheTreeCannotBeCutInto() {
        #expect(MicroBatchTree.spans(microBatches: 2, nodes: [3]) == nil)
        #expect(MicroBatchTree.spans(microBatches: 4, nodes: [1, 3]) == nil)
    }

    @Test func defaultIsTheNextPowerOfTwo() {
        let counts = [1, 2, 3, 4, 5, 8, 9].map { MicroBatchTree.defaultMicroBatches(ranks: $0) }
        #expect(counts == [1, 2, 4, 4, 8, 8, 16])
    }

    /// Adds 8 micro-batches by a loop over the tree's levels.
    private func tree(_ microBatches: [Float]) -> Float {
        var level = microBatches
        while level.count > 1 {
            level = stride(from: 0, to: level.count, by: 2).map { level[$0] + level[$0 + 1] }
        }
        return level[0]
    }

    @Test func addsInTheTreesOrderOnAnyNumberOfMembers() throws {
        // Numbers of very different size: every other order gives other bits.
        let microBatches: [Float] = [0.1, 1e4, -3.3e3, 7.7e-3, 123.456, -8.1e3, 0.3, 1.1e3]
        let expected = tree(microBatches)
        #expect(microBatches.reduce(0, +).bitPattern != expected.bitPattern)
        for ranks in 1...8 {
            let spans = try #require(MicroBatchTree.spans(microBatches: 8, nodes: [ranks]))[0]
            // 1500 floats: more than one block.
            let pointers = spans.map { span in
                let partial = UnsafeMutablePointer<Float>.allocate(capacity: 1500)
                partial.initialize(repeating: tree(Array(microBatches[span.range])), count: 1500)
                return partial
            }
            defer { for pointer in pointers { pointer.deallocate() } }
            SumOrder(spans).add(pointers.map { UnsafePointer($0) }, count: 1500, into: pointers[ranks / 2])
            #expect((0..<1500).allSatisfy { pointers[ranks / 2][$0].bitPattern == expected.bitPattern })
        }
    }
}
