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

    /// Returns a file with this header and a number of data bytes (0, 1, 2, …).
    func put(_ header: [UInt8], data: Int, length: UInt64? = nil) throws {
        let length = length ?? UInt64(header.count)
        try write(
            (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * $0)) } + header
                + (0..<data).map { UInt8(truncatingIfNeeded: $0) }, path)
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
            try bytes(path) == length + Array(header.utf8) + padding + [
                0, 0, 0, 0x3F, 0, 0, 0x80, 0x3F, 0, 0, 0, 0xC0,
            ])
    }

    @Test func readsOtherTypesAsFloat() throws {
        func file(_ type: String, _ data: [UInt8], size: Int) throws -> [Float] {
            let shape = "[\(data.count / size)]"
            let header = Array(
                #"{"t":{"dtype":"\#(type)","shape":\#(shape),"data_offsets":[0,\#(data.count)]}}"#.utf8)
            try write([UInt8(header.count), 0, 0, 0, 0, 0, 0, 0] + header + data, path)
            return try SafetensorsFile.read(path).floats("t")
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

    @Test func typesThatCannotBeReadAreNamedWhenAskedFor() throws {
        try put(
            Array(
                #"{"i":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"n":{"dtype":"F4","shape":[3],"data_offsets":[8,10]},"f":{"dtype":"F32","shape":[1],"data_offsets":[10,14]}}"#
                    .utf8), data: 14)
        let file = try SafetensorsFile.read(path)
        #expect(try file.floats("f").count == 1)
        for (name, type) in [("i", "I64"), ("n", "F4")] {
            let error = #expect(throws: FileError.self) { try file.floats(name) }
            #expect(error?.description.contains("tensor \(name) has the type \(type)") == true)
        }
        let missing = #expect(throws: FileError.self) { try file.floats("x") }
        #expect(missing?.description.contains("no tensor x") == true)
    }

    static let damaged: [(header: String, data: Int, message: String)] = [
        ("", 0, "does not begin with {"), ("[]", 0, "does not begin with {"),
        (" {}", 0, "does not begin with {"), ("{", 0, "not valid JSON"), ("{}}", 0, "not valid JSON"),
        ("{}", 1, "1 bytes follow the last tensor"), (#"{"a":1}"#, 0, "tensor a has other entries"),
        (#"{"a":{"dtype":"F32","shape":[]}}"#, 0, "tensor a has other entries"),
        (#"{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4],"x":1}}"#, 4, "tensor a has other entries"),
        (#"{"a":{"dtype":1,"shape":[],"data_offsets":[0,4]}}"#, 4, "dtype that is no string"),
        (#"{"a":{"dtype":"F32","shape":4,"data_offsets":[0,4]}}"#, 4, "shape that is no list"),
        (#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, 4, "shape that is no list"),
        (#"{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}"#, 4, "shape that is no list"),
        (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}"#, 4, "data_offsets that are no range"),
        (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, 4, "data_offsets that are no range"),
        (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}"#, 4, "data_offsets that are no range"),
        (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 4, "ends at byte 8 of the data"),
        (
            #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,9223372036854775807]}}"#, 4,
            "ends at byte 9223372036854775807"
        ),
        (
            #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, 4,
            "expected 8 for the shape [2] of F32"
        ),
        (
            #"{"a":{"dtype":"F16","shape":[1],"data_offsets":[0,4]}}"#, 4,
            "expected 2 for the shape [1] of F16"
        ),
        (
            #"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#, 4,
            "has the shape [4294967296, 4294967296]"
        ),
        (
            #"{"a":{"dtype":"F4","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#, 4,
            "has the shape [4294967296, 4294967296]"
        ),
        (
            #"{"a":{"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]}}"#, 4,
            "a shape that fits memory"
        ),
        (
            #"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
            4, "overlaps the tensor before"
        ),
        (
            #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
            12, "tensor b overlaps the tensor before"
        ),
        (
            #"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}"#,
            12, "tensor b leaves a gap"
        ), (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, 8, "tensor a leaves a gap"),
        (
            #"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
            8, "the key \"a\" is repeated"
        ), (#"{"__metadata__":[]}"#, 0, "__metadata__ is no object"),
        (#"{"__metadata__":{"a":1}}"#, 0, "a value at a that is no string"),
        (#"{"__metadata__":{"a":"1","a":"1"}}"#, 0, "the key \"a\" is repeated"),
    ]

    @Test(arguments: damaged) func damagedHeadersAreExplained(header: String, data: Int, message: String)
        throws
    {
        try put(Array(header.utf8), data: data)
        let error = #expect(throws: FileError.self) { try SafetensorsFile.read(path) }
        let description = error?.description ?? ""
        #expect(description.hasPrefix(path + ": "))
        #expect(description.contains(message), "\(description)")
        #expect(description.hasSuffix("fetch or write it again."))
    }

    @Test func headersThatAreNotUTF8() throws {
        try put(Array("{\"".utf8) + [0xFF] + Array("\":{}}".utf8), data: 0)
        let error = #expect(throws: FileError.self) { try SafetensorsFile.read(path) }
        #expect(error?.description.contains("not UTF-8") == true)
    }

    @Test(arguments: [
        (UInt64(3), "at most the 2 that follow"), (100_000_000, "at most the 2 that follow"),
        (100_000_001, "at most 100000000"), (UInt64.max, "claims 18446744073709551615 bytes"),
    ]) func headerLengthsPastTheEnd(length: UInt64, message: String) throws {
        try put(Array("{}".utf8), data: 0, length: length)
        let error = #expect(throws: FileError.self) { try SafetensorsFile.read(path) }
        #expect(error?.description.contains(message) == true)
    }

    @Test func everyTruncationIsRefused() throws {
        try SafetensorsFile.write(path, shapes: ["a": [3], "b": []]) { $0 == "a" ? [1, 2, 3] : [4] }
        let whole = try bytes(path)
        for count in 0..<whole.count {
            try write(Array(whole[..<count]), path)
            #expect(throws: FileError.self) { try SafetensorsFile.read(path) }
        }
    }

    @Test func aFileThatShrinksAfterOpeningIsAnError() throws {
        try SafetensorsFile.write(path, shapes: ["a": [3]]) { _ in [1, 2, 3] }
        let file = try SafetensorsFile.read(path)
        let handle = try #require(FileHandle(forWritingAtPath: path))
        try handle.truncate(atOffset: UInt64(bytes(path).count - 2))
        let error = #expect(throws: FileError.self) { try file.floats("a") }
        #expect(error?.description.contains("it ends at byte") == true)
    }

    @Test func noFileOrNoRegularOne() throws {
        let missing = #expect(throws: FileError.self) { try SafetensorsFile.read(folder.file("x")) }
        #expect(missing?.description.contains("No such file") == true)
        let other = #expect(throws: FileError.self) { try SafetensorsFile.read(folder.path) }
        #expect(other?.description.contains("not a regular file") == true)
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
        #expect(try bytes(path) == [1])
        #expect(try folder.names() == ["model.safetensors"])
    }

    /// Each of thousands of damaged files is read or refused with an error; none ends the process.
    @Test func mutatedFilesNeverTrap() throws {
        try SafetensorsFile.write(
            path, shapes: ["a": [2, 3], "b": [], "c": [0]],
            metadata: ["spec": String(repeating: "8,M", count: 60), "é": "\n\u{1}"]
        ) { [Float](repeating: 1, count: $0 == "a" ? 6 : $0 == "b" ? 1 : 0) }
        let whole = try bytes(path)
        let half = Array(
            #"{"t":{"dtype":"F16","shape":[3],"data_offsets":[0,6]},"u":{"dtype":"F64","shape":[1],"data_offsets":[6,14]}}  "#
                .utf8)
        let seeds = [
            whole, [UInt8(half.count), 0, 0, 0, 0, 0, 0, 0] + half + [UInt8](repeating: 0x7B, count: 14),
        ]
        let splices = [
            "{", "}", "[", "]", "\"", ",", ":", "-", "0", "9223372036854775807", "18446744073709551616",
            "1e9", "\\ud800", "\\u0000", "null", "F64", "I8", "\"a\":", "[[[[[[[[", "{\"a\":{\"a\":",
            "\u{FFFD}", "4611686018427387904,4",
        ].map { Array($0.utf8) }
        var numbers = SeededNumbers(state: 1)
        var refused = 0
        var read = 0
        for round in 0..<4000 {
            var mutant = seeds[round % 2]
            for _ in 0..<[1, 1, 2, 4][round / 2 % 4] where !mutant.isEmpty {
                let place = Int.random(in: 0..<mutant.count, using: &numbers)
                switch Int.random(in: 0..<6, using: &numbers) {
                case 0: mutant[place] = UInt8.random(in: 0...255, using: &numbers)
                case 1: mutant[place] ^= 1 << UInt8.random(in: 0..<8, using: &numbers)
                case 2:
                    mutant.removeSubrange(
                        place..<min(mutant.count, place + Int.random(in: 1...20, using: &numbers)))
                case 3:
                    mutant.insert(
                        contentsOf: splices[Int.random(in: 0..<splices.count, using: &numbers)], at: place)
                case 4:
                    // In the place of as many bytes, so that lengths and offsets still fit.
                    let splice = splices[Int.random(in: 0..<splices.count, using: &numbers)]
                    mutant.replaceSubrange(place..<min(mutant.count, place + splice.count), with: splice)
                default: mutant.removeLast(Int.random(in: 0..<mutant.count, using: &numbers))
                }
            }
            // Every other mutant gets a right length again, else few would come past it.
            if round % 4 < 2, mutant.count >= 8, let brace = mutant.lastIndex(of: UInt8(ascii: "}")),
                brace >= 8
            {
                let end = mutant[brace...].dropFirst().firstIndex { $0 != 0x20 } ?? mutant.count
                mutant.replaceSubrange(
                    0..<8, with: (0..<8).map { UInt8(truncatingIfNeeded: (end - 8) >> (8 * $0)) })
            }
            try write(mutant, path)
            do {
                let file = try SafetensorsFile.read(path)
                for name in file.tensors.keys { _ = try file.floats(name) }
                read += 1
            } catch is FileError { refused += 1 }
        }
        #expect(read + refused == 4000)
        // Both ends must have been reached, or the mutations are too tame or too wild.
        #expect(read > 200)
        #expect(refused > 1000)
    }
}

/// Generates random numbers by SplitMix64, the same in every run.
private struct SeededNumbers: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
