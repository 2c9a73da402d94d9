import Basics
import Foundation
import Testing

@Suite struct SystemFileTests {
    @Test func textOfAFile() {
        #expect(SystemFile.text("/proc/self/comm").hasSuffix("\n"))
        // Longer than what is read at once.
        #expect(SystemFile.text("/proc/self/maps").utf8.count > 1 << 14)
        #expect(SystemFile.text("/proc/none/comm").isEmpty)
    }

    /// `launch` reads such files for days.
    @Test func emptyFilesTakeNoMemory() {
        func pages() -> Int { Int(SystemFile.text("/proc/self/statm").split(separator: " ")[1]) ?? 0 }
        // The test's thread starts no process, so its list of them is empty.
        let path = "/proc/thread-self/children"
        for _ in 0..<100 { #expect(SystemFile.text(path).isEmpty) }
        let before = pages()
        for _ in 0..<5000 { _ = SystemFile.text(path) }
        // Foundation's reading takes a page each time.
        #expect(pages() - before < 2500)
    }
}
