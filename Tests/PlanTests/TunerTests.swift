import Compute
import NeuralNet
import TestSupport
import Testing

@testable import Benchmarks

@Suite struct TunerTests {
    private struct Refused: Error, CustomStringConvertible { let description = "the compiler refuses" }

    private let start = Tuning(for: DeviceTraits(body: .gpu, floatVectorWidth: 1))

    private func trial(_ seconds: Double, digest: UInt64 = 1) -> Tuner.Trial {
        Tuner.Trial(seconds: seconds, digest: digest)
    }

    private func outcome(_ tuner: Tuner, _ key: String, _ value: Int) throws -> Tuner.Outcome {
        let row = try #require(tuner.rows.first { $0.constant.key == key })
        return try #require(row.candidates.first { $0.value == value }).outcome
    }

    @Test func theFastestValuesAreChosenTogether() throws {
        let product = KernelFamilies.product
        let tuner = try Tuner(from: start) { tuning in
            // Of the values of one constant, the best depends on another constant.
            let wide = tuning[product.largestTileN] == 128
            let unroll = tuning[product.depthUnroll]
            return trial((wide ? 0.008 : 0.01) * (wide == (unroll == 16) ? 0.9 : 1))
        }
        #expect(
            Tuning.text(tuner.tuning.values, unlike: start.values)
                == "product.depth-unroll=16, product.largest-tile-n=128")
        #expect(try abs(tuner.relativeTime - 0.8) < 1e-9 && outcome(tuner, "product.tile-k", 16) != .skipped)
        #expect(tuner.rows.map(\.constant.key) == start.racedConstants.map(\.key))
        for row in tuner.rows { #expect(tuner.tuning[row.constant] == row.chosen) }
    }

    /// A constant whose value takes others along.
    @Test func valuesChangeTogetherWhereTheyMust() throws {
        let tuner = try Tuner(from: start) { trial($0[KernelFamilies.product.item] == 4 ? 0.005 : 0.01) }
        #expect(
            Tuning.text(tuner.tuning.values, unlike: start.values)
                == "product.item=4, product.largest-tile-m=64, product.tile-k=16")
    }

    @Test func otherBitsErrorsAndImpossibleTimesAreDiscarded() throws {
        var reported: [String] = []
        let tuner = try Tuner(from: start) { constant, value, outcome in
            if case .discarded(let reason) = outcome { reported.append("\(constant.key) \(value) \(reason)") }
        } measure: { tuning in
            if tuning[KernelFamilies.product.depthUnroll] == 16 { return trial(0.001, digest: 2) }
            if tuning[KernelFamilies.product.tileK] == 16 { throw Refused() }
            if tuning[KernelFamilies.product.wantedGroups] == 792 { return trial(1e-6) }
            return trial(0.01)
        }
        #expect(tuner.tuning == start && tuner.relativeTime == 1)
        #expect(
            try outcome(tuner, "product.depth-unroll", 16) == .discarded("the result has other bits"))
        #expect(try outcome(tuner, "product.tile-k", 16) == .discarded("the compiler refuses"))
        #expect(try outcome(tuner, "product.depth-unroll", 4) == .timed(1))
        #expect(reported.contains { $0.hasPrefix("product.wanted-groups 792") && $0.contains("µs") })
        // A smaller tile of work-items needs the steps that are refused.
        #expect(reported.count == 4)
    }

    @Test func chanceDoesNotChoose() throws {
        var trials = 0
        let tuner = try Tuner(from: start) { _ in
            trials += 1
            return trial(trials == 3 ? 0.005 : 0.01)
        }
        #expect(tuner.tuning == start)
    }

    @Test func theRaceEndsInTime() throws {
        var trials = 0
        let tuner = try Tuner(from: start, seconds: 0) { _ in
            trials += 1
            return trial(0.01)
        }
        #expect(trials == 1 && tuner.tuning == start)
        #expect(tuner.rows.allSatisfy { $0.candidates.allSatisfy { $0.outcome == .skipped } })
    }

    @Test func initialValuesThatFailAreAnError() {
        #expect(throws: Refused.self) { try Tuner(from: start) { _ in throw Refused() } }
        #expect(throws: ComputeError.self) { try Tuner(from: start) { _ in trial(1e-6) } }
    }

    /// The hash of a network's layers sees another order of addition.
    @Test func otherBitsAreSeen() throws {
        var description = try #require(presentDevices.first)
        description.kernels = .gpu
        let layers = try TunedLayers(
            Architecture(parsing: "16,M,F16"), imageSize: 24, classes: 3, on: description)
        #expect(layers.descriptions.count == 2 && layers.descriptions[0].hasPrefix("1 × conv 3→16, 24×24×3"))
        var tuning = Tuning(for: description.traits)
        let digest = try layers.measure(tuning).digest
        #expect(try layers.measure(tuning).digest == digest)
        try tuning.set(["product.wanted-groups": 1])
        #expect(try layers.measure(tuning).digest == digest)
        try tuning.set(["product.slot-groups": 1])
        #expect(try layers.measure(tuning).digest != digest)
    }
}
