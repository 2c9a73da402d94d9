import Foundation
import TestSupport
import Testing

@testable import Compute

@Suite(.serialized) struct ProgramCacheTests {
    /// Compiles one file in a new process-wide state, and checks that what comes out works.
    private func compile(
        _ description: DeviceDescription, in folder: TemporaryFolder, variant: [String: Int] = [:]
    ) throws -> Bool {
        let device = try Device(description, cacheDirectory: folder.path)
        let key = try #require(
            KernelFamilies.optimizer.program(tuning: device.tuning, variant: variant))
        let program = try device.program(key)
        #expect(try device.program(key) === program)
        let buffer = try Buffer(device, [Float](repeating: 3, count: 256))
        try device.kernel("optimizer", "gradient_add", variant: variant).launch(
            [256], local: [256], buffer, buffer, UInt64(256))
        #expect(try buffer.read(256) == [Float](repeating: 6, count: 256))
        return program.isFromCache
    }

    @Test(arguments: presentDevices) func isStoredAndUsed(description: DeviceDescription) throws {
        let folder = try TemporaryFolder()
        #expect(try !compile(description, in: folder))
        #expect(try folder.names().count == 1 && folder.names().allSatisfy { $0.hasPrefix("optimizer-") })
        #expect(try compile(description, in: folder))
        #expect(try folder.names().count == 1)
        // Other constants are another program.
        #expect(try !compile(description, in: folder, variant: ["WIDTH": 3]))
        #expect(try folder.names().count == 2)
    }

    @Test(arguments: presentDevices) func aDamagedFileIsReplaced(description: DeviceDescription) throws {
        let folder = try TemporaryFolder()
        _ = try compile(description, in: folder)
        let path = try folder.file(folder.names()[0])
        let whole = try [UInt8](Data(contentsOf: URL(fileURLWithPath: path)))
        // One bit of the binary, which stands at the end.
        var flipped = whole
        flipped[flipped.count - 100] ^= 0x10
        var foreign = whole
        foreign[0] ^= 1
        for damaged in [[], Array(whole.prefix(100)), Array(whole.dropLast(200)), foreign, flipped] {
            try Data(damaged).write(to: URL(fileURLWithPath: path))
            #expect(try !compile(description, in: folder))
            #expect(try compile(description, in: folder))
        }
    }

    @Test(arguments: presentDevices) func compilesWithoutAFolder(description: DeviceDescription) throws {
        let folder = try TemporaryFolder()
        try FileManager.default.removeItem(atPath: folder.path)
        try Data().write(to: URL(fileURLWithPath: folder.path))
        #expect(try !compile(description, in: folder))
        #expect(try !compile(description, in: folder))
    }
}
