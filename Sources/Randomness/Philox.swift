/// Names what a stream of random numbers is for; streams of different purposes are independent.
public enum Purpose: UInt32, Sendable {
    case initialisation = 1, shuffle, augmentation, dropout, scenes, microBatches, benchmark, fuzzing, mixup,
        balancing
}

/// Generates random numbers by Philox4x32-10, which is counter-based.
///
/// A draw depends only on its key and counter, not on rank, thread or time. A resumed run therefore needs no
/// saved state, and the device's kernels draw the same numbers from the same counters. Source: Salmon et al.,
/// "Parallel random numbers: as easy as 1, 2, 3", 2011.
public struct Philox: RandomNumberGenerator, Sendable {
    /// The key of every block of this stream.
    public let key: SIMD2<UInt32>
    private var counter: SIMD4<UInt32>
    private var block = SIMD4<UInt32>()
    private var used = 4

    /// Makes the stream of (seed, purpose, epoch or step, index), which holds 2^32 blocks of four numbers.
    public init(seed: UInt64, purpose: Purpose, step: UInt64 = 0, index: UInt32 = 0) {
        key = Philox.key(seed: seed, purpose: purpose)
        counter = SIMD4(0, index, UInt32(truncatingIfNeeded: step), UInt32(truncatingIfNeeded: step >> 32))
    }

    /// Returns a key that mixes seed and purpose, so that no neighbouring seed undoes the purpose.
    public static func key(seed: UInt64, purpose: Purpose) -> SIMD2<UInt32> {
        let mixed = block(
            counter: SIMD4(purpose.rawValue, 0, 0, 0),
            key: SIMD2(UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32)))
        return SIMD2(mixed.x, mixed.y)
    }

    /// Returns the four random words of a counter, after ten rounds.
    public static func block(counter: SIMD4<UInt32>, key: SIMD2<UInt32>) -> SIMD4<UInt32> {
        var counter = counter
        var key = key
        for _ in 0..<10 {
            let first = UInt64(counter.x) * 0xD251_1F53
            let second = UInt64(counter.z) * 0xCD9E_8D57
            counter = SIMD4(
                UInt32(truncatingIfNeeded: second >> 32) ^ counter.y ^ key.x,
                UInt32(truncatingIfNeeded: second),
                UInt32(truncatingIfNeeded: first >> 32) ^ counter.w ^ key.y, UInt32(truncatingIfNeeded: first)
            )
            key = SIMD2(key.x &+ 0x9E37_79B9, key.y &+ 0xBB67_AE85)
        }
        return counter
    }

    /// Returns the next 32 random bits.
    public mutating func nextWord() -> UInt32 {
        if used == 4 {
            block = Philox.block(counter: counter, key: key)
            counter.x &+= 1
            used = 0
        }
        defer { used += 1 }
        return block[used]
    }

    public mutating func next() -> UInt64 {
        let low = UInt64(nextWord())
        return low | UInt64(nextWord()) << 32
    }

    /// Returns a uniform number in [0, 1), a multiple of 2^-24.
    public mutating func uniform() -> Float { Float(nextWord() >> 8) * 0x1p-24 }

    /// Returns a uniform number in [range.lowerBound, range.upperBound).
    public mutating func uniform(in range: ClosedRange<Float>) -> Float {
        range.lowerBound + (range.upperBound - range.lowerBound) * uniform()
    }

    /// Returns a uniform number in 0..<bound; takes exactly one word, unlike the standard library's loop.
    public mutating func integer(below bound: Int) -> Int { Int((UInt64(nextWord()) * UInt64(bound)) >> 32) }

    /// Returns a random order of 0..<count, by Fisher and Yates.
    public mutating func permutation(_ count: Int) -> [Int] {
        var order = Array(0..<count)
        for last in stride(from: count - 1, to: 0, by: -1) { order.swapAt(last, integer(below: last + 1)) }
        return order
    }
}
