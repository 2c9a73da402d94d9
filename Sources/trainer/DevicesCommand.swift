import Benchmarks
import ArgumentParser
import Compute
import Foundation
import Training

struct DevicesCommand: ParsableCommand, RunsOnRanks {
    static let configuration = CommandConfiguration(
        commandName: "devices", abstract: "List the OpenCL devices, with their limits and measured speed.")

    @Flag(help: "Under mpirun: which device each rank would compute on.") var ranks = false

    @Option(
        help:
            "Only what this means to `trainer train`: \(DeviceSelector.expected). Default: every device; with --ranks, auto."
    ) var device: String?

    func validate() throws { _ = try device.map { try DeviceOptions.selector($0) } }

    func run() throws {
        if ranks { return try printRanks() }
        try Job.requireAlone("devices without --ranks")
        let all = try DeviceDescription.all()
        for description in try device.map({ try DeviceOptions.selector($0).meant(of: all) }) ?? all {
            print("opencl:\(description.number)  \(description.kind.rawValue)  \(description.name)")
            print(
                "  platform  \(description.platform), driver \(description.driver), vendor \(description.vendor)"
            )
            print(
                String(
                    format: "  memory    %.2f GiB, largest buffer %.2f GiB, local memory %d KiB",
                    gibibytes(description.globalMemory), gibibytes(description.largestBuffer),
                    description.localMemory >> 10))
            print(
                "  limits    \(description.computeUnits) compute units, work-groups up to \(description.largestWorkGroup), "
                    + "\(description.floatVectorWidth) floats a vector, sub-buffers at multiples of \(description.baseAlignment) bytes"
            )
            let device = try Device(description)
            let product = try Benchmark.product(size: 1024, runs: 5, device: device)
            // Four times what a large last-level cache holds, within what the device can give.
            let bandwidth = try Benchmark.bandwidth(
                floatCount: min(32 << 20, description.largestBuffer / 8), runs: 5, device: device)
            print(
                String(
                    format: "  measured  %.0f GFLOPS (product of 1024³), %.1f GB/s (add two arrays)",
                    product.gflops, bandwidth))
        }
    }

    private func printRanks() throws {
        let selector = try DeviceOptions.selector(device ?? "auto")
        let job = try Job.join(peerTimeout: 30)
        let ranks = job.map { Ranks($0) }
        let description = try selector.assign(DeviceDescription.all(), ranks: ranks?.place.count ?? 1)[
            ranks?.place.index ?? 0]
        let line =
            "rank \(job?.rank ?? 0)  \(ProcessInfo.processInfo.hostName)  opencl:\(description.number)  \(description.kind.rawValue)  "
            + "\(description.name), \(description.platform), \(description.computeUnits) compute unit\(description.computeUnits == 1 ? "" : "s")"
        for other in try job?.gather(Array(line.utf8)) ?? [Array(line.utf8)] where job?.rank ?? 0 == 0 {
            print(String(decoding: other, as: UTF8.self))
        }
    }

    private func gibibytes(_ bytes: Int) -> Double { Double(bytes) / Double(1 << 30) }
}
