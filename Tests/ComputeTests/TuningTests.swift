import TestSupport
import Testing

@testable import Compute

@Suite struct TuningTests {
    @Test func everyConstantIsLegalAndBelongsToItsFamily() throws {
        for family in KernelFamilies.all {
            for constant in family.constants {
                #expect(constant.key.hasPrefix(family.name + "."))
                #expect(constant.candidates.allSatisfy(constant.legal.contains), "\(constant.key)")
                for device in DeviceTraits.all where [nil, device.body].contains(constant.body) {
                    #expect(constant.legal.contains(Tuning(for: device)[constant]), "\(constant.key)")
                }
            }
            for device in DeviceTraits.all { try family.check(Tuning(for: device)) }
        }
    }

    /// Saved runs hold these keys, so a constant is never renamed by accident.
    @Test func keysAreStable() {
        let values = Tuning(for: DeviceTraits(body: .cpu, floatVectorWidth: 8)).values
        #expect(values["gemm.depth-block"] == 512 && values["winograd.tile-group"] == 6)
        #expect(Tuning.text(["b": 2, "a": 1]) == "a=1, b=2")
        #expect(Tuning.text(["b": 2, "a": 1], unlike: ["a": 1, "b": 3]) == "b=2")
    }

    @Test func constantsBecomeMacros() throws {
        let device = DeviceTraits(body: .cpu, floatVectorWidth: 16)
        let tuning = Tuning(for: device)
        let program = try #require(
            KernelFamilies.winograd.program(
                tuning: tuning, variant: WinogradFamily.variant(outputTile: 2)))
        #expect(program.file == "cpu/winograd.cl")
        #expect(
            program.options
                == "-cl-std=CL1.2 -DBIAS_ITEMS=256 -DBLOCK_ROWS=16 -DITEMS_PER_PANEL=1 -DLANES=16 "
                + "-DMULTIPLY_BLOCKS=8 -DMULTIPLY_DEPTH=1048576 -DMULTIPLY_ROWS=8 -DOUTPUT_TILE=2 "
                + "-DPLANE_GAP=16 -DPREFETCH=0 -DTILE_GROUP=8 -DWEIGHTS_ROWS=16 -DWEIGHT_LINES=16")
        #expect(KernelFamilies.gemm.items.macro == nil)
    }

    /// A family's file is that of the device's body, or else the shared one; it may have none.
    @Test func bodiesAreChosenByDevice() {
        func file(_ family: any KernelFamily, _ body: KernelBody) -> String? {
            let device = DeviceTraits(body: body, floatVectorWidth: 8)
            return family.program(tuning: Tuning(for: device), variant: [:])?.file
        }
        #expect(file(KernelFamilies.gemm, .cpu) == "cpu/gemm.cl" && file(KernelFamilies.gemm, .gpu) == nil)
        #expect(file(KernelFamilies.product, .gpu) == "gpu/product.cl")
        for body in KernelBody.allCases {
            #expect(file(KernelFamilies.augment, body) == "shared/augment.cl")
            for family in KernelFamilies.all {
                #expect(file(family, .cpu) != nil || file(family, .gpu) != nil)
            }
        }
    }

    @Test(arguments: [
        ("gemm.rows", 0, ["gemm.rows", "0", "1 to 16"]), ("gemm.vector", 4, ["gemm.vector", "4", "8, 16"]),
        ("fully_connected.depth-block", 24, ["24", "multiples of 16"]),
        ("winograd.lanes", 4, ["winograd.lanes", "4", "8, 16"]),
        ("winograd.block-rows", 17, ["winograd.block-rows", "17", "winograd.multiply-rows"]),
        ("gemm.columns", 1, ["gemm.columns", "gemm.rows"]),
    ]) func illegalValuesAreRefused(key: String, value: Int, words: [String]) {
        var tuning = Tuning(for: DeviceTraits(body: .cpu, floatVectorWidth: 8))
        let before = tuning
        let said = message { try tuning.set(["gemm.items": 7, key: value]) }
        for word in words { #expect(said.contains(word), "\(said)") }
        #expect(tuning == before)
    }

    /// Results larger than the last-level cache bypass it; less than 4 MiB are one core's and do not count.
    @Test(arguments: [(0, 16 << 20), (512 << 10, 16 << 20), (4 << 20, 4 << 20), (36 << 20, 36 << 20)])
    func resultsThatDoNotFitTheCacheGoPastIt(cacheSize: Int, expected: Int) {
        let tuning = Tuning(for: DeviceTraits(body: .cpu, floatVectorWidth: 8, cacheSize: cacheSize))
        for key in ["gemm.streamed-bytes", "winograd.streamed-bytes"] {
            #expect(tuning.values[key] == expected && tuning.valuesThatChangeBits[key] == nil)
        }
    }

    @Test func constantsThatFitEachOtherChangeTogether() throws {
        var tuning = Tuning(for: DeviceTraits(body: .cpu, floatVectorWidth: 8))
        try tuning.set(["winograd.multiply-rows": 8, "winograd.tile-group": 8, "winograd.block-rows": 24])
        #expect(tuning[KernelFamilies.winograd.blockRows] == 24)
    }

    /// What saved runs hold, and what `trainer tune` may change.
    @Test func constantsThatKeepBitsAreRacedAndNotSaved() {
        for device in DeviceTraits.all {
            let tuning = Tuning(for: device)
            let raced = Set(tuning.racedConstants.map(\.key)), saved = Set(tuning.valuesThatChangeBits.keys)
            #expect(raced.isDisjoint(with: saved))
            if device.body == .cpu {
                #expect(raced == [] && saved.contains("gemm.rows") && !saved.contains("winograd.lanes"))
            } else {
                #expect(raced.union(saved) == Set(tuning.values.keys))
                #expect(raced.contains("product.item") && saved.contains("product.slot-groups"))
            }
        }
        // Of earlier kernels, and of none.
        #expect(!Tuning.changesBits("gemm.few-rows") && Tuning.changesBits("gemm.unknown"))
    }

    @Test(
        arguments: [
            ("NVIDIA Corporation", "NVIDIA CUDA", .nvidia),
            ("Advanced Micro Devices, Inc.", "AMD Accelerated", .amd),
            ("Intel(R) Corporation", "Intel(R) OpenCL Graphics", .intel), ("AMD", "rusticl", .amd),
            ("ARM", "ARM Platform", .other), ("Mesa", "Intel", .intel),
        ] as [(String, String, DeviceVendor)]) func vendors(
            name: String, platform: String, vendor: DeviceVendor
        )
    {
        #expect(DeviceDescription.vendor(name, platform: platform) == vendor)
    }

    /// A vendor's GPUs start with other values, which all fit each other; CPUs are of no vendor.
    @Test func valuesByVendor() {
        func values(_ vendor: DeviceVendor) -> [String: Int] {
            let device = DeviceTraits(body: .gpu, floatVectorWidth: 1, vendor: vendor)
            return Tuning(for: device).values.filter { $0.key.hasPrefix("product.") }
        }
        #expect(values(.nvidia) == values(.other))
        #expect(Tuning.text(values(.amd), unlike: values(.other)) == "product.depth-unroll=4")
        #expect(
            Tuning.text(values(.intel), unlike: values(.other))
                == "product.item=4, product.largest-operations=1000000000, product.largest-tile-m=64, "
                + "product.tile-k=16")
        for description in presentDevices where description.kind == .cpu {
            #expect(description.traits.vendor == .other)
        }
    }

    /// Only the tiles that the tuning allows are compiled.
    @Test func productsHaveTheTilesOfTheTuning() throws {
        var tuning = Tuning(for: DeviceTraits(body: .gpu, floatVectorWidth: 1))
        let product = KernelFamilies.product
        #expect(Set(product.variants(tuning).compactMap { $0["TILE_N"] }) == [64])
        try tuning.set(["product.largest-tile-n": 128])
        #expect(product.variants(tuning).count == product.variants.count)
        let said = message { try tuning.set(["product.item": 4]) }
        #expect(said.contains("product.item: 4 does not fit a tile of 128 × 128"), "\(said)")
        try tuning.set(product.changes(product.item, to: 4))
        #expect(tuning[product.largestTileN] == 64 && tuning[product.tileK] == 16)
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
