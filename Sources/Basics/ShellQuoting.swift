/// Quotes a word of a shell's command line if it needs quoting.
public func shellQuoted(_ word: String) -> String {
    let plain = word.utf8.allSatisfy {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
            || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0)
            || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || "/._-+=:,@%".utf8.contains($0)
            || $0 >= 0x80
    }
    return plain && !word.isEmpty ? word : "'" + word.replacing("'", with: "'\\''") + "'"
}
