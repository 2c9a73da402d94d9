@testable import Basics
import Foundation
import Models
import TestSupport
import Testing

@Suite struct SafetensorsFileTests {
    let folder: TemporaryFolder
    let path: String

    init() throws {
        folder = try TemporaryFolder()
        path = folder.file("model.safetensors")
    }

    /// Writes a file with this header; `length` is the header's length that it claims.
    func put(_ header: String, data: [UInt8] = [], length: UInt64? = nil) throws {
        try put(Array(header.utf8), data: data, length: length)
    }

    func put(_ header: [UInt8], data: [UInt8] = [], length: UInt64? = nil) throws {
        let length = length ?? UInt64(header.count)
        let start = (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * $0)) }
        try folder.write(start + header + data, "model.safetensors")
    }

    private func failure<Result>(_ body: () throws -> Result) -> String {
        #expect(throws: FileError.self) { try body() }?.description ?? ""
    }

    @Test func writesAndReads() throws {
        let tensors: [String: [Float]] = [
            "b": [1, -2.5, .nan, .infinity, -0.0, .leastNonzeroMagnitude], "a": [7], "none": [], "é": [3, 4],
        ]
        let shapes = ["b": [2, 3], "a": [], "none": [4, 0, 9], "é": [2]]
        var order: [String] = []
        try SafetensorsFile.write(
            path, shapes: shapes, metadata: ["spec": "8,M", "classes": "[\"a\\\"\",\"é\"]"]
        ) {
            order.append($0)
            return tensors[$0] ?? []
        }
        #expect(order == ["a", "b", "none", "é"])
        let file = try SafetensorsFile.read(path)
        #expect(file.metadata == ["spec": "8,M", "classes": "[\"a\\\"\",\"é\"]"])
        #expect(file.tensors.mapValues(\.shape) == shapes)
        for (name, expected) in tensors {
            #expect(try file.floats(name).map(\.bitPattern) == expected.map(\.bitPattern))
        }
        #expect(try folder.names() == ["model.safetensors"])
    }

    /// Checks the whole file byte by byte, so that reader and writer cannot change together.
    @Test func bytesAreThoseOfTheFormat() throws {
        try SafetensorsFile.write(path, shapes: ["w": [1, 2], "b": [1]], metadata: ["z": "1", "a": "2"]) {
            $0 == "w" ? [1, -2] : [0.5]
        }
        let header =
            #"{"__metadata__":{"a":"2","z":"1"},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"#
            + #""w":{"dtype":"F32","shape":[1,2],"data_offsets":[4,12]}}"#
        let padding = [UInt8](repeating: 0x20, count: (8 - header.utf8.count % 8) % 8)
        #expect(padding.count > 0)
        let length = [UInt8(header.utf8.count + padding.count), 0, 0, 0, 0, 0, 0, 0]
        #expect(
            try folder.bytes("model.safetensors") == length + Array(header.utf8) + padding + [
                0, 0, 0, 0x3F, 0, 0, 0x80, 0x3F, 0, 0, 0, 0xC0,
            ])
    }

    @Test func readsOtherTypesAsFloat() throws {
        func file(_ type: String, _ data: [UInt8], size: Int) throws -> [Float] {
            let entry = Self.entry(type: type, "[\(data.count / size)]", "[0,\(data.count)]")
            try put(Self.header(entry), data: data)
            return try SafetensorsFile.read(path).floats("a")
        }
        // 1, −2, 65504, 2^-24, 2^-14, −infinity, 1/3
        let half: [UInt8] = [0, 0x3C, 0, 0xC0, 0xFF, 0x7B, 1, 0, 0, 4, 0, 0xFC, 0x55, 0x35]
        #expect(
            try file("F16", half, size: 2) == [1, -2, 65504, 0x1p-24, 0x1p-14, -.infinity, 0.333251953125])
        #expect(try file("F16", [0, 0x7E, 0, 0x80], size: 2)[0].isNaN)
        #expect(try file("F16", [0, 0x7E, 0, 0x80], size: 2)[1].bitPattern == 0x8000_0000)
        #expect(try file("BF16", [0x80, 0x3F, 0x49, 0xC0], size: 2) == [1, -3.140625])
        func bits(_ value: Double) -> [UInt8] {
            withUnsafeBytes(of: value.bitPattern.littleEndian) { Array($0) }
        }
        #expect(try file("F64", bits(0.1) + bits(-.infinity), size: 8) == [0.1, -.infinity])
        #expect(throws: FileError.self) { try file("F64", bits(1e300), size: 8) }
        // More than one piece of the conversion.
        let many = try file("BF16", (0..<600_001).flatMap { [0, UInt8($0 % 100)] }, size: 2)
        #expect(many.count == 600_001)
        #expect(many[600_000] == 0 && many[299_999] == Float(bitPattern: 99 << 24))
    }

    @Test func typesThatCannotBeReadAreNamed() throws {
        let header = Self.header(
            Self.entry(name: "i", type: "I64", "[1]", "[0,8]"),
            Self.entry(name: "n", type: "F4", "[3]", "[8,10]"), Self.entry(name: "f", "[1]", "[10,14]"))
        try put(header, data: [UInt8](repeating: 0, count: 14))
        let file = try SafetensorsFile.read(path)
        #expect(try file.floats("f").count == 1)
        for (name, type) in [("i", "I64"), ("n", "F4")] {
            #expect(failure { try file.floats(name) }.contains("tensor \(name) has the type \(type)"))
        }
        #expect(failure { try file.floats("x") }.contains("no tensor x"))
    }

    /// Returns a tensor's entry in a header.
    private static func entry(
        name: String = "a", type: String = "F32", _ shape: String, _ range: String
    ) -> String {
        #""\#(name)":{"dtype":"\#(type)","shape":\#(shape),"data_offsets":\#(range)}"#
    }

    private static func header(_ entries: String...) -> String { "{\(entries.joined(separator: ","))}" }

    /// The header, the number of data bytes, and what the error says.
    static let damaged: [(header: String, data: Int, message: String)] = [
        ("", 0, "does not begin with {"), ("[]", 0, "does not begin with {"),
        (" {}", 0, "does not begin with {"), ("{", 0, "not valid JSON"), ("{}}", 0, "not valid JSON"),
        ("{}", 1, "1 bytes follow the last tensor"), (#"{"a":1}"#, 0, "tensor a has other entries"),
        (#"{"a":{"dtype":"F32","shape":[]}}"#, 0, "tensor a has other entries"),
        (#"{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4],"x":1}}"#, 4, "tensor a has other entries"),
        (#"{"a":{"dtype":1,"shape":[],"data_offsets":[0,4]}}"#, 4, "dtype that is no string"),
        (header(entry("4", "[0,4]")), 4, "shape that is no list"),
        (header(entry("[-1]", "[0,4]")), 4, "shape that is no list"),
        (header(entry("[1.0]", "[0,4]")), 4, "shape that is no list"),
        (header(entry("[1]", "[0]")), 4, "data_offsets that are no range"),
        (header(entry("[1]", "[4,0]")), 4, "data_offsets that are no range"),
        (header(entry("[1]", "[-4,0]")), 4, "data_offsets that are no range"),
        (header(entry("[2]", "[0,8]")), 4, "ends at byte 8 of the data"),
        (header(entry("[2]", "[0,9223372036854775807]")), 4, "ends at byte 9223372036854775807"),
        (header(entry("[2]", "[0,4]")), 4, "expected 8 for the shape [2] of F32"),
        (header(entry(type: "F16", "[1]", "[0,4]")), 4, "expected 2 for the shape [1] of F16"),
        (header(entry("[4294967296,4294967296]", "[0,4]")), 4, "has the shape [4294967296, 4294967296]"),
        (
            header(entry(type: "F4", "[4294967296,4294967296]", "[0,4]")), 4,
            "has the shape [4294967296, 4294967296]"
        ),
        (header(entry("[4611686018427387905]", "[0,4]")), 4, "a shape that fits memory"),
        (header(entry("[1]", "[0,4]"), entry(name: "b", "[1]", "[0,4]")), 4, "overlaps the tensor before"),
        (
            header(entry("[2]", "[0,8]"), entry(name: "b", "[2]", "[4,12]")), 12,
            "tensor b overlaps the tensor before"
        ),
        (header(entry("[1]", "[0,4]"), entry(name: "b", "[1]", "[8,12]")), 12, "tensor b leaves a gap"),
        (header(entry("[1]", "[4,8]")), 8, "tensor a leaves a gap"),
        (header(entry("[1]", "[0,4]"), entry("[1]", "[4,8]")), 8, "the key \"a\" is repeated"),
        (#"{"__metadata__":[]}"#, 0, "__metadata__ is no object"),
        (#"{"__metadata__":{"a":1}}"#, 0, "a value at a that is no string"),
        (#"{"__metadata__":{"a":"1","a":"1"}}"#, 0, "the key \"a\" is repeated"),
    ]

    @Test(arguments: damaged) func damagedHeadersAreExplained(header: String, data: Int, message: String)
        throws
    {
        try put(header, data: [UInt8](repeating: 0, count: data))
        let description = failure { try SafetensorsFile.read(path) }
        #expect(description.hasPrefix(path + ": "))
        #expect(description.contains(message), "\(description)")
        #expect(description.hasSuffix("fetch or write it again."))
    }

    @Test func headersThatAreNotUTF8() throws {
        try put(Array("{\"".utf8) + [0xFF] + Array("\":{}}".utf8))
        #expect(failure { try SafetensorsFile.read(path) }.contains("not UTF-8"))
    }

    @Test(arguments: [
        (UInt64(3), "at most the 2 that follow"), (100_000_000, "at most the 2 that follow"),
        (100_000_001, "at most 100000000"), (UInt64.max, "claims 18446744073709551615 bytes"),
    ]) func headerLengthsPastTheEnd(length: UInt64, message: String) throws {
        try put("{}", length: length)
        #expect(failure { try SafetensorsFile.read(path) }.contains(message))
    }

    @Test func everyTruncationIsRefused() throws {
        try SafetensorsFile.write(path, shapes: ["a": [3], "b": []]) { $0 == "a" ? [1, 2, 3] : [4] }
        let whole = try folder.bytes("model.safetensors")
        for count in 0..<whole.count {
            try folder.write(Array(whole[..<count]), "model.safetensors")
            #expect(throws: FileError.self) { try SafetensorsFile.read(path) }
        }
    }

    @Test func aFileThatShrinksAfterOpeningIsAnError() throws {
        try SafetensorsFile.write(path, shapes: ["a": [3]]) { _ in [1, 2, 3] }
        let file = try SafetensorsFile.read(path)
        let handle = try #require(FileHandle(forWritingAtPath: path))
        try handle.truncate(atOffset: UInt64(folder.bytes("model.safetensors").count - 2))
        #expect(failure { try file.floats("a") }.contains("it ends at byte"))
    }

    @Test func noFileOrNoRegularOne() throws {
        #expect(failure { try SafetensorsFile.read(folder.file("x")) }.contains("No such file"))
        #expect(failure { try SafetensorsFile.read(folder.path) }.contains("not a regular file"))
        // A named pipe without a writer must not hang the reader.
        #expect(mkfifo(folder.file("pipe"), 0o600) == 0)
        #expect(throws: FileError.self) { try SafetensorsFile.read(folder.file("pipe")) }
    }

    @Test func mistakesInWritingTouchNothing() throws {
        try AtomicFile.write(path, [1])
        for shapes in [["a": [2]], ["__metadata__": [1]], ["a": [-1]], ["a": [1 << 40, 1 << 40]]] {
            #expect(throws: FileError.self) {
                try SafetensorsFile.write(path, shapes: shapes) { _ in [1] }
            }
        }
        #expect(throws: CancellationError.self) {
            try SafetensorsFile.write(path, shapes: ["a": [1], "b": [1]]) { name in
                if name == "b" { throw CancellationError() }
                return [1]
            }
        }
        #expect(try folder.bytes("model.safetensors") == [1])
        #expect(try folder.names() == ["model.safetensors"])
    }
}
