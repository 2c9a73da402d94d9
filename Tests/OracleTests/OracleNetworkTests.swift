import Oracle
import Testing

private typealias Description = OracleNetwork.LayerDescription
private let pool: Description = ("max_pooling", 1)
private func convolution(_ filters: Int) -> Description { ("convolution", filters) }
private func connected(_ outputs: Int) -> Description { ("fully_connected", outputs) }
/// Returns a fully connected layer with its dropout.
private func hidden(_ outputs: Int) -> [Description] { [connected(outputs), ("dropout", outputs)] }

@Suite struct OracleNetworkTests {
    @Test func parameterShapesAreTorchs() throws {
        let network = try OracleNetwork(
            [convolution(4), pool, convolution(8)] + hidden(16) + [connected(10)], height: 5, width: 6)
        #expect(
            network.parameterShapes == [
                [4, 3, 3, 3], [4], [8, 4, 3, 3], [8], [16, 8 * 2 * 3], [16], [10, 16], [10],
            ])
        #expect(try OracleNetwork([connected(7)], height: 2, width: 2).parameterShapes == [[7, 12], [7]])
    }

    @Test(arguments: [
        [convolution(4), ("unknown", 4)], hidden(8) + [convolution(4)], hidden(8) + [pool],
        [convolution(0)], hidden(0), [pool, pool, pool], [convolution(-3)], [("", 1)],
    ]) func refusesWhatItCannotBuild(layers: [OracleNetwork.LayerDescription]) {
        #expect(throws: OracleNetworkError.self) {
            try OracleNetwork(layers + [connected(2)], height: 4, width: 4)
        }
    }

    /// A convolution that only looks at the pixel itself, a pool and a linear layer, calculated with pencil
    /// and paper.
    @Test func smallNetworkByHand() throws {
        let network = try OracleNetwork(
            [convolution(2), pool, connected(2)], height: 2, width: 4, channels: 1)
        var taps = [Double](repeating: 0, count: 18)
        taps[4] = 1
        taps[9 + 4] = -2
        // Pixels 1 −2 3 0 / 0 4 −1 −3: the filters give maxima 4, 3 (+0.5) and 2·2 = 4, 6 over the two 2×2
        // blocks.
        let classifier: [Double] = [1, 0, 0, 0, 0, 0, 0, 1]
        let parameters = [taps, [0.5, 0], classifier, [0, 0]]
        let images: [Double] = [1, -2, 3, 0, 0, 4, -1, -3]
        let result = network.evaluate(
            OracleNetwork.Batch(images: images, labels: [1]), parameters: parameters)
        // Features in the order channel, row, column: 4.5, 3.5, 4, 6. Logits 4.5 and 6.
        #expect(result.logits == [4.5, 6])
        let p = 1 / (1 + 4.4816890703380645)  // e^1.5
        #expect(abs(result.loss + (1.5 - 1.7014132779827524)) < 1e-12)
        // The logits' gradient (p, −p) goes to feature 0, so to the pixel 4 (tap 1), and to feature 3, so to
        // the pixel −3 (tap −2).
        #expect(distance(result.gradients[3], [p, -p]) < 1e-12)
        #expect(
            distance(
                result.gradients[2], [4.5, 3.5, 4, 6].map { $0 * p } + [4.5, 3.5, 4, 6].map { $0 * -p })
                < 1e-12)
        #expect(distance(result.gradients[1], [p, -p]) < 1e-12)
        #expect(abs(result.gradients[0][4] - 4 * p) < 1e-12)
        #expect(abs(result.gradients[0][9 + 4] - 3 * p) < 1e-12)
        #expect(distance(result.inputGradient, [0, 0, 0, 0, 0, p, 0, 2 * p]) < 1e-12)
    }

    /// Gradients of whole networks against central differences in random directions; a direction across a
    /// kink is left out and counted.
    @Test(arguments: [
        ([], 3, 2), ([convolution(3)], 4, 5), ([convolution(4), pool], 5, 4), (hidden(9), 2, 3),
        ([convolution(4), convolution(5), pool, convolution(6)] + hidden(7) + hidden(5), 6, 7),
    ]) func gradientsAreSlopes(layers: [OracleNetwork.LayerDescription], height: Int, width: Int) throws {
        var numbers = TestNumbers(state: UInt64(layers.count))
        let network = try OracleNetwork(layers + [connected(4)], height: height, width: width)
        let parameters = network.parameterShapes.map { numbers.array($0.reduce(1, *), in: -0.5...0.5) }
        let masks = layers.filter { $0.kind == "dropout" }.map { layer in
            numbers.array(3 * layer.outputs).map { $0 > -0.4 }
        }
        let batch = OracleNetwork.Batch(
            images: numbers.array(3 * height * width * 3), labels: [2, 0, 3], weights: [1, 0.5, 2],
            scale: 0.7, masks: masks, dropout: 0.3)
        let result = network.evaluate(batch, parameters: parameters)
        #expect(result.loss == network.forward(batch, parameters: parameters).loss)
        var compared = 0
        var kinks = 0
        for _ in 0..<20 {
            let direction = CentralDifference.direction(like: parameters, using: &numbers)
            let difference = network.centralDifference(batch, parameters: parameters, direction: direction)
            if difference.kinks > 0 {
                kinks += 1
                continue
            }
            compared += 1
            // Rounding of the loss (about 1e-16) over the step (1e-5), and the square of the step times the
            // third derivative.
            #expect(
                abs(difference.slope - CentralDifference.slope(of: result.gradients, along: direction))
                    < 1e-9)
        }
        // Some hundred decisions, each within 1e-5 of a kink with a probability of about 1e-5.
        #expect(compared >= 18 && compared + kinks == 20)
    }

    @Test func inputGradientIsASlope() throws {
        var numbers = TestNumbers(state: 8)
        let network = try OracleNetwork(
            [convolution(4), pool] + hidden(6) + [connected(3)], height: 5, width: 4)
        let parameters = network.parameterShapes.map { numbers.array($0.reduce(1, *), in: -0.5...0.5) }
        let images = numbers.array(2 * 60)
        let gradient = network.evaluate(
            OracleNetwork.Batch(images: images, labels: [0, 2]), parameters: parameters
        ).inputGradient
        var compared = 0
        for _ in 0..<10 {
            let direction = CentralDifference.direction(like: [images], using: &numbers)
            let difference = CentralDifference(at: [images], along: direction) {
                let result = network.forward(
                    OracleNetwork.Batch(images: $0[0], labels: [0, 2]), parameters: parameters)
                return (result.loss, result.decisions)
            }
            if difference.kinks > 0 { continue }
            compared += 1
            #expect(abs(difference.slope - dot(gradient, direction[0])) < 1e-9)
        }
        #expect(compared >= 8)
    }

    @Test func kinksAreSeen() throws {
        // One pixel whose ReLU turns at 0, where the parameters stand.
        let network = try OracleNetwork([convolution(1), connected(2)], height: 1, width: 1, channels: 1)
        let parameters = [[Double](repeating: 0, count: 9), [0], [1, -1], [0, 0]]
        let batch = OracleNetwork.Batch(images: [1], labels: [0])
        let direction = [[Double](repeating: 0, count: 9), [1], [0, 0], [0, 0]]
        #expect(network.centralDifference(batch, parameters: parameters, direction: direction).kinks == 1)
        var beside = parameters
        beside[1] = [1]
        #expect(network.centralDifference(batch, parameters: beside, direction: direction).kinks == 0)
        // A pool whose two largest pixels change places.
        let pool = try OracleNetwork([pool, connected(2)], height: 2, width: 2, channels: 1)
        let difference = CentralDifference(at: [[5, 5, 1, 1]], along: [[0, 1, 0, 0]]) {
            let result = pool.forward(
                OracleNetwork.Batch(images: $0[0], labels: [0]), parameters: [[1, -1], [0, 0]])
            return (result.loss, result.decisions)
        }
        #expect(difference.kinks == 1)
    }

    @Test func directionsHaveLengthOne() {
        var numbers = TestNumbers(state: 1)
        let direction = CentralDifference.direction(like: [[0, 0], [0, 0, 0]], using: &numbers)
        #expect(direction.map(\.count) == [2, 3])
        #expect(abs(dot(direction[0], direction[0]) + dot(direction[1], direction[1]) - 1) < 1e-12)
        #expect(Set(direction.joined()).count == 5)
    }
}
