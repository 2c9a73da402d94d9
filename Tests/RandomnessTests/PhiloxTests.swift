import Foundation
import Randomness
import Testing

@Suite struct PhiloxTests {
    /// The vectors that the authors publish with their library for philox4x32 with ten rounds: counter, key,
    /// result.
    @Test(arguments: [
        (
            SIMD4<UInt32>(0, 0, 0, 0), SIMD2<UInt32>(0, 0),
            SIMD4<UInt32>(0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8)
        ),
        (
            SIMD4(0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff), SIMD2(0xffff_ffff, 0xffff_ffff),
            SIMD4(0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd)
        ),
        (
            SIMD4(0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344), SIMD2(0xa409_3822, 0x299f_31d0),
            SIMD4(0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1)
        ),
    ]) func knownAnswers(counter: SIMD4<UInt32>, key: SIMD2<UInt32>, answer: SIMD4<UInt32>) {
        #expect(Philox.block(counter: counter, key: key) == answer)
    }

    @Test func streamIsItsBlocksInOrder() {
        var stream = Philox(seed: 5, purpose: .shuffle, step: 0x1_0000_0002, index: 7)
        for block in 0..<3 {
            let words = Philox.block(
                counter: SIMD4(UInt32(block), 7, 2, 1), key: Philox.key(seed: 5, purpose: .shuffle))
            for word in 0..<4 { #expect(stream.nextWord() == words[word]) }
        }
        var words = Philox(seed: 1, purpose: .shuffle)
        var pairs = Philox(seed: 1, purpose: .shuffle)
        let low = UInt64(words.nextWord())
        let high = UInt64(words.nextWord())
        #expect(pairs.next() == low | high << 32)
    }

    @Test func streamsOfOtherSeedsPurposesStepsAndIndicesDiffer() {
        func first(_ stream: Philox) -> [UInt32] {
            var stream = stream
            return (0..<8).map { _ in stream.nextWord() }
        }
        let streams = [
            Philox(seed: 1, purpose: .shuffle), Philox(seed: 2, purpose: .shuffle),
            Philox(seed: 1 << 32, purpose: .shuffle), Philox(seed: 1, purpose: .dropout),
            Philox(seed: 2, purpose: .dropout), Philox(seed: 1, purpose: .shuffle, step: 1),
            Philox(seed: 1, purpose: .shuffle, step: 1 << 32), Philox(seed: 1, purpose: .shuffle, index: 1),
        ].map(first)
        #expect(Set(streams.joined()).count == 8 * streams.count)
        #expect(first(Philox(seed: 1, purpose: .shuffle)) == streams[0])
    }

    /// Pearson's statistic of 10 bins has a mean of 9 and a deviation of √18; 40 is more than seven
    /// deviations.
    @Test func drawsBelowABoundAreUniform() {
        var random = Philox(seed: 3, purpose: .shuffle)
        var counts = [Int](repeating: 0, count: 10)
        for _ in 0..<10_000 { counts[random.integer(below: 10)] += 1 }
        let statistic = counts.reduce(0.0) { $0 + (Double($1) - 1000) * (Double($1) - 1000) / 1000 }
        #expect(statistic < 40)
        // 40 bits of bound would overflow a product of 32 bits.
        let large = (0..<1000).map { _ in random.integer(below: 1 << 31) }
        #expect(large.allSatisfy { (0..<1 << 31).contains($0) })
        #expect((large.max() ?? 0) > 1 << 30 && Set(large).count > 990)
        #expect(random.integer(below: 1) == 0)
    }

    @Test func uniformNumbersFillTheirRange() {
        var random = Philox(seed: 4, purpose: .augmentation)
        let draws = (0..<10_000).map { _ in random.uniform() }
        #expect(draws.allSatisfy { $0 >= 0 && $0 < 1 })
        // The mean of 10,000 has a deviation of 0.0029, the mean square one of 0.003: five of them.
        #expect(abs(draws.reduce(0, +) / 10_000 - 0.5) < 0.0145)
        #expect(abs(draws.reduce(0) { $0 + $1 * $1 } / 10_000 - 1 / 3) < 0.015)
        let scaled = (0..<1000).map { _ in random.uniform(in: -3 ... -1) }
        #expect(scaled.allSatisfy { $0 >= -3 && $0 <= -1 })
        #expect((scaled.min() ?? 0) < -2.9 && (scaled.max() ?? -3) > -1.1)
    }

    @Test func normalNumbersHaveTheRightMoments() {
        var random = Philox(seed: 6, purpose: .initialisation)
        let pairs = (0..<20_000).map { _ in random.normalPair() }
        let draws = pairs.flatMap { [Double($0.0), Double($0.1)] }
        func moment(_ power: Int) -> Double {
            draws.reduce(0) { sum, draw in sum + (0..<power).reduce(1) { product, _ in product * draw } }
                / Double(draws.count)
        }
        // Five deviations of each mean over 40,000 draws: √(1, 2, 15, 96) / 200.
        #expect(abs(moment(1)) < 0.025)
        #expect(abs(moment(2) - 1) < 0.036)
        #expect(abs(moment(3)) < 0.097)
        #expect(abs(moment(4) - 3) < 0.245)
        // The two numbers of a pair are independent.
        let covariance = pairs.reduce(0.0) { $0 + Double($1.0) * Double($1.1) } / 20_000
        #expect(abs(covariance) < 0.036)
        // Beyond three deviations lie 0.27 %: 108 of 40,000, ±52 for five deviations.
        #expect(abs(draws.count { abs($0) > 3 } - 108) < 52)
    }

    @Test(arguments: [0.05, 0.4, 1, 3]) func gammaNumbersHaveTheRightMoments(_ shape: Double) {
        var random = Philox(seed: 7, purpose: .mixup)
        let logarithms = (0..<20_000).map { _ in random.logGamma(shape) }
        #expect(logarithms.allSatisfy { $0.isFinite })
        let draws = logarithms.map { exp($0) }
        let mean = draws.reduce(0, +) / 20_000
        let variance = draws.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 20_000
        // Mean and variance are the shape. Five deviations of the mean of 20,000 draws, √(shape / 20,000),
        // and of the variance, whose fourth moment is 3 shape² + 6 shape.
        let deviation = (shape / 20_000).squareRoot()
        #expect(abs(mean - shape) < 5 * deviation)
        let deviationOfVariance = ((2 * shape * shape + 6 * shape) / 20_000).squareRoot()
        #expect(abs(variance - shape) < 5 * deviationOfVariance)
        // The logarithm's mean is the digamma function: of a small shape −1 / shape − 0.577 + 1.645 shape.
        if shape == 0.05 {
            let exact = -20 - 0.5772 + 1.6449 * 0.05
            // Its deviation is 1 / shape.
            let error = logarithms.reduce(0, +) / 20_000 - exact
            #expect(abs(error) < 5 * 20 / 141.4)
        }
    }

    @Test(arguments: [0, 1, 2, 3, 1000]) func permutationsHoldEachNumberOnce(count: Int) {
        var random = Philox(seed: 9, purpose: .shuffle)
        let order = random.permutation(count)
        #expect(order.sorted() == Array(0..<count))
        // Of 1000 numbers one stays in its place on average, ten or more once in ten million shuffles.
        if count == 1000 { #expect(order.enumerated().count { $0.offset == $0.element } < 10) }
    }

    @Test func everyOrderOfThreeIsAsLikely() {
        var random = Philox(seed: 10, purpose: .shuffle)
        var counts: [[Int]: Int] = [:]
        for _ in 0..<6000 { counts[random.permutation(3), default: 0] += 1 }
        #expect(counts.count == 6)
        // Five deviations of √(6000 · 1/6 · 5/6) = 29.
        #expect(counts.values.allSatisfy { abs($0 - 1000) < 145 })
    }
}
