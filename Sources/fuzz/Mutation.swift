import Randomness

/// Damages bytes at random, by accident-like and by deliberate changes.
struct Mutation {
    var random: Philox
    /// Words of the format.
    let words: [String]

    private static let numbers = [
        "0", "1", "-1", "2", "16", "255", "256", "65535", "65536", "2147483648", "4294967296",
        "9223372036854775807", "9223372036854775808", "18446744073709551615", "-9223372036854775808", "1e999",
        "0.5", "1e-400",
    ]

    init(seed: UInt64, index: UInt64, words: [String]) {
        random = Philox(seed: seed, purpose: .fuzzing, step: index)
        self.words = words
    }

    mutating func number(below bound: Int) -> Int { bound > 0 ? random.integer(below: bound) : 0 }

    mutating func oneIn(_ count: Int) -> Bool { number(below: count) == 0 }

    mutating func choose<Element>(_ elements: [Element]) -> Element {
        elements[number(below: elements.count)]
    }

    /// Makes a few changes, usually one or two.
    mutating func apply(to bytes: inout [UInt8], other: [UInt8]) {
        repeat { change(&bytes, other) } while !oneIn(3)
    }

    private mutating func change(_ bytes: inout [UInt8], _ other: [UInt8]) {
        let place = number(below: bytes.count)
        let length = min(bytes.count - place, 1 + number(below: oneIn(4) ? 256 : 8))
        switch number(below: 10) {
        case 0: if !bytes.isEmpty { bytes[place] ^= 1 << UInt8(number(below: 8)) }
        case 1: if !bytes.isEmpty { bytes[place] = UInt8(number(below: 256)) }
        case 2: if !bytes.isEmpty { bytes[place] = choose([0, 1, 0x7F, 0x80, 0xFE, 0xFF]) }
        case 3: bytes.removeSubrange(place..<place + length)
        case 4: bytes.insert(contentsOf: bytes[place..<place + length], at: number(below: bytes.count))
        case 5: bytes.insert(contentsOf: (0..<length).map { _ in UInt8(number(below: 256)) }, at: place)
        case 6: bytes.insert(contentsOf: choose(words).utf8, at: place)
        case 7: replaceNumber(in: &bytes, from: place)
        case 8:
            let start = number(below: other.count)
            bytes.replaceSubrange(
                place..<place + length, with: other[start..<min(other.count, start + length)])
        default: if oneIn(4) { bytes.removeSubrange(place...) }
        }
    }

    /// Replaces the first number after `start`.
    private mutating func replaceNumber(in bytes: inout [UInt8], from start: Int) {
        let digits = UInt8(ascii: "0")...UInt8(ascii: "9")
        guard let first = bytes[start...].firstIndex(where: digits.contains) else { return }
        let end = bytes[first...].firstIndex { !digits.contains($0) } ?? bytes.count
        bytes.replaceSubrange(first..<end, with: Array(choose(Mutation.numbers).utf8))
    }
}
