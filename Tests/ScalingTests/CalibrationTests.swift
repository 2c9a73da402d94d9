import Compute
import Testing

@testable import Scaling

/// Predictions from measured numbers.
@Suite struct CalibrationTests {
    @Test func twoExchangesGiveTimeAndRate() {
        // 1 ms and 1 GB/s: 1 MB in 2 ms, 9 MB in 10 ms.
        let speed = ExchangeSpeed(ranks: 4, small: (1_000_000, 0.002), large: (9_000_000, 0.010))
        #expect(abs(speed.fixed - 0.001) < 1e-12)
        // Each rank sends 3 of 4 parts in each half.
        #expect(abs(speed.bandwidth - 1.5) < 1e-9)
        // A large exchange that was faster than a small one is noise.
        let noise = ExchangeSpeed(ranks: 2, small: (1000, 0.002), large: (2000, 0.001))
        #expect(noise.fixed > 0 && noise.bandwidth.isFinite && noise.bandwidth > 0)
    }

    @Test func aPredictionHasTheMeasuredComputation() throws {
        let device = try #require(DeviceDescription.all().first)
        let exchange = ExchangeSpeed(ranks: 2, small: (0, 0.001), large: (1_000_000, 0.002))
        func seconds(isCPU: Bool, _ method: SimulatedTraining.Strategy.Method) throws -> Double {
            let machine = Machine.measured(
                gflops: 1, memoryBandwidth: 1, memory: 1 << 30, exchange: exchange, devices: 2, isCPU: isCPU)
            return try SimulatedTraining(
                machine, model: "linear", imageSize: 16, classes: 16, device: device
            ).stepSeconds(
                devices: 2, batch: 8, strategy: .init(method, nodeFirst: true), computation: 0.25)
        }
        // Nothing hides the exchange of the only layer: 16·16·4 inputs and a bias, 16 outputs.
        let bytes = Double(4 * (16 * 16 * 4 + 1) * 16)
        let expected = 0.25 + 0.001 + bytes * 1e-9
        for method in [SimulatedTraining.Strategy.Method.lazy, .synchronous] {
            for isCPU in [false, true] {
                let found = try seconds(isCPU: isCPU, method)
                #expect(abs(found - expected) < 1e-6, "\(found), \(expected)")
            }
        }
        func machine(_ exchange: ExchangeSpeed, isCPU: Bool) -> Machine {
            Machine.measured(
                gflops: 1, memoryBandwidth: 1, memory: 1 << 30, exchange: exchange, devices: 2, isCPU: isCPU)
        }
        // Ranks on several machines have a network of their own each.
        let apart = [false, true].map { hasWindows in
            machine(
                ExchangeSpeed(
                    ranks: 2, small: (0, 0.001), large: (1_000_000, 0.002), isOneMachine: false,
                    hasWindows: hasWindows), isCPU: true)
        }
        #expect(apart.map(\.devicesPerNode) == [1, 1] && apart.map(\.hasWindows) == [false, true])
        // The thread of a CPU device does the exchange's work, unless it is messages between machines.
        let together = [true, false].map { machine(exchange, isCPU: $0) }
        #expect(apart.map(\.contention) == [0, 1] && together.map(\.contention) == [1, 0])
        #expect(together.map(\.devicesPerNode) == [2, 2])
    }

    /// A hybrid step computes less than the measured one with the whole network: it updates a part.
    @Test func aHybridPredictionUpdatesAPart() throws {
        let device = try #require(DeviceDescription.all().first)
        // No exchange takes any time. The update's bytes take all of the computation.
        let exchange = ExchangeSpeed(ranks: 2, small: (0, 0), large: (1_000_000, 1e-9))
        let machine = Machine.measured(
            gflops: 1e9, memoryBandwidth: 1, memory: 1 << 30, exchange: exchange, devices: 2, isCPU: false)
        let training = try SimulatedTraining(
            machine, model: "F4096", imageSize: 32, classes: 16, device: device)
        let seconds = try [SimulatedTraining.Strategy.Method.lazy, .hybrid].map {
            try training.stepSeconds(
                devices: 2, batch: 2, strategy: .init($0, nodeFirst: true), computation: 0.25)
        }
        // The weights are read in both passes, and 5 times as many numbers in the update: all of them halve.
        #expect(abs(seconds[0] - 0.25) < 1e-3 && abs(seconds[1] - 0.125) < 0.01, "\(seconds)")
    }
}
