import Oracle
import Testing

/// Sums of at most a few hundred products of numbers below 10, in double precision.
private let rounding = 1e-12

@Suite struct GEMMOracleTests {
    @Test func smallProducts() {
        #expect(Oracle.gemm([1, 2, 3, 4], [5, 6, 7, 8], rows: 2, columns: 2, depth: 2) == [19, 22, 43, 50])
        #expect(Oracle.gemm([1, 2, 3, 4, 5, 6], [1, 10, 100], rows: 2, columns: 1, depth: 3) == [321, 654])
        #expect(Oracle.gemm([2], [3, 4, 5], rows: 1, columns: 3, depth: 1) == [6, 8, 10])
    }

    @Test func transposes() {
        // A = [1 2 3; 4 5 6], B = [1 0; 2 1; 0 3]; A·B = [5 11; 14 23].
        let a = [1.0, 2, 3, 4, 5, 6]
        let aTransposed = [1.0, 4, 2, 5, 3, 6]
        let b = [1.0, 0, 2, 1, 0, 3]
        let bTransposed = [1.0, 2, 0, 0, 1, 3]
        let expected = [5.0, 11, 14, 23]
        #expect(Oracle.gemm(a, b, rows: 2, columns: 2, depth: 3) == expected)
        #expect(Oracle.gemm(aTransposed, b, rows: 2, columns: 2, depth: 3, transposeA: true) == expected)
        #expect(Oracle.gemm(a, bTransposed, rows: 2, columns: 2, depth: 3, transposeB: true) == expected)
        #expect(
            Oracle.gemm(
                aTransposed, bTransposed, rows: 2, columns: 2, depth: 3, transposeA: true, transposeB: true)
                == expected)
    }
}

@Suite struct ConvolutionOracleTests {
    let image = Oracle.Shape(batch: 1, height: 3, width: 3, channels: 1)

    @Test func sumsOfNeighbours() {
        let output = Oracle.convolutionForward(
            [1, 2, 3, 4, 5, 6, 7, 8, 9], shape: image,
            weights: [Double](repeating: 1, count: 9), bias: [100], filters: 1)
        #expect(output == [112, 121, 116, 127, 145, 133, 124, 139, 128])
    }

    @Test func firstTapReadsTheUpperLeftNeighbour() {
        var weights = [Double](repeating: 0, count: 9)
        weights[0] = 1
        let output = Oracle.convolutionForward(
            [1, 2, 3, 4, 5, 6, 7, 8, 9], shape: image, weights: weights, bias: [0], filters: 1)
        #expect(output == [0, 0, 0, 0, 1, 2, 0, 4, 5])
    }

    @Test func weightsAreOIHWAndImagesNHWC() {
        // Two images of 1×2 pixels with 2 channels; filter 1 reads channel 0 of the right neighbour (k = 1, c
        // = 0, ky = 1, kx = 2).
        let shape = Oracle.Shape(batch: 2, height: 1, width: 2, channels: 2)
        var weights = [Double](repeating: 0, count: 3 * 2 * 9)
        weights[(1 * 2 + 0) * 9 + 1 * 3 + 2] = 1
        let output = Oracle.convolutionForward(
            [1, 2, 3, 4, 5, 6, 7, 8], shape: shape, weights: weights, bias: [0, 0, 0.5], filters: 3)
        #expect(output == [0, 3, 0.5, 0, 0, 0.5, 0, 7, 0.5, 0, 0, 0.5])
    }

    @Test func gradientsByHand() {
        // 1×2 pixels: y0 = w11·x0 + w12·x1, y1 = w10·x0 + w11·x1 (taps of the middle row).
        let shape = Oracle.Shape(batch: 1, height: 1, width: 2, channels: 1)
        let weights: [Double] = [90, 91, 92, 2, 3, 5, 93, 94, 95]
        #expect(
            Oracle.convolutionForward([1, 10], shape: shape, weights: weights, bias: [0], filters: 1) == [
                53, 32,
            ])
        // 3·7 + 2·11 and 5·7 + 3·11.
        #expect(
            Oracle.convolutionBackwardData([7, 11], shape: shape, weights: weights, filters: 1) == [43, 68])
        let gradients = Oracle.convolutionBackwardWeights(
            [1, 10], shape: shape, outputGradient: [7, 11], filters: 1)
        #expect(gradients.weights == [0, 0, 0, 11, 117, 70, 0, 0, 0])
        #expect(gradients.bias == [18])
    }

    /// Forward is linear in input and weights, and the backward passes are its adjoints: three ways to the
    /// same number.
    @Test(arguments: [(1, 1, 1, 1, 1), (2, 5, 4, 3, 2), (3, 2, 7, 2, 5)]) func backwardPassesAreAdjoints(
        batch: Int, height: Int, width: Int, channels: Int, filters: Int
    ) {
        var numbers = TestNumbers(state: UInt64(height))
        let shape = Oracle.Shape(batch: batch, height: height, width: width, channels: channels)
        let input = numbers.array(shape.count)
        let weights = numbers.array(filters * channels * 9)
        let gradient = numbers.array(shape.with(channels: filters).count)
        let zero = [Double](repeating: 0, count: filters)
        let forward = dot(
            gradient,
            Oracle.convolutionForward(input, shape: shape, weights: weights, bias: zero, filters: filters))
        let data = dot(
            input, Oracle.convolutionBackwardData(gradient, shape: shape, weights: weights, filters: filters))
        let backward = Oracle.convolutionBackwardWeights(
            input, shape: shape, outputGradient: gradient, filters: filters)
        #expect(abs(forward) > 1e-3)
        #expect(abs(forward - data) < rounding)
        #expect(abs(forward - dot(weights, backward.weights)) < rounding)
        let ones = [Double](repeating: 1, count: filters)
        let biased = Oracle.convolutionForward(
            input, shape: shape, weights: weights, bias: ones, filters: filters)
        #expect(abs(dot(gradient, biased) - forward - backward.bias.reduce(0, +)) < rounding)
    }
}

@Suite struct ElementOracleTests {
    @Test func relu() {
        #expect(Oracle.reluForward([-2, -0.0, 0, 3]) == [0, 0, 0, 3])
        #expect(
            Oracle.reluBackward(output: [0, 0, 0.5, 3], outputGradient: [1, -2, 3, -4]) == [0, 0, 3, -4])
    }

    @Test func dropout() {
        #expect(
            Oracle.dropout([1, 2, 3, -4], mask: [true, false, true, true], probability: 0.75) == [
                4, 0, 12, -16,
            ])
        #expect(Oracle.dropout([1, 2], mask: [true, true], probability: 0) == [1, 2])
    }

    @Test func sgdMatchesPyTorchsFormula() {
        var weights = [1.0, -2.0]
        var velocity = [0.0, 0.0]
        Oracle.sgd(
            weights: &weights, velocity: &velocity, gradient: [0.5, 1],
            learningRate: 0.5, momentum: 0.5, weightDecay: 0.25)
        #expect(velocity == [0.75, 0.5])
        #expect(weights == [0.625, -2.25])
        Oracle.sgd(
            weights: &weights, velocity: &velocity, gradient: [0, 0],
            learningRate: 0.5, momentum: 0.5, weightDecay: 0)
        #expect(velocity == [0.375, 0.25])
        #expect(weights == [0.4375, -2.375])
    }

    /// The first step's length is the rate whatever the gradient's size.
    @Test func adamwMatchesPyTorchsFormula() {
        var (weights, first, second) = ([1.0, -2.0], [0.0, 0.0], [0.0, 0.0])
        Oracle.adamw(
            weights: &weights, first: &first, second: &second, gradient: [0.5, -30],
            number: 1, learningRate: 0.1, beta1: 0.9, weightDecay: 0.5)
        #expect(zip(weights, [0.85, -1.8]).allSatisfy { abs($0 - $1) < 1e-8 })
        Oracle.adamw(
            weights: &weights, first: &first, second: &second, gradient: [0, 0],
            number: 2, learningRate: 0.1, beta1: 0.9, weightDecay: 0)
        // 0.045 / 0.19 = 0.236842 over √(0.00024975 / 0.001999) = 0.353465, times the rate.
        #expect(abs(weights[0] - (0.85 - 0.0670058)) < 1e-6, "\(weights)")
    }
}

@Suite struct PoolingOracleTests {
    @Test func maxOfEachChannel() {
        let shape = Oracle.Shape(batch: 1, height: 2, width: 2, channels: 2)
        let pooled = Oracle.maxPoolForward([1, 8, 2, 7, 3, 6, 4, 5], shape: shape)
        #expect(pooled.output == [4, 8])
        #expect(pooled.choices == [6, 1])
        #expect(
            Oracle.maxPoolBackward([1, 8, 2, 7, 3, 6, 4, 5], shape: shape, outputGradient: [10, 20]) == [
                0, 20, 0, 0, 0, 0, 10, 0,
            ])
    }

    @Test func oddSizesLoseTheirLastRowAndColumn() {
        let shape = Oracle.Shape(batch: 2, height: 3, width: 5, channels: 1)
        #expect(Oracle.maxPoolShape(shape) == Oracle.Shape(batch: 2, height: 1, width: 2, channels: 1))
        var input = (0..<30).map(Double.init)
        input[4] = 99
        let pooled = Oracle.maxPoolForward(input, shape: shape)
        #expect(pooled.choices == [6, 8, 21, 23])
        let gradient = Oracle.maxPoolBackward(input, shape: shape, outputGradient: [1, 2, 3, 4])
        #expect(gradient.enumerated().filter { $0.element != 0 }.map(\.offset) == [6, 8, 21, 23])
    }

    @Test func firstOfEqualMaximaWins() {
        let shape = Oracle.Shape(batch: 1, height: 2, width: 2, channels: 1)
        #expect(Oracle.maxPoolForward([0, 0, 0, 0], shape: shape).choices == [0])
        #expect(Oracle.maxPoolForward([1, 3, 3, 2], shape: shape).choices == [1])
        #expect(Oracle.maxPoolForward([1, 2, 3, 3], shape: shape).choices == [2])
    }
}

@Suite struct FullyConnectedOracleTests {
    @Test func byHand() {
        // Two rows of 3 inputs, 2 outputs.
        let input: [Double] = [1, 2, 3, 4, 5, 6]
        let weights: [Double] = [1, 0, 2, 0, 3, 1]
        let output = Oracle.fullyConnectedForward(
            input, rows: 2, inputs: 3, weights: weights, bias: [10, 20], outputs: 2)
        #expect(output == [17, 29, 26, 41])
        let data = Oracle.fullyConnectedBackwardData(
            [1, 2, 3, 4], rows: 2, inputs: 3, weights: weights, outputs: 2)
        #expect(data == [1, 6, 4, 3, 12, 10])
        let gradients = Oracle.fullyConnectedBackwardWeights(
            input, rows: 2, inputs: 3, outputGradient: [1, 2, 3, 4], outputs: 2)
        #expect(gradients.weights == [13, 17, 21, 18, 24, 30])
        #expect(gradients.bias == [4, 6])
    }

    @Test func orderOfFlattenedFeatures() {
        // 1×2 pixels of 3 channels: (r0 g0 b0 r1 g1 b1) becomes (r0 r1 g0 g1 b0 b1).
        let shape = Oracle.Shape(batch: 1, height: 1, width: 2, channels: 3)
        #expect(Oracle.channelsFirst([1, 2, 3, 4, 5, 6], shape: shape) == [1, 4, 2, 5, 3, 6])
        let odd = Oracle.Shape(batch: 2, height: 3, width: 2, channels: 5)
        let values = (0..<odd.count).map(Double.init)
        #expect(Oracle.channelsLast(Oracle.channelsFirst(values, shape: odd), shape: odd) == values)
        #expect(Oracle.channelsFirst(values, shape: odd) != values)
    }
}

@Suite struct SoftmaxOracleTests {
    @Test func byHand() {
        // exp gives 1 : 3 in the first row and 1 : 1 in the second.
        let third = 1.0986122886681098
        let result = Oracle.softmaxCrossEntropy(
            [0, third, 5, 5], rows: 2, classes: 2, labels: [0, 1], weights: [2, 1], scale: 0.5)
        #expect(distance(result.probabilities, [0.25, 0.75, 0.5, 0.5]) < rounding)
        #expect(distance(result.losses, [1.3862943611198906, 0.6931471805599453]) < rounding)
        #expect(distance(result.gradient, [-0.75, 0.75, 0.25, -0.25]) < rounding)
    }

    @Test func largeLogitsDoNotOverflow() {
        let result = Oracle.softmaxCrossEntropy([1000, -1000], rows: 1, classes: 2, labels: [1], scale: 1)
        #expect(result.losses == [2000])
        #expect(result.probabilities == [1, 0])
        #expect(result.gradient == [1, -1])
    }

    @Test func rowsOfWeightZeroAddNothing() {
        let result = Oracle.softmaxCrossEntropy(
            [.nan, 1, 0, 0], rows: 2, classes: 2, labels: [0, 0], weights: [0, 1], scale: 1)
        #expect(result.gradient == [0, 0, -0.5, 0.5])
    }

    @Test func gradientIsTheSlopeOfTheLoss() {
        var numbers = TestNumbers(state: 3)
        let logits = numbers.array(12, in: -2...2)
        let weights = [0.5, 0, 2]
        func loss(_ logits: [Double]) -> Double {
            0.3
                * dot(
                    weights,
                    Oracle.softmaxCrossEntropy(logits, rows: 3, classes: 4, labels: [3, 1, 0], scale: 1)
                        .losses)
        }
        let gradient = Oracle.softmaxCrossEntropy(
            logits, rows: 3, classes: 4, labels: [3, 1, 0], weights: weights, scale: 0.3
        ).gradient
        for index in logits.indices {
            let difference = CentralDifference(
                at: [logits], along: [logits.indices.map { $0 == index ? 1 : 0 }]
            ) { (loss($0[0]), []) }
            // Rounding of the loss (1e-16) over the step (1e-5), and the square of the step.
            #expect(abs(difference.slope - gradient[index]) < 1e-9)
        }
    }
}

@Suite struct TargetOracleTests {
    @Test func byHand() {
        // A quarter of class 0 and three quarters of class 2, which counts twice: 0.25 and 1.5, whose tenth
        // is spread over five classes.
        let mixed = Oracle.targets(
            [(0, 2), (1, 1)], shares: [0.25, 0.5], classWeights: [1, 1, 2, 1, 1], smoothing: 0.1, classes: 5)
        #expect(
            distance(
                mixed,
                [0.225 + 0.035, 0.035, 1.35 + 0.035, 0.035, 0.035, 0.02, 0.92, 0.02, 0.02, 0.02]) < rounding)
        #expect(Oracle.targets([(1, 0)], classes: 3) == [0, 1, 0])
        // exp gives 1 : 3.
        let third = 1.0986122886681098
        let result = Oracle.crossEntropy([0, third], targets: [2, 1], classes: 2, scale: 0.5)
        #expect(distance(result.losses, [2 * 1.3862943611198906 + 0.28768207245178085]) < rounding)
        #expect(distance(result.gradient, [0.5 * (0.75 - 2), 0.5 * (2.25 - 1)]) < rounding)
    }

    @Test func hardTargetsGiveTheLossOfLabels() {
        var numbers = TestNumbers(state: 8)
        let logits = numbers.array(12, in: -2...2)
        let labels = Oracle.softmaxCrossEntropy(logits, rows: 3, classes: 4, labels: [3, 1, 0], scale: 0.3)
        let targets = Oracle.crossEntropy(
            logits, targets: Oracle.targets([(3, 0), (1, 2), (0, 0)], classes: 4), classes: 4, scale: 0.3)
        #expect(distance(targets.losses, labels.losses) < rounding)
        #expect(distance(targets.gradient, labels.gradient) < rounding)
    }

    @Test func gradientIsTheSlopeOfTheLoss() {
        var numbers = TestNumbers(state: 4)
        let logits = numbers.array(12, in: -2...2)
        let targets = numbers.array(12, in: 0...2)
        func loss(_ logits: [Double]) -> Double {
            0.3 * Oracle.crossEntropy(logits, targets: targets, classes: 4, scale: 1).losses.reduce(0, +)
        }
        let gradient = Oracle.crossEntropy(logits, targets: targets, classes: 4, scale: 0.3).gradient
        for index in logits.indices {
            let difference = CentralDifference(
                at: [logits], along: [logits.indices.map { $0 == index ? 1 : 0 }]
            ) { (loss($0[0]), []) }
            // Rounding of the loss (1e-16) over the step (1e-5), and the square of the step.
            #expect(abs(difference.slope - gradient[index]) < 1e-9)
        }
    }
}

@Suite struct PreprocessingOracleTests {
    // 2×3 pixels; red counts 0, 51, 102, … (fifths of 255), green is 255, blue 0.
    let image: [UInt8] = (0..<6).flatMap { [UInt8($0 * 51), 255, 0] }

    func red(top: Int, left: Int, height: Int, width: Int, mirror: Bool) -> [Double] {
        let output = Oracle.cropMirrorNormalize(
            image, height: 2, width: 3, top: top, left: left, cropHeight: height, cropWidth: width,
            mirror: mirror, mean: [0, 0.5, 0], deviation: [1, 0.25, 1])
        return stride(from: 0, to: output.count, by: 3).map { output[$0] }
    }

    @Test func normalises() {
        let output = Oracle.cropMirrorNormalize(
            image, height: 2, width: 3, top: 1, left: 2, cropHeight: 1, cropWidth: 1, mirror: false,
            mean: [0.5, 0.5, 0.25], deviation: [0.25, 0.25, 0.5])
        #expect(output == [2, 2, -0.5])
    }

    @Test func cropsAndMirrors() {
        #expect(
            distance(red(top: 0, left: 1, height: 2, width: 2, mirror: false), [0.2, 0.4, 0.8, 1]) < rounding)
        #expect(
            distance(red(top: 0, left: 1, height: 2, width: 2, mirror: true), [0.4, 0.2, 1, 0.8]) < rounding)
    }

    @Test func pixelsOutsideAreZeroAfterNormalisation() {
        #expect(
            distance(red(top: -1, left: -1, height: 2, width: 3, mirror: false), [0, 0, 0, 0, 0, 0.2])
                < rounding)
        #expect(distance(red(top: 1, left: 2, height: 2, width: 2, mirror: true), [0, 1, 0, 0]) < rounding)
        let outside = Oracle.cropMirrorNormalize(
            image, height: 2, width: 3, top: 5, left: -9, cropHeight: 1, cropWidth: 2, mirror: false,
            mean: [0.5, 0.5, 0.5], deviation: [1, 1, 1])
        #expect(outside == [0, 0, 0, 0, 0, 0])
    }
}

@Suite struct RankingOracleTests {
    @Test func ranks() { #expect([0, 1, 2].map { Oracle.rank(of: $0, in: [0.1, 0.7, 0.2]) } == [2, 0, 1]) }

    @Test func lowerIndexWinsTies() {
        #expect([0, 1, 2, 3].map { Oracle.rank(of: $0, in: [1.0, 2, 1, 1]) } == [1, 0, 2, 3])
    }

    @Test func notANumberComesLast() {
        #expect([0, 1, 2].map { Oracle.rank(of: $0, in: [Double.nan, -1, .nan]) } == [1, 0, 2])
    }
}
