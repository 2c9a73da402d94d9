import ArgumentParser
import Basics
import Benchmarks
import Compute
import Foundation
import NeuralNet
import Training

struct DevicesCommand: ParsableCommand, RunsOnRanks {
    static let configuration = CommandConfiguration(
        commandName: "devices", abstract: "List the OpenCL devices with their limits and measured speed.")

    @Flag(help: "List the device of each rank instead, under mpirun.") var ranks = false

    @Option(
        help: """
            Only devices that `train` would select by this value. Default: all; with --ranks, auto.
            """) var device: String?

    func validate() throws { _ = try device.map { try DeviceOptions.selector($0) } }

    func run() throws {
        if ranks { return try printRanks() }
        try Job.requireAlone("devices without --ranks")
        let all = try DeviceDescription.all()
        for description in try device.map({ try DeviceOptions.selector($0).meant(of: all) }) ?? all {
            DevicesCommand.print(description, DevicesCommand.facts(of: description))
            let speed = try Benchmark.peak(of: Device(description), runs: 3)
            Swift.print("  measured  \(speed.summary)")
        }
    }

    /// Prints a device's name with a table of facts.
    static func print(_ description: DeviceDescription, _ rows: [[String]]) {
        Swift.print("opencl:\(description.number)  \(description.kind.rawValue)  \(description.name)")
        var table = TextTable([.left])
        for row in rows { table.add(row) }
        for line in table.lines { Swift.print("  " + line) }
    }

    /// Returns what a device reports of itself: its platform, memory and limits.
    static func facts(of description: DeviceDescription) -> [[String]] {
        let sizes = [description.globalMemory, description.largestBuffer].map {
            fixed(Double($0) / Double(1 << 30), 2) + " GiB"
        }
        let localMemory = "\(description.localMemory >> 10) KiB"
        let platform = "\(description.platform), driver \(description.driver)"
        return [
            ["platform", "\(platform), vendor \(description.vendor)"],
            ["memory", "\(sizes[0]), largest buffer \(sizes[1]), local memory \(localMemory)"],
            [
                "limits",
                "\(description.computeUnits) compute units, work-groups up to "
                    + "\(description.largestWorkGroup), vectors of \(description.floatVectorWidth) floats, "
                    + "sub-buffers at multiples of \(description.baseAlignment) bytes",
            ],
        ]
    }

    private func printRanks() throws {
        let selector = try DeviceOptions.selector(device ?? "auto")
        let job = try Job.join()
        let ranks = job.map { Ranks($0) }
        let description = try selector.assign(DeviceDescription.all(), ranks: ranks?.place.count ?? 1)[
            ranks?.place.index ?? 0]
        let line =
            "rank \(job?.rank ?? 0)  \(ProcessInfo.processInfo.hostName)  opencl:\(description.number)  "
            + "\(description.kind.rawValue)  \(description.name), \(description.platform), "
            + "\(description.computeUnits) compute unit\(description.computeUnits == 1 ? "" : "s")"
        for other in try job?.gather(Array(line.utf8)) ?? [Array(line.utf8)] where job?.rank ?? 0 == 0 {
            Swift.print(String(decoding: other, as: UTF8.self))
        }
    }
}

extension DeviceSpeed {
    /// What `devices` and `bench layers` print of a device's peaks.
    var summary: String {
        "\(fixed(gflops, 0)) GFLOPS (multiply-adds on registers); \(fixed(reading, 1)) GB/s reading, "
            + "\(fixed(writing, 1)) GB/s writing, \(fixed(adding, 1)) GB/s adding two arrays"
    }
}
