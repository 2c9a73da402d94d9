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

    /// Of 5, 40 and 200 photographs, all classes come equally often, and a class's photographs in turns.
    @Test(arguments: [1, 4]) func balancedSampling(microBatches: Int) throws {
        // Positions do not follow the classes.
        let labels = (0..<245).map { $0 * 101 % 245 }.map { $0 < 5 ? 0 : $0 < 45 ? 1 : 2 }
        func plan(seed: UInt64 = 3, epoch: Int = 1) throws -> EpochPlan {
            try EpochPlan(
                count: 245, batchSize: 16, microBatches: microBatches,
                balancing: labels, seed: seed, epoch: epoch)
        }
        let balanced = try plan()
        let plain = try EpochPlan(count: 245, batchSize: 16, microBatches: microBatches, seed: 3, epoch: 1)
        #expect(balanced.batchCount == plain.batchCount && balanced.batch(balanced.batchCount) == nil)
        let drawn = (0..<balanced.batchCount).flatMap { balanced.batch($0) ?? [] }
        #expect(drawn.count == 240)
        let times = Dictionary(grouping: drawn) { $0 }.mapValues(\.count)
        for (label, each) in [(0, 16...16), (1, 2...2), (2, 0...1)] {
            #expect(drawn.count { labels[$0] == label } == 80)
            let members = labels.indices.filter { labels[$0] == label }
            #expect(members.allSatisfy { each.contains(times[$0] ?? 0) }, "class \(label)")
        }
        // In random order: a batch of 16 has a class 5.3 times, with a deviation of 1.9.
        for index in 0..<balanced.batchCount {
            let batch = try #require(balanced.batch(index))
            for label in 0..<3 { #expect((1...15).contains(batch.count { labels[$0] == label })) }
            // A turn ends within a batch once or twice, so a photograph is there at most a few times.
            #expect(Dictionary(grouping: batch) { $0 }.values.allSatisfy { $0.count <= 4 })
            let parts = (0..<microBatches).flatMap { balanced.batch(index, microBatch: $0) ?? [] }
            #expect(parts == batch)
        }
        #expect(try plan().parts == balanced.parts)
        #expect(try plan(epoch: 2).parts != balanced.parts && plan(seed: 4).parts != balanced.parts)
        // The draws do not depend on the number of micro-batches.
        let other = try EpochPlan(
            count: 245, batchSize: 16, microBatches: 2, balancing: labels, seed: 3, epoch: 1)
        #expect((0..<balanced.batchCount).allSatisfy { balanced.batch($0) == other.batch($0) })
        // Counts that the classes do not divide differ by one at most.
        let uneven = try EpochPlan(
            count: 7, batchSize: 7, balancing: [0, 0, 1, 1, 1, 1, 2], seed: 1, epoch: 1)
        let counts = Dictionary(grouping: uneven.parts[0]) { [0, 0, 1, 1, 1, 1, 2][$0] }.mapValues(\.count)
        #expect(counts.values.sorted() == [2, 2, 3])
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
