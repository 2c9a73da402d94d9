/// Divides gradients into the exchange's buckets: joins small neighbours, and cuts what is large.
package struct GradientBuckets {
    /// A range of a slab, and the indices of the parameters in it.
    package struct Bucket {
        package let slab: Int
        package var bytes: Range<Int>
        package var parameters: [Int]
    }

    package private(set) var buckets: [Bucket]
    /// The indices of each parameter's buckets.
    package private(set) var ofParameter: [[Int]] = []

    /// Divides gradients that follow each other in memory.
    ///
    /// - Parameters:
    ///   - places: where each parameter's gradient is
    ///   - first: a bucket before theirs, in a slab of its own
    package init(
        _ places: [(slab: Int, bytes: Range<Int>)], sizes: GradientExchange.BucketSizes, first: Bucket? = nil
    ) {
        buckets = first.map { [$0] } ?? []
        for (index, (slab, bytes)) in places.enumerated() {
            if let last = buckets.last, last.slab == slab,
                bytes.upperBound - last.bytes.lowerBound <= sizes.joined
            {
                buckets[buckets.count - 1].bytes = last.bytes.lowerBound..<bytes.upperBound
                buckets[buckets.count - 1].parameters.append(index)
                ofParameter.append([buckets.count - 1])
                continue
            }
            let start = buckets.count
            for piece in stride(from: bytes.lowerBound, to: bytes.upperBound, by: sizes.cut) {
                let end = min(bytes.upperBound, piece + sizes.cut)
                buckets.append(Bucket(slab: slab, bytes: piece..<end, parameters: [index]))
            }
            ofParameter.append(Array(start..<buckets.count))
        }
    }
}
