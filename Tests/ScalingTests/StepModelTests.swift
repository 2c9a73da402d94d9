import Testing

@testable import Scaling

/// Compares the simulation with sums that a pencil can add.
@Suite struct StepModelTests {
    private static func isSame(_ a: Double, _ b: Double) -> Bool { abs(a - b) <= 1e-12 * max(abs(a), abs(b)) }

    private static let layers = (1...4).map { index -> StepModel.Layer in
        var layer = StepModel.Layer()
        layer.forward = Double(index)
        layer.backward = 2 * Double(index) + 0.5
        layer.update = 0.125 * Double(index)
        return layer
    }
    // 10 forward, 22 backward, 1.25 update.
    private static let computation = 33.25

    private static func bucket(_ layer: Int, _ seconds: Double...) -> StepModel.Bucket {
        .init(layer: layer, transfers: seconds.map { .init(.port, $0) })
    }

    private static let timings: [StepModel.Timing] = [.afterBackward, .synchronous, .lazy]

    @Test(arguments: timings) func oneDeviceComputesOnly(_ timing: StepModel.Timing) {
        var model = StepModel(layers: Self.layers, buckets: [])
        #expect(Self.isSame(model.seconds(timing), Self.computation))
        model.microBatches = 3
        #expect(Self.isSame(model.seconds(timing), 3 * 32 + 1.25))
        #expect(Self.isSame(model.seconds(timing), model.computation))
        #expect(StepModel(layers: [], buckets: []).seconds(timing) == 0)
    }

    @Test(arguments: timings) func anInfinitelyFastNetworkCostsNothing(_ timing: StepModel.Timing) {
        var model = StepModel(layers: Self.layers, buckets: (0..<4).map { Self.bucket($0, 0, 0) })
        model.contention = 0.5
        #expect(Self.isSame(model.seconds(timing), Self.computation))
    }

    @Test func withoutOverlapTimesAdd() {
        let buckets = [Self.bucket(0, 3, 4), Self.bucket(2, 5, 6)]
        var model = StepModel(layers: Self.layers, buckets: buckets)
        #expect(Self.isSame(model.seconds(.afterBackward), Self.computation + 18))
        // Exchanges slow down nothing, because nothing else runs.
        model.contention = 1
        #expect(Self.isSame(model.seconds(.afterBackward), Self.computation + 18))
        // The other bucket's transfers hide one of the latencies.
        model.latency = 0.25
        #expect(Self.isSame(model.seconds(.afterBackward), Self.computation + 18.25))
        model.buckets = [Self.bucket(1, 3, 4)]
        #expect(Self.isSame(model.seconds(.afterBackward), Self.computation + 7.5))
    }

    @Test func aSynchronousStepWaitsForWhatBackwardDoesNotHide() {
        // The bucket of layer 2 is ready when layers 3 and 2 have run backward; 4.5 + 2.5 seconds are left.
        func model(_ seconds: Double) -> StepModel {
            StepModel(layers: Self.layers, buckets: [Self.bucket(2, seconds)])
        }
        #expect(Self.isSame(model(7).seconds(.synchronous), Self.computation))
        #expect(Self.isSame(model(9).seconds(.synchronous), Self.computation + 2))
        // Lazy steps also hide it behind the forward passes and updates of layers 0 and 1.
        #expect(Self.isSame(model(10.375).seconds(.lazy), Self.computation))
        #expect(Self.isSame(model(12.375).seconds(.lazy), Self.computation + 2))
    }

    @Test func urgentBucketsGoFirst() {
        // Both are ready at the end of backward, because layer 1 takes no time. The first is 1 s long.
        var layers = Self.layers
        layers[0].backward = 0
        let buckets = [Self.bucket(0, 1), Self.bucket(1, 30)]
        let model = StepModel(layers: layers, buckets: buckets)
        // The long one has the wire when the short one comes, and keeps it.
        let rest = 33.25 - 2.5
        #expect(Self.isSame(model.seconds(.lazy), rest + 31))
        layers[1].backward = 0
        layers[0].backward = 7
        // The short one is ready with the long one under way, which is cut into transfers here.
        let cut = [Self.bucket(0, 1), Self.bucket(1, 8, 22)]
        let cutModel = StepModel(layers: layers, buckets: cut)
        // 8 s of the long one, of which backward hides 7; then 1 s, and forward of layer 0 takes 1.125 s.
        #expect(Self.isSame(cutModel.seconds(.lazy), rest - 4.5 + 7 + 1 + 1 + (22 - 1.125)))
    }

    /// The step's totals are ready when forward ends, and needed before anything is updated.
    @Test func totalsGoFirst() {
        func model(_ buckets: StepModel.Bucket...) -> StepModel {
            StepModel(layers: Self.layers, buckets: buckets)
        }
        let totals = StepModel.Bucket(layer: nil, transfers: [.init(.port, 24)])
        // Backward takes 22.
        #expect(Self.isSame(model(totals).seconds(.lazy), Self.computation + 2))
        #expect(Self.isSame(model(totals).seconds(.synchronous), Self.computation + 2))
        #expect(Self.isSame(model(totals).seconds(.afterBackward), Self.computation + 24))
        // The last layer's gradients wait for the wire, and are needed behind 6 + 0.125
        // · (1 + 2 + 3) seconds of the forward passes and updates below.
        let both = model(totals, Self.bucket(3, 10)).seconds(.lazy)
        #expect(Self.isSame(both, Self.computation + 2 + 10 - (6 + 0.125 * 6)))
    }

    @Test func contentionSlowsTheDeviceDownWhileAnExchangeRuns() {
        var model = StepModel(layers: Self.layers, buckets: [Self.bucket(3, 4)])
        model.contention = 0.25
        // A second of work is lost in the 4 s.
        #expect(Self.isSame(model.seconds(.synchronous), Self.computation + 1))
        model.contention = 1
        #expect(Self.isSame(model.seconds(.synchronous), Self.computation + 4))
    }

    @Test func wiresWorkAtTheSameTime() {
        let inside = StepModel.Bucket(layer: 0, transfers: [.init(.inside, 5)])
        let model = StepModel(layers: Self.layers, buckets: [inside, Self.bucket(0, 7)])
        #expect(Self.isSame(model.seconds(.synchronous), Self.computation + 7))
    }

    @Test func theDeviceWaitsForActivations() {
        var layers = Self.layers
        layers[2].exchangeOfInputs = 0.5
        layers[2].exchangeOfOutputs = 0.75
        var model = StepModel(layers: layers, buckets: [])
        // Each in forward and in backward, in each micro-batch.
        #expect(Self.isSame(model.seconds(.lazy), Self.computation + 2.5))
        model.microBatches = 2
        #expect(Self.isSame(model.seconds(.lazy), 2 * 32 + 1.25 + 5))
    }
}
