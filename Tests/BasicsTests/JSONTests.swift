@testable import Basics
import Testing

@Suite struct JSONTests {
    @Test func readsEveryKindOfValue() throws {
        let text =
            #" { "a" : [ 1 , -2.5e1, true,false , null ] , "b":{}, "#
            + #""c":"x\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é" , "d":[] } "#
        let expected: JSON = [
            "a": [1, -25.0, true, false, JSON.null] as JSON, "b": [:] as JSON,
            "c": "x\"\\/\u{8}\u{c}\n\r\té😀é", "d": [] as JSON,
        ]
        #expect(try JSON.parse(text) == expected)
        #expect(try JSON.parse(expected.text) == expected)
    }

    @Test(arguments: [
        "", " ", "{", "[", "[1", "[1,", "[1,]", "[,]", "{\"a\"", "{\"a\":", "{\"a\":1,", "{\"a\":1,}",
        "{a:1}", "{\"a\" 1}", "\"a", "\"\\", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\ud800\"",
        "\"\\ud800\\u0041\"", "\"\\udc00\"", "\"a\nb\"", "01", "-", "+1", "1.", ".5", "1e", "1e999", "tru",
        "nul", "NaN", "1 2", "{\"a\":1,\"a\":2}", "'a'", "[1]]", "// a", "\u{FEFF}1",
    ]) func refuses(text: String) { #expect(throws: JSONError.self) { try JSON.parse(text) } }

    @Test func refusesWhatIsNotUTF8() {
        #expect(throws: JSONError.self) { try JSON.parse([0x22, 0xFF, 0x22]) }
        #expect(throws: JSONError.self) { try JSON.parse([0x22, 0xC3, 0x22]) }
        #expect(throws: JSONError.self) { try JSON.parse([0xC3]) }
    }

    @Test func namesTheRepeatedKeyAndItsPlace() {
        let error = #expect(throws: JSONError.self) { try JSON.parse(#"{"a":1,"a":2}"#) }
        #expect(error?.description == "byte 7: the key \"a\" is repeated")
    }

    @Test func deepNestingIsAnErrorAndNoCrash() throws {
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        _ = try JSON.parse(nested(64))
        #expect(throws: JSONError.self) { try JSON.parse(nested(65)) }
        #expect(throws: JSONError.self) { try JSON.parse(String(repeating: "{\"a\":", count: 1_000_000)) }
    }

    @Test func integersStayExact() throws {
        #expect(try JSON.parse("9223372036854775807") == .integer(.max))
        #expect(try JSON.parse("-9223372036854775808") == .integer(.min))
        #expect(try JSON.parse("9223372036854775808") == .number(9223372036854775808))
        #expect(try JSON.parse("1.0") == .number(1.0))
    }

    @Test func writesTheShortestNumbersThatReadBack() {
        #expect(JSON.float(0.1).text == "0.1")
        #expect(JSON.number(0.1 + 0.2).text == "0.30000000000000004")
        #expect(JSON.number(1e-7).text == "1e-07")
        #expect(JSON.number(2.0).text == "2.0")
        #expect(JSON.number(Double.nan).text == "null")
        #expect(JSON.float(-.infinity).text == "null")
        for value: Float in [0.1, 1 / 3, .leastNonzeroMagnitude, .greatestFiniteMagnitude, 16_777_215, -0.0] {
            #expect(Float(JSON.float(value).text)?.bitPattern == value.bitPattern)
        }
    }

    @Test func keepsTheOrderOfKeysAndEscapes() {
        let value: JSON = ["z": 1, "a\"\\\n\u{1}": "é/\u{7f}"]
        #expect(value.text == #"{"z":1,"a\"\\\n\u0001":"é/\u007f"}"#)
        #expect(value["z"] == .integer(1))
        #expect(value["y"] == nil)
        #expect(JSON.null["z"] == nil)
    }

    @Test func literals() {
        let missing: Double? = nil
        let value: JSON = ["b": [1, 2], "a": missing, "c": Float(0.1), "d": ["e": [0.5]] as JSON]
        #expect(value.text == #"{"b":[1,2],"a":null,"c":0.1,"d":{"e":[0.5]}}"#)
        #expect((value + ["f": true]).text.hasSuffix(#","f":true}"#))
    }
}
