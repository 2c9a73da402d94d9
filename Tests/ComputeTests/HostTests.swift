import Foundation
import TestSupport
import Testing

@testable import Compute

/// What the host does beside launching: it waits, flushes and keeps memory for copies.
@Suite(.serialized) struct HostTests {
    /// Queues some tenths of a second of work.
    private func queueWork(on device: Device) throws -> Buffer {
        let add = try device.kernel("optimizer", "gradient_add")
        let count = 1 << 22
        let (sum, addend) = (
            try Buffer(device, [Float](repeating: 1, count: count)),
            try Buffer(device, [Float](repeating: 1, count: count))
        )
        let range = KernelFamilies.optimizer.values(count, tuning: device.tuning)
        for _ in 0..<200 { try add.launch(range, sum, addend, UInt64(count)) }
        return sum
    }

    /// The thread's share of the time in which it waits.
    private func load(_ wait: () throws -> Void) throws -> Double {
        func seconds(_ clock: clockid_t) -> Double {
            var now = timespec()
            clock_gettime(clock, &now)
            return Double(now.tv_sec) + Double(now.tv_nsec) * 1e-9
        }
        let (busy, wall) = (seconds(CLOCK_THREAD_CPUTIME_ID), seconds(CLOCK_MONOTONIC))
        try wait()
        return (seconds(CLOCK_THREAD_CPUTIME_ID) - busy) / (seconds(CLOCK_MONOTONIC) - wall)
    }

    /// A wait that asked all the time would have a load near 1, or near a half beside another busy thread.
    ///
    /// A CPU's runtime waits by itself; Intel's lets the waiting thread work.
    @Test(arguments: deviceKinds.filter { $0.kind != .cpu }) func waitsSleep(description: DeviceDescription)
        throws
    {
        let device = try Device(description)
        let sum = try queueWork(on: device)
        #expect(try load { try device.finish() } < 0.2)
        #expect(try sum.read(1) == [Float(201)])
        let again = try queueWork(on: device)
        var value: Float = 0
        try withUnsafeMutableBytes(of: &value) { bytes in
            let event = try again.read(into: bytes, byteOffset: 0)
            #expect(try load { try event.wait() } < 0.2)
            #expect(event.isComplete)
        }
        #expect(value == 201)
    }

    @Test(arguments: deviceKinds) func hostMemoryIsCopied(description: DeviceDescription) throws {
        let device = try Device(description)
        for byteCount in [0, 1, 5000, 1 << 20] {
            let memory = device.hostMemory.allocate(byteCount: byteCount)
            #expect(memory.bytes.count == max(1, byteCount))
            let buffer = try Buffer(device, byteCount: memory.bytes.count)
            for index in memory.bytes.indices { memory.bytes[index] = UInt8(truncatingIfNeeded: index * 7) }
            try buffer.write(UnsafeRawBufferPointer(memory.bytes)).wait()
            for index in memory.bytes.indices { memory.bytes[index] = 0 }
            try buffer.read(into: memory.bytes, byteOffset: 0).wait()
            #expect(memory.bytes.enumerated().allSatisfy { $1 == UInt8(truncatingIfNeeded: $0 * 7) })
        }
        // It is the host's memory, and outlives the device.
        #expect(device.peakAllocatedBytes <= 1 << 20)
        var another: Device? = try Device(description)
        let memory = try #require(another?.hostMemory.allocate(byteCount: 100))
        another = nil
        memory.bytes[99] = 3
        #expect(memory.bytes[99] == 3)
    }

    /// A GPU's memory is written when it is allocated.
    @Test(arguments: deviceKinds.filter { $0.kind != .cpu }) func buffersAreTouched(
        description: DeviceDescription
    ) throws {
        let device = try Device(description)
        // What is freed here is likely to be what the next buffer gets.
        for byteCount in [4000, 2 << 20] {
            try Buffer(device, [UInt8](repeating: 5, count: byteCount)).write([UInt8(5)])
            #expect(try Buffer(device, byteCount: byteCount).read(byteCount).allSatisfy { $0 == UInt8(0) })
        }
    }

    @Test(arguments: presentDevices) func slicesFollowTheDevicesAlignment(description: DeviceDescription)
        throws
    {
        let coarse = description.limited(toLargestBuffer: .max, baseAlignment: 4096)
        let buffer = try Buffer(try Device(coarse), byteCount: 3 * 4096)
        let said = message { _ = try buffer.slice(byteOffset: 2048, byteCount: 64) }
        #expect(said.contains("2048") && said.contains("multiples of 4096"), "\(said)")
        _ = try buffer.slice(byteOffset: 8192, byteCount: 64)
        let other = description.limited(toLargestBuffer: .max, baseAlignment: 8192)
        let refused = message { _ = try Device(other) }
        #expect(refused.contains("8192") && refused.contains(description.name), "\(refused)")
    }

    /// A GPU with small work-groups is refused by name, and may run the other bodies.
    @Test(arguments: presentDevices) func smallWorkGroupsAreRefused(description: DeviceDescription) throws {
        var small = description
        small.largestWorkGroup = 128
        small.kernels = .gpu
        let said = message { _ = try Device(small) }
        #expect(said.contains(description.name) && said.contains("up to 128"), "\(said)")
        small.kernels = .cpu
        _ = try Device(small)
    }

    @Test(arguments: KernelChoice.allCases) func kernelsAreChosen(_ choice: KernelChoice) throws {
        let device = try Device.open(.auto, kernels: choice)
        let own: KernelBody = device.description.kind == .cpu ? .cpu : .gpu
        #expect(device.tuning.device.body == choice.body ?? own)
    }

    /// A launch in parts counts its work-items over all parts.
    @Test(arguments: deviceKinds, [1, 2, 3, 7, 100]) func launchesInParts(
        description: DeviceDescription, parts: Int
    ) throws {
        let device = try Device(description, profiling: true)
        let add = try device.kernel("optimizer", "gradient_add")
        let count = 11_200
        let sum = try Buffer(device, (0..<count + 9).map { Float($0) })
        let addend = try Buffer(device, (0..<count + 9).map { 2 * Float($0) })
        let items = KernelFamilies.optimizer.values(count, tuning: device.tuning).count
        try add.launch(LaunchRange([items], local: [256], launches: parts), sum, addend, UInt64(count))
        #expect(try sum.read(count + 9) == (0..<count + 9).map { Float($0 < count ? 3 * $0 : $0) })
        let groups = (items + 255) / 256
        let groupsOfPart = (groups + parts - 1) / parts
        let launches = (groups + groupsOfPart - 1) / groupsOfPart
        #expect(try device.profile?.collect().map(\.launches) == [launches])
    }
}
