import Foundation

/// Describes how a picture looks, so that copies of another size or quality are found.
struct PictureLook: Sendable, Equatable {
    /// The side of the square that a picture is reduced to.
    static let side = 32
    /// Copies differ in at most this many bits of the hash.
    static let largestDistance = 4
    private static let bits = 63
    private static let cells = 4
    /// The mean difference of the colours of copies, of 255.
    private static let largestColourDistance = 10

    /// Bits that say which waves of the picture are above the median (a perceptual hash by the DCT).
    let hash: UInt64
    /// The mean red, green and blue of 4 × 4 cells.
    private let colours: SIMD64<UInt8>
    /// Whether red, green and blue are about the same everywhere.
    let isGrey: Bool

    /// - Parameter pixels: the whole picture as 32 × 32 RGB bytes.
    init(_ pixels: UnsafePointer<UInt8>) {
        let side = Self.side
        var light = [Float](repeating: 0, count: side * side)
        var sums = [Int](repeating: 0, count: 64)
        var spread = 0
        for y in 0..<side {
            for x in 0..<side {
                let at = 3 * (y * side + x)
                let (red, green, blue) = (Int(pixels[at]), Int(pixels[at + 1]), Int(pixels[at + 2]))
                light[y * side + x] = 0.299 * Float(red) + 0.587 * Float(green) + 0.114 * Float(blue)
                spread = max(spread, max(red, green, blue) - min(red, green, blue))
                let cell = 4 * (y * Self.cells / side * Self.cells + x * Self.cells / side)
                sums[cell] += red
                sums[cell + 1] += green
                sums[cell + 2] += blue
            }
        }
        isGrey = spread <= 10
        let share = (side / Self.cells) * (side / Self.cells)
        var colours = SIMD64<UInt8>()
        for index in 0..<64 { colours[index] = UInt8(sums[index] / share) }
        self.colours = colours
        let waves = Self.waves(light)
        let median = waves.sorted()[Self.bits / 2]
        hash = waves.enumerated().reduce(0) { $1.element > median ? $0 | 1 << UInt64($1.offset) : $0 }
    }

    /// The cosines of the first eight waves.
    private static let cosines: [Float] = (0..<8).flatMap { wave in
        (0..<side).map { Float(cos(Double.pi * Double(wave) * (Double($0) + 0.5) / Double(side))) }
    }

    /// Returns the coefficients of the 63 longest waves of the two-dimensional DCT, without the mean.
    private static func waves(_ light: [Float]) -> [Float] {
        var rows = [Float](repeating: 0, count: 8 * side)
        for wave in 0..<8 {
            for y in 0..<side {
                var sum: Float = 0
                for x in 0..<side { sum += cosines[wave * side + x] * light[y * side + x] }
                rows[wave * side + y] = sum
            }
        }
        return (1..<64).map { index in
            let (across, down) = (index & 7, index >> 3)
            return (0..<side).reduce(Float(0)) { $0 + cosines[down * side + $1] * rows[across * side + $1] }
        }
    }

    /// Whether two pictures look like copies of one.
    func isNear(_ other: PictureLook) -> Bool {
        guard (hash ^ other.hash).nonzeroBitCount <= Self.largestDistance else { return false }
        var sum = 0
        for index in 0..<64 where index & 3 != 3 {
            sum += abs(Int(colours[index]) - Int(other.colours[index]))
        }
        return sum <= 48 * Self.largestColourDistance
    }

    /// Returns the groups of pictures that look like copies, each in ascending order.
    ///
    /// Of seven pieces of two such hashes, at least three are equal. So the pictures are sorted by each
    /// choice of three pieces, and only neighbours are compared.
    static func groups(_ looks: [PictureLook]) -> [[Int]] {
        var parents = Array(looks.indices)
        func root(_ index: Int) -> Int {
            var index = index
            while parents[index] != index {
                parents[index] = parents[parents[index]]
                index = parents[index]
            }
            return index
        }
        func join(_ left: Int, _ right: Int) {
            let (left, right) = (root(left), root(right))
            if left != right { parents[max(left, right)] = min(left, right) }
        }
        // Equal looks are compared once: thousands of them must not be compared in pairs.
        let order = looks.indices.sorted { looks[$0].sortKey < looks[$1].sortKey }
        var different: [Int] = []
        for index in order {
            if let last = different.last, looks[last] == looks[index] {
                join(last, index)
            } else {
                different.append(index)
            }
        }
        let width = UInt64(bits / 7)
        func piece(_ hash: UInt64, _ number: Int) -> UInt64 {
            hash >> (width * UInt64(number)) & (1 << width - 1)
        }
        for first in 0..<7 {
            for second in first + 1..<7 {
                for third in second + 1..<7 {
                    let keys = different.enumerated().map { place, index -> UInt64 in
                        let hash = looks[index].hash
                        let key = piece(hash, first) << (2 * width) | piece(hash, second) << width
                        return (key | piece(hash, third)) << 32 | UInt64(place)
                    }.sorted()
                    joinNeighbours(keys) { left, right in
                        let (left, right) = (different[left], different[right])
                        if root(left) != root(right), looks[left].isNear(looks[right]) { join(left, right) }
                    }
                }
            }
        }
        let members = Dictionary(grouping: looks.indices, by: root).values.filter { $0.count > 1 }
        return members.map { $0.sorted() }.sorted { $0[0] < $1[0] }
    }

    /// Calls `body` with the places of keys whose upper halves are equal, each with those that follow.
    ///
    /// Of very many equal keys, each is compared with some only.
    private static func joinNeighbours(_ keys: [UInt64], _ body: (Int, Int) -> Void) {
        let longest = 1000
        for start in keys.indices {
            var next = start + 1
            while next < keys.count, keys[next] >> 32 == keys[start] >> 32, next - start <= longest {
                body(Int(keys[start] & 0xFFFF_FFFF), Int(keys[next] & 0xFFFF_FFFF))
                next += 1
            }
        }
    }

    /// Puts equal looks side by side.
    private var sortKey: (UInt64, UInt64) {
        let words = unsafeBitCast(colours, to: SIMD8<UInt64>.self)
        return (hash, (0..<8).reduce(0) { ($0 &* 0x0000_0100_0000_01B3) ^ words[$1] })
    }
}
