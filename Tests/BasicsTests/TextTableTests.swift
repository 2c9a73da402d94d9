import Basics
import Testing

@Suite struct TextTableTests {
    @Test func columnsAreAligned() {
        var table = TextTable(header: ["name", "n"], [.left, .right])
        table.add(["a", "100", "1"])
        table.add(["longer"])
        #expect(table.lines == ["name      n", "a       100  1", "longer"])
    }

    /// Rows that are printed one by one have the header's columns, and a cell of any length.
    @Test func leastWidthsHoldForSingleRows() {
        let table = TextTable(header: ["name", "n"], [.left], leastWidths: [6, 3])
        #expect(table.text == "name    n")
        #expect(table.line(["a", "1", "ok"]) == "a       1    ok")
        #expect(table.line(["too long a name", "1"]) == "too long a name  1")
    }
}
