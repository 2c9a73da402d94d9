import Compute
import Foundation
import TestSupport
import Testing

@Suite(.serialized) struct BufferTests {
    @Test(arguments: deviceKinds) func holdsWhatWasWritten(description: DeviceDescription) throws {
        let device = try Device(description)
        let values = (0..<1001).map { Float($0) }
        let buffer = try Buffer(device, values)
        #expect(buffer.byteCount == 4004)
        #expect(try buffer.read(1001) == values)
        try buffer.write([Float(-1)])
        #expect(try buffer.read(3) == [Float(-1), 1, 2])
        var part = [Float](repeating: 0, count: 5)
        try part.withUnsafeMutableBytes { try buffer.read(into: $0, byteOffset: 400).wait() }
        #expect(part == [100, 101, 102, 103, 104])
        let copy = try Buffer(device, floatCount: 1002)
        try copy.clear()
        try copy.copy(from: buffer)
        #expect(try copy.read(1002) == [-1] + values.dropFirst() + [0])
        let none: [Float] = try Buffer(device, [Float]()).read(0)
        #expect(none.isEmpty)
    }

    /// Large buffers lie in memory of their own on CPUs: it is given back with the buffer, and not before
    /// commands that use it have run.
    @Test(arguments: deviceKinds) func largeBuffers(description: DeviceDescription) throws {
        let device = try Device(description)
        let count = (9 << 20) / 4 + 5
        var first: Buffer? = try Buffer(device, floatCount: count)
        let result = try Buffer(device, floatCount: count)
        try first?.fill(Float(3))
        let slice = try first?.slice(byteOffset: 8 << 20, byteCount: 4096)
        try result.copy(from: #require(first))
        first = nil
        let expected = [Float](repeating: 3, count: count)
        #expect(try result.read(count) == expected)
        #expect(try slice?.read(1024) == [Float](repeating: 3, count: 1024))
        // Freed memory is used again: many such buffers do not add up.
        let before = try residentBytes()
        for value in 0..<40 {
            let buffer = try Buffer(device, floatCount: count)
            try buffer.fill(Float(value))
            #expect(try buffer.read(1) == [Float(value)])
        }
        #expect(try residentBytes() < before + 20 * 4 * count)
    }

    private func residentBytes() throws -> Int {
        let text = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
        return try #require(text.split(separator: " ").dropFirst().first.flatMap { Int($0) }) * 4096
    }

    @Test(arguments: deviceKinds) func slicesShareTheirMemory(description: DeviceDescription) throws {
        let device = try Device(description)
        let step = max(128, device.description.baseAlignment)
        var whole: Buffer? = try Buffer(device, byteCount: 3 * step)
        try whole?.clear()
        var slice: Buffer? = try whole?.slice(byteOffset: step, byteCount: step)
        let middle = { try #require(slice) }
        try middle().write([UInt8](repeating: 7, count: step))
        let bytes: [UInt8] = try #require(try whole?.read(3 * step))
        #expect(
            bytes == [UInt8](repeating: 0, count: step) + [UInt8](repeating: 7, count: step)
                + [UInt8](repeating: 0, count: step))
        try middle().clear()
        #expect(try whole?.read(3 * step) == [UInt8](repeating: 0, count: 3 * step))
        // The slice keeps the whole alive, and is not counted again.
        #expect(device.allocatedBytes == 3 * step)
        whole = nil
        #expect(device.allocatedBytes == 3 * step)
        try middle().write([UInt8](repeating: 9, count: step))
        #expect(try middle().read(step) == [UInt8](repeating: 9, count: step))
        slice = nil
        #expect(device.allocatedBytes == 0)
    }

    @Test(arguments: deviceKinds) func sliceOutsideIsAnError(description: DeviceDescription) throws {
        let device = try Device(description)
        let buffer = try Buffer(device, byteCount: 4096)
        let said = message { _ = try buffer.slice(byteOffset: 2048, byteCount: 4096) }
        #expect(said.contains("2048..<6144") && said.contains("4096"))
    }

    @Test(arguments: deviceKinds) func memoryIsCounted(description: DeviceDescription) throws {
        let device = try Device(description)
        do {
            let first = try Buffer(device, byteCount: 1000)
            let second = try Buffer(device, floatCount: 10)
            #expect(device.allocatedBytes == first.byteCount + second.byteCount)
        }
        #expect(device.allocatedBytes == 0 && device.peakAllocatedBytes == 1040)
    }

    @Test(arguments: deviceKinds) func tooLargeABufferIsRefused(description: DeviceDescription) throws {
        let device = try Device(description)
        let size = description.largestBuffer + 1
        let error = #expect(throws: ComputeError.self) { try Buffer(device, byteCount: size) }
        #expect(error?.kind == .bufferTooLarge)
        let said = error?.description ?? ""
        #expect(
            said.contains("\(size) bytes") && said.contains(description.name)
                && said.contains("\(description.largestBuffer)"))
        // The advice is the command's, in the words of its options.
        #expect(!said.contains("--"))
        #expect(device.allocatedBytes == 0)
    }
}
