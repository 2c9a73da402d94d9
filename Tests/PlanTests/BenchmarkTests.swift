import Benchmarks
import Compute
import Configuration
import NeuralNet
import Testing

/// Benchmarks time only steps whose loss is finite.
@Suite struct BenchmarkTests {
    private func step() throws -> BenchmarkedStep {
        BenchmarkedStep(try Architecture(parsing: "4,M,F8"), imageSize: 8, classes: 3, batch: 4)
    }

    private func device() throws -> Device { try Device.open(.auto) }

    @Test func aNormalStepHasAFiniteLoss() throws {
        let result = try Benchmark.step(step(), steps: 3, device: device())
        let loss = try #require(result.loss)
        #expect((0.1..<3).contains(loss))
        #expect(result.seconds.count == 3 && result.imagesPerSecond > 0)
    }

    @Test func aDivergingStepFails() throws {
        let error = #expect(throws: TrainingError.self) {
            try Benchmark.step(step(), steps: 3, learningRate: 1e30, device: device())
        }
        #expect(error?.description.contains("not finite") == true, "\(error?.description ?? "")")
    }

    @Test func inferenceHasNoLoss() throws {
        #expect(try Benchmark.inference(step(), runs: 2, device: device()).loss == nil)
    }

    @Test func medians() {
        #expect(Benchmark.median([]) == 0)
        #expect(Benchmark.median([3, 1, 2]) == 2)
        #expect(Benchmark.median([4, 1, 3, 2]) == 2.5)
    }
}
