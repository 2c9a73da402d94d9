/// A hash of a path that is the same on every machine and in every version: FNV-1a over its UTF-8 bytes, then
/// the 64-bit finaliser of MurmurHash3, because FNV alone mixes the last bytes badly and file names differ in
/// just those.
func pathHash(_ path: String, salt: UInt64 = 0) -> UInt64 {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325 ^ salt
    for byte in path.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
    hash = (hash ^ hash >> 33) &* 0xFF51_AFD7_ED55_8CCD
    hash = (hash ^ hash >> 33) &* 0xC4CE_B9FE_1A85_EC53
    return hash ^ hash >> 33
}
