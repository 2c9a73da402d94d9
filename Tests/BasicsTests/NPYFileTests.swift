@testable import Basics
import Foundation
import TestSupport
import Testing

@testable import Models

@Suite struct NPYFileTests {
    private let folder: TemporaryFolder
    private let path: String

    init() throws {
        folder = try TemporaryFolder()
        path = folder.file("a.npy")
    }

    /// The header has the same bytes as that of `numpy.save`.
    @Test func header() {
        for (shape, tuple) in [([2, 3], "(2, 3)"), ([5], "(5,)"), ([1, 600, 10], "(1, 600, 10)")] {
            let text = "{'descr': '<f4', 'fortran_order': False, 'shape': \(tuple), }"
            let expected: [UInt8] =
                [0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59, 1, 0, 118, 0] + Array(text.utf8)
                + [UInt8](repeating: 0x20, count: 117 - text.count) + [0x0A]
            #expect(NPYFile.header(shape: shape) == expected)
            #expect(expected.count == 128)
        }
    }

    @Test func roundTrip() throws {
        try NPYFile.write(path, shape: [2, 3]) { append in
            try append([1])
            try append([2, 3, 4, 5])
            try append([6])
        }
        let array = try NPYFile(path)
        #expect(array.shape == [2, 3] && array.count == 6)
        #expect(try array.values(0..<6) == [1, 2, 3, 4, 5, 6])
        #expect(try array.values(2..<4) == [3, 4] && array.values(1..<1) == [])
        let bytes = try folder.bytes("a.npy")
        #expect(bytes.count == 128 + 24 && Array(bytes[128..<136]) == [0, 0, 0x80, 0x3F, 0, 0, 0, 0x40])
    }

    private func file(_ header: String, version: UInt8 = 1, _ data: [UInt8]) -> [UInt8] {
        let count = header.utf8.count
        let length =
            version == 1
            ? [UInt8(count & 255), UInt8(count >> 8)] : [UInt8(count & 255), UInt8(count >> 8), 0, 0]
        return [0x93] + Array("NUMPY".utf8) + [version, 0] + length + Array(header.utf8) + data
    }

    @Test func doublePrecisionAndVersion2() throws {
        let doubles = [0.5, -3.0].flatMap { value in
            withUnsafeBytes(of: value.bitPattern.littleEndian) { Array($0) }
        }
        try folder.write(
            file("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }\n", version: 2, doubles), "a.npy")
        let array = try NPYFile(path)
        #expect(try array.shape == [2] && array.values(0..<2) == [0.5, -3] && array.values(1..<2) == [-3])
    }

    @Test func whatIsNoSuchArray() throws {
        let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n"
        for (bytes, found) in [
            ([], "the file has 0 bytes"), (Array("{\"models\": 1}".utf8), "this is not a NumPy array"),
            (Array(file(good, [0, 0, 0, 0]).prefix(20)), "the header claims"),
            (file(good, [0, 0, 0, 0]), "4 bytes of elements"),
            (file(good.replacing("<f4", with: "<i8"), [0]), "elements of type '<f4'"),
            (file(good.replacing("False", with: "True"), [0]), "not row-major"),
            (file(good.replacing("(2,)", with: "(9000000000, 9000000000, 9)"), [0]), "one that fits memory"),
            (file(good.replacing("(2,)", with: "[2]"), [0]), "a header without shape"),
        ] as [([UInt8], String)] {
            try folder.write(bytes, "a.npy")
            let error = #expect(throws: FileError.self) { try NPYFile(path) }
            #expect(error?.description.contains(found) == true, "\(String(describing: error))")
        }
    }

    /// Writes more than the buffer holds, in pieces that do not divide it; an error leaves no file.
    @Test func manyPieces() throws {
        let count = 3 * 65_536 + 11
        func fill(_ append: FloatSink) throws {
            for first in stride(from: 0, to: count, by: 777) {
                try append((first..<min(count, first + 777)).map { Float($0) })
            }
        }
        try NPYFile.write(path, shape: [count], fill)
        let expected = (0..<count).map { Float($0) }
        #expect(try NPYFile(path).values(0..<count) == expected)
        let spooled = try SpooledFloats(fill)
        #expect(spooled.count == count && spooled.withValues(0..<count) { Array($0) } == expected)
        #expect(spooled.withValues(65_530..<65_540) { Array($0) } == Array(expected[65_530..<65_540]))
        #expect(try SpooledFloats { _ in }.count == 0)
        struct Stop: Error {}
        #expect(throws: Stop.self) {
            try NPYFile.write(folder.file("half.npy"), shape: [count]) { append in
                try append(expected)
                throw Stop()
            }
        }
        #expect(!folder.exists("half.npy"))
    }
}
