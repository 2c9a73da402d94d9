/// Computes a 64-bit FNV-1a hash (Fowler, Noll and Vo), which detects accidents but not attacks.
///
/// Equal input gives equal hashes on every machine, unlike Swift's `Hasher`.
public struct FNVHash: Sendable {
    /// The hash of everything added so far.
    public private(set) var value: UInt64

    /// - Parameter salt: changes the hash of equal input.
    public init(salt: UInt64 = 0) { value = 0xCBF2_9CE4_8422_2325 ^ salt }

    /// Adds one number, which may be larger than a byte.
    public mutating func add(_ word: UInt64) { value = (value ^ word) &* 0x0000_0100_0000_01B3 }

    /// Adds the UTF-8 bytes of a text.
    public mutating func add(_ text: String) {
        var text = text
        text.withUTF8 { for byte in $0 { add(UInt64(byte)) } }
    }

    /// Adds bytes in memory, faster than from any other sequence.
    public mutating func add(_ bytes: UnsafeRawBufferPointer) {
        var value = value
        for place in 0..<bytes.count { value = (value ^ UInt64(bytes[place])) &* 0x0000_0100_0000_01B3 }
        self.value = value
    }

    public mutating func add(_ bytes: some Sequence<UInt8>) { for byte in bytes { add(UInt64(byte)) } }
}
