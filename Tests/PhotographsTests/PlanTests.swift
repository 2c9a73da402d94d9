import Testing

@testable import Photographs

@Suite struct PlanTests {
    @Test func plainShuffle() throws {
        let plan = try EpochPlan(count: 103, batchSize: 10, seed: 3, epoch: 0)
        #expect(plan.batchCount == 10)
        let drawn = (0..<10).flatMap { plan.batch($0) ?? [] }
        #expect(drawn.count == 100 && Set(drawn).count == 100 && drawn.allSatisfy { (0..<103).contains($0) })
        #expect(plan.batch(10) == nil && plan.batch(-1) == nil)
        #expect(drawn != drawn.sorted())
        #expect(try EpochPlan(count: 103, batchSize: 10, seed: 3, epoch: 0).parts == plan.parts)
        #expect(try EpochPlan(count: 103, batchSize: 10, seed: 3, epoch: 1).parts != plan.parts)
        #expect(try EpochPlan(count: 103, batchSize: 10, seed: 4, epoch: 0).parts != plan.parts)
    }

    @Test(arguments: [2, 4, 8]) func microBatchesAreFixedParts(microBatches: Int) throws {
        let first = try EpochPlan(count: 107, batchSize: 16, microBatches: microBatches, seed: 3, epoch: 0)
        let second = try EpochPlan(count: 107, batchSize: 16, microBatches: microBatches, seed: 3, epoch: 1)
        #expect(first.parts.map(Set.init) == second.parts.map(Set.init))
        #expect(first.parts != second.parts)
        #expect(first.parts.allSatisfy { $0.count == 107 / microBatches })
        #expect(Set(first.parts.joined()).count == 107 / microBatches * microBatches)
        for index in 0..<first.batchCount {
            let batch = try #require(first.batch(index))
            let share = 16 / microBatches
            for microBatch in 0..<microBatches {
                let mine = Array(batch[microBatch * share..<(microBatch + 1) * share])
                #expect(first.batch(index, microBatch: microBatch) == mine)
                #expect(Set(mine).isSubset(of: Set(first.parts[microBatch])))
            }
        }
        #expect(first.batch(0, microBatch: microBatches) == nil)
    }

    /// Every position is as likely to be drawn first as any other.
    @Test func shuffleIsEven() throws {
        var counts = [Int](repeating: 0, count: 8)
        for epoch in 0..<4000 {
            counts[try #require(EpochPlan(count: 8, batchSize: 8, seed: 1, epoch: epoch).batch(0))[0]] += 1
        }
        // The mean is 500, and five standard deviations are 105.
        #expect(counts.allSatisfy { (395...605).contains($0) }, "\(counts)")
    }

    @Test func badPlans() {
        let plans: [(Int, Int, Int, DatasetError.Kind)] = [
            (10, 0, 1, .badOption), (10, 11, 1, .batchTooLarge(largestBatch: 10)), (10, 4, 3, .badOption),
            (10, 4, 0, .badOption), (0, 1, 1, .batchTooLarge(largestBatch: 0)),
            (7, 8, 2, .batchTooLarge(largestBatch: 6)),
        ]
        for (count, batch, microBatches, kind) in plans {
            let error = #expect(throws: DatasetError.self) {
                try EpochPlan(count: count, batchSize: batch, microBatches: microBatches, seed: 1, epoch: 0)
            }
            #expect(error?.kind == kind && error?.isUsage == true)
        }
        #expect(throws: DatasetError.self) { try EvaluationPlan(count: 3, batchSize: 0) }
    }

    @Test func evaluationTakesEveryFileInOrder() throws {
        let plan = try EvaluationPlan(count: 10, batchSize: 4)
        #expect((0..<plan.batchCount).map { plan.batch($0) } == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]])
        #expect(plan.batch(3) == nil)
    }
}
