@testable import Basics
import Compute
import TestSupport
import Testing

@Suite(.serialized) struct KernelTests {
    @Test(arguments: deviceKinds) func runsOverARoundedUpRange(description: DeviceDescription) throws {
        let device = try Device(description)
        let add = try device.kernel("optimizer", "gradient_add")
        let sum = try Buffer(device, [Float](repeating: 1, count: 2200))
        let addend = try Buffer(device, (0..<2200).map { Float($0) })
        // The range has at least two work-groups, and the last one is not full.
        let range = KernelFamilies.optimizer.values(2100, tuning: device.tuning)
        #expect(range.count > 256 && range.count % 256 != 0)
        try add.launch(range, sum, addend, UInt64(2100))
        #expect(try sum.read(2200) == (0..<2200).map { $0 < 2100 ? Float($0) + 1 : 1 })
        try add.launch([0], local: [256], sum, addend, UInt64(0))
        try device.finish()
    }

    @Test(arguments: deviceKinds) func errorsNameTheKernel(description: DeviceDescription) throws {
        let device = try Device(description)
        let add = try device.kernel("optimizer", "gradient_add")
        let buffer = try Buffer(device, [Float](repeating: 0, count: 16))
        let few = message { try add.launch([16], local: [16], buffer, buffer) }
        #expect(few.contains("gradient_add") && few.contains("2 arguments") && few.contains("3"))
        let many = message { try add.launch([16], local: [16], buffer, buffer, UInt64(16), 1) }
        #expect(many.contains("gradient_add") && many.contains("4 arguments"))
        let range = message { try add.launch([16, 16], local: [16], buffer, buffer, UInt64(16)) }
        #expect(range.contains("gradient_add") && range.contains("[16, 16]") && range.contains("[16]"))
        let zero = message { try add.launch([16], local: [0], buffer, buffer, UInt64(16)) }
        #expect(zero.contains("gradient_add"))
        let group = description.largestWorkGroup * 2
        let large = message { try add.launch([group], local: [group], buffer, buffer, UInt64(16)) }
        #expect(
            large.contains("gradient_add") && large.contains("\(group)") && large.contains("CL_INVALID_WORK"))
    }

    @Test(arguments: deviceKinds) func tooLargeANumberIsAnError(description: DeviceDescription) throws {
        let device = try Device(description)
        let reduce = try device.kernel("convolution", "reduce_slots")
        let buffer = try Buffer(device, [Float](repeating: 0, count: 16))
        // The kernel's `int` cannot hold 2^31.
        let said = message { try reduce.launch([1], local: [1], buffer, buffer, 1 << 31, 16, 1) }
        #expect(said.contains("reduce_slots") && said.contains("argument 2"))
        // Eight bytes where the kernel has four.
        let wide = message { try reduce.launch([1], local: [1], buffer, buffer, UInt64(1), 16, 1) }
        #expect(wide.contains("reduce_slots") && wide.contains("argument 2"))
    }

    @Test(arguments: deviceKinds) func unknownNamesAreErrors(description: DeviceDescription) throws {
        let device = try Device(description)
        let file = message { _ = try device.kernel("nothing", "gemm") }
        #expect(file.contains("nothing") && file.contains("gemm, optimizer"))
        let function = message { _ = try device.kernel("optimizer", "nothing") }
        #expect(function.contains("nothing") && function.contains("optimizer"))
    }

    @Test(arguments: deviceKinds) func aKernelKeepsItsDevice(description: DeviceDescription) throws {
        var device: Device? = try Device(description)
        let add = try #require(try device?.kernel("optimizer", "gradient_add"))
        let buffer = try Buffer(try #require(device), [Float](repeating: 2, count: 256))
        device = nil
        try add.launch([256], local: [256], buffer, buffer, UInt64(256))
        #expect(try buffer.read(1) == [Float(4)])
    }

    @Test(arguments: deviceKinds) func launchesAreTimedByLabel(description: DeviceDescription) throws {
        let device = try Device(description, profiling: true)
        let profile = try #require(device.profile)
        let add = try device.kernel("optimizer", "gradient_add")
        let buffer = try Buffer(device, [Float](repeating: 0, count: 4096))
        for label in ["first", "second", "first"] {
            profile.label = label
            try add.launch([4096], local: [256], buffer, buffer, UInt64(4096))
        }
        let entries = try profile.collect()
        #expect(entries.map(\.label) == ["first", "second"] && entries.map(\.launches) == [2, 1])
        #expect(entries.allSatisfy { $0.kernel == "gradient_add" && $0.seconds > 0 && $0.seconds < 10 })
        #expect(try profile.collect().isEmpty)
    }
}
