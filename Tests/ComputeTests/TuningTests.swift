import TestSupport
import Testing

@testable import Compute

@Suite struct TuningTests {
    @Test func everyConstantIsLegalAndBelongsToItsFamily() throws {
        for family in KernelFamilies.all {
            for constant in family.constants {
                #expect(constant.key.hasPrefix(family.name + "."))
                #expect(constant.candidates.allSatisfy(constant.legal.contains), "\(constant.key)")
                for device in DeviceTraits.all {
                    #expect(constant.legal.contains(Tuning(for: device)[constant]), "\(constant.key)")
                }
            }
            for device in DeviceTraits.all { try family.check(Tuning(for: device)) }
        }
    }

    /// Saved runs hold these keys, so a constant is never renamed by accident.
    @Test func keysAreStable() {
        let values = Tuning(for: DeviceTraits(kind: .cpu, floatVectorWidth: 8)).values
        #expect(values["gemm.depth-block"] == 512 && values["winograd.tile-group"] == 6)
        #expect(Tuning.text(["b": 2, "a": 1]) == "a=1, b=2")
        #expect(Tuning.text(["b": 2, "a": 1], unlike: ["a": 1, "b": 3]) == "b=2")
    }

    @Test func constantsBecomeMacros() {
        let device = DeviceTraits(kind: .cpu, floatVectorWidth: 16)
        let program = KernelFamilies.winograd.program(
            for: device, tuning: Tuning(for: device), variant: ["OUTPUT_TILE": 2])
        #expect(program.file == "cpu/winograd.cl")
        #expect(
            program.options == "-cl-std=CL1.2 -DBLOCK_ROWS=16 -DMULTIPLY_BLOCKS=8 -DMULTIPLY_ROWS=8 "
                + "-DOUTPUT_TILE=2 -DTILE_GROUP=8 -DWEIGHTS_ROWS=16")
        #expect(KernelFamilies.gemm.items.macro == nil)
    }

    /// A family chooses the folder of its body by the device, and nothing else changes.
    @Test func bodiesAreChosenByDevice() {
        struct TwoBodies: KernelFamily {
            let name = "product"
            func body(for device: DeviceTraits) -> KernelBody { device.kind == .gpu ? .gpu : .cpu }
        }
        for (kind, file) in [(DeviceDescription.Kind.cpu, "cpu/product.cl"), (.gpu, "gpu/product.cl")] {
            let device = DeviceTraits(kind: kind, floatVectorWidth: 8)
            let program = TwoBodies().program(for: device, tuning: Tuning(for: device), variant: [:])
            #expect(program.file == file)
        }
    }

    @Test(arguments: [
        ("gemm.rows", 0, ["gemm.rows", "0", "1 to 16"]), ("gemm.vector", 4, ["gemm.vector", "4", "8, 16"]),
        ("fully_connected.depth-block", 24, ["24", "multiples of 16"]),
        ("winograd.block-rows", 17, ["winograd.block-rows", "17", "winograd.multiply-rows"]),
        ("gemm.columns", 1, ["gemm.columns", "gemm.rows"]),
    ]) func illegalValuesAreRefused(key: String, value: Int, words: [String]) {
        var tuning = Tuning(for: DeviceTraits(kind: .cpu, floatVectorWidth: 8))
        let before = tuning
        let said = message { try tuning.set(["gemm.items": 7, key: value]) }
        for word in words { #expect(said.contains(word), "\(said)") }
        #expect(tuning == before)
    }

    @Test func constantsThatFitEachOtherChangeTogether() throws {
        var tuning = Tuning(for: DeviceTraits(kind: .cpu, floatVectorWidth: 8))
        try tuning.set(["winograd.multiply-rows": 8, "winograd.tile-group": 8, "winograd.block-rows": 24])
        #expect(tuning[KernelFamilies.winograd.blockRows] == 24)
    }

    @Test(arguments: presentDevices) func kernelsFollowTheTuning(description: DeviceDescription) throws {
        let device = try Device(description)
        try device.tuning.set(["peak.sums": 3])
        let peak = KernelFamilies.peak
        let vector = device.tuning[peak.vector]
        let result = try Buffer(device, floatCount: vector)
        try device.kernel("peak", "multiply_add").launch([1], local: [1], result, 1, Float(1))
        // Three sums that begin with 0, 1 and 2 get 1 each.
        #expect(try result.read(vector) == [Float](repeating: 6, count: vector))
    }
}
