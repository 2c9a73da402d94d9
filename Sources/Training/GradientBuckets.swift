import Basics
import Collectives
import Compute
import NeuralNet

/// Divides gradients into the exchange's buckets: joins small neighbours, and cuts what is large.
package struct GradientBuckets {
    /// The bytes up to which neighbours are joined, and above which a bucket is cut; multiples of 4096.
    package struct Sizes: Sendable {
        package let joined: Int
        package let cut: Int

        package init(joined: Int, cut: Int) {
            self.joined = joined
            self.cut = cut
        }

        /// Returns the sizes for groups of `members` ranks that exchange among themselves.
        ///
        /// A bucket goes to the other members in a message each, so that messages are small and many in large
        /// groups. Above 4 members buckets grow with them, as simulations of up to 1,024 devices suggest
        /// (docs/scaling.md).
        ///
        /// - Parameter overMessages: whether messages between machines carry them. An urgent bucket cannot
        ///   overtake what MPI has put into a socket, so that buckets are small there.
        package static func forGroups(of members: Int, overMessages: Bool = false) -> Sizes {
            var factor = 1
            while 4 * factor < members { factor *= 2 }
            return overMessages
                ? Sizes(joined: factor << 18, cut: factor << 20)
                : Sizes(joined: factor << 20, cut: factor << 24)
        }

        package init(for topology: Topology) {
            self = .forGroups(of: topology.largestGroup, overMessages: topology.sendsBetweenMachines)
        }
    }

    /// A range of a slab, and the indices of the parameters in it.
    package struct Bucket: Sendable {
        package let slab: Int
        package var bytes: Range<Int>
        package var parameters: [Int]
    }

    private(set) var buckets: [Bucket]
    /// The indices of each parameter's buckets.
    private(set) var ofParameter: [[Int]] = []

    /// Divides gradients that follow each other in memory.
    ///
    /// - Parameters:
    ///   - places: where each parameter's gradient is
    ///   - first: a bucket before theirs, in a slab of its own
    init(_ places: [(slab: Int, bytes: Range<Int>)], sizes: Sizes, first: Bucket) {
        buckets = [first]
        for (index, (slab, bytes)) in places.enumerated() {
            // A bias costs nothing in the bucket before it, and messages in one of its own.
            if let last = buckets.last, last.slab == slab,
                bytes.upperBound - last.bytes.lowerBound <= sizes.joined
                    || 64 * bytes.count <= last.bytes.count
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

/// Where the exchange has a step's totals and its gradients, and how it divides them into buckets.
package struct GradientLayout {
    /// The bytes of the totals, which are a bucket of their own.
    package static let totals = 0..<MemoryLayout<SharedTotals>.size.roundedUp(to: 64)
    /// The totals have a page of their own in front of the first slab.
    static let totalsPage = 4096

    /// The bytes of each slab, which holds neighbouring parameters' gradients, and the floats before it.
    let slabs, starts: [Int]
    /// The first holds the step's totals, which are ready first and needed first.
    package let buckets: [GradientBuckets.Bucket]
    /// The indices of each parameter's buckets.
    package let bucketsOf: [[Int]]

    /// Arranges the gradients of parameters as in an arena.
    ///
    /// - Parameters:
    ///   - parameters: those that all ranks exchange
    ///   - device: the one whose limits decide the arrangement
    package init(_ parameters: [Parameter], device: DeviceDescription, sizes: GradientBuckets.Sizes) {
        slabs = ParameterArena.bufferSizes(parameters, device: device).map {
            $0.roundedUp(to: Buffer.sliceAlignment)
        }
        var starts = [GradientLayout.totalsPage / 4]
        for size in slabs { starts.append(starts[starts.count - 1] + size / 4) }
        self.starts = starts
        let places = zip(ParameterArena.starts(parameters, device: device), parameters).map {
            (slab: $0.buffer, bytes: $0.byteOffset..<($0.byteOffset + $1.storedCount * 4))
        }
        let cut = GradientBuckets(
            places, sizes: sizes, first: .init(slab: -1, bytes: GradientLayout.totals, parameters: []))
        (buckets, bucketsOf) = (cut.buckets, cut.ofParameter)
    }

    /// The floats of all slabs and of the totals.
    package var floatCount: Int { starts[starts.count - 1] }

    /// The floats of each bucket.
    package var ranges: [Range<Int>] {
        buckets.map { bucket in
            let start = bucket.slab < 0 ? 0 : starts[bucket.slab]
            return (start + bucket.bytes.lowerBound / 4)..<(start + bucket.bytes.upperBound / 4)
        }
    }
}

/// A step's totals in the ranks' memory, all as floats, because the exchange adds floats.
struct SharedTotals {
    var images: SoftmaxCrossEntropy.Totals
    /// The number of ranks that ask to stop.
    var stopRequests: Float
}
