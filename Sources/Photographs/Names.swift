import Foundation

/// Holds names as bytes, one after the other, because a million strings take long to make and to sort.
struct Names: Sendable {
    private(set) var bytes: [UInt8] = []
    private var starts: [Int] = [0]

    var count: Int { starts.count - 1 }

    init() {}

    /// Takes names in their order.
    ///
    /// - Parameter byteCount: the length of all names.
    init(_ names: some Collection<ArraySlice<UInt8>>, byteCount: Int) {
        bytes.reserveCapacity(byteCount)
        starts.reserveCapacity(names.count + 1)
        for name in names { append(name) }
    }

    mutating func append(_ name: UnsafeRawBufferPointer) {
        bytes.append(contentsOf: name)
        starts.append(bytes.count)
    }

    mutating func append(_ name: some Sequence<UInt8>) {
        bytes.append(contentsOf: name)
        starts.append(bytes.count)
    }

    /// The place of a name in `bytes`.
    func range(_ index: Int) -> Range<Int> { starts[index]..<starts[index + 1] }

    subscript(index: Int) -> ArraySlice<UInt8> { bytes[range(index)] }

    /// Returns a name as text; bytes that are not UTF-8 become U+FFFD.
    func text(_ index: Int) -> String { String(decoding: self[index], as: UTF8.self) }

    /// Returns the positions of the names in the order of their bytes.
    ///
    /// - Parameters:
    ///   - group: names of a smaller group come first.
    ///   - skipped: the number of bytes at the front of a name that do not count.
    func order(by group: (Int) -> Int = { _ in 0 }, skipping skipped: (Int) -> Int = { _ in 0 }) -> [Int] {
        let groups = (0..<count).map(group)
        let first = (0..<count).map { starts[$0] + skipped($0) }
        return bytes.withUnsafeBufferPointer { bytes in
            guard let base = bytes.baseAddress else { return Array(0..<count) }
            return (0..<count).sorted { left, right in
                if groups[left] != groups[right] { return groups[left] < groups[right] }
                let leftCount = starts[left + 1] - first[left]
                let rightCount = starts[right + 1] - first[right]
                let order = memcmp(base + first[left], base + first[right], min(leftCount, rightCount))
                if order != 0 { return order < 0 }
                return (leftCount, left) < (rightCount, right)
            }
        }
    }

    /// Returns the names in order, and where each of them was before.
    func sorted() -> (names: [String], order: [Int]) {
        let order = order()
        return (order.map(text), order)
    }
}
