import Foundation
import TestSupport
import Testing

@testable import Compute

@Suite struct TuningStoreTests {
    private let folder: TemporaryFolder
    private let description: DeviceDescription
    private let values = ["product.item": 8, "product.depth-unroll": 16, "product.wanted-groups": 132]

    init() throws {
        folder = try TemporaryFolder()
        var description = try #require(presentDevices.first)
        description.kernels = .gpu
        self.description = description
    }

    private var store: TuningStore { TuningStore(description, directory: folder.path) }

    private func tuning(_ description: DeviceDescription) throws -> Tuning {
        try Device(description, cacheDirectory: folder.path).tuning
    }

    @Test func isUsedByEveryDeviceOpenedLater() throws {
        let initial = Tuning(for: description.traits)
        #expect(try tuning(description) == initial)
        try store.store(values)
        for _ in 0..<2 {
            let tuned = try tuning(description)
            #expect(tuned[KernelFamilies.product.depthUnroll] == 16)
            #expect(tuned[KernelFamilies.product.wantedGroups] == 132)
            #expect(tuned.values.filter { initial.values[$0.key] != $0.value }.count == 2)
        }
        try store.store(["product.depth-unroll": 4])
        #expect(store.load() == ["product.depth-unroll": 4])
        try store.remove()
        try store.remove()
        #expect(try tuning(description) == initial)
    }

    @Test func otherDriversSourcesAndBodiesDoNotSeeIt() throws {
        try store.store(values)
        var other = description
        other.driver += "1"
        #expect(try tuning(other) == Tuning(for: other.traits))
        var sources = Program.sources
        sources["gpu/product.cl"]? += " "
        #expect(TuningStore(description, directory: folder.path, sources: sources).load() == [:])
        #expect(TuningStore(description, directory: folder.path, sources: Program.sources).load() == values)
        other = description
        other.kernels = .cpu
        #expect(try tuning(other) == Tuning(for: other.traits))
    }

    /// Whatever is in the file, the device opens, with initial values.
    @Test(
        arguments: [
            { _ in "" }, { String($0.dropLast(20)) }, { _ in "[]" },
            { $0.replacing("\"driver\":\"", with: "\"driver\":\"x") },
            { $0.replacing("\"product.item\":8", with: "\"product.item\":5") },
            { $0.replacing("\"product.item\":8", with: "\"product.item\":4") },
            { $0.replacing("\"product.item\":8", with: "\"product.item\":\"8\"") },
            // It changes bits.
            { $0.replacing("\"product.item\":8", with: "\"product.slot-groups\":8") },
        ] as [@Sendable (String) -> String]) func damagedFilesAreIgnored(damage: @Sendable (String) -> String)
        throws
    {
        try store.store(values)
        let text = try String(contentsOfFile: store.path, encoding: .utf8)
        let damaged = damage(text)
        #expect(damaged != text)
        try damaged.write(toFile: store.path, atomically: true, encoding: .utf8)
        #expect(store.load() == [:])
        #expect(try tuning(description) == Tuning(for: description.traits))
    }

    @Test func allFilesAreRemovedAndNoOthers() throws {
        var other = description
        other.driver += "1"
        for description in [description, other] {
            try TuningStore(description, directory: folder.path).store(values)
        }
        try Data().write(to: URL(fileURLWithPath: folder.file("optimizer-0123")))
        #expect(try TuningStore.removeAll(in: folder.path) == 2)
        #expect(try TuningStore.removeAll(in: folder.path) == 0)
        #expect(try folder.names() == ["optimizer-0123"])
        #expect(try TuningStore.removeAll(in: folder.path + "/nowhere") == 0)
    }
}
