import Benchmarks
import Basics
import ArgumentParser
import Collectives
import Compute
import Foundation
import NeuralNet

struct BenchExchange: ParsableCommand, RunsOnRanks {
    static let configuration = CommandConfiguration(
        commandName: "exchange", abstract: "Under mpirun: time the exchange of gradients between ranks.",
        discussion: """
            Adds arrays over all ranks in every way in turn: by the butterfly over each transport, and by MPI's own MPI_Allreduce and
            MPI_Iallreduce; checks the bits of 10 000 places each time. With --stand-in-device the host is left idle for a step's time, as beside a
            GPU, and what is timed is the share of the exchange that hides behind it.
            """)

    @Option(help: "Bytes of an array, such as 64K,1M,16M (1M = 2²⁰); several behind commas.") var sizes =
        "64K,1M,16M,64M"

    @Option(help: "Timed rounds or steps; the median counts.") var steps = 9

    @Option(help: "Neighbouring ranks to take for a node.") var nodeSize: Int?

    @Option(
        help:
            "Seconds of a step of a device that leaves the host idle; measures what share of --model's exchange hides behind it."
    ) var standInDevice: Double?

    @Option(help: "With --stand-in-device: the network whose gradients are exchanged.") var model = "scaling"

    @Option(help: "With --stand-in-device: side of the network's input in pixels.") var imageSize = 224

    @OptionGroup var output: JSONOptions

    func validate() throws {
        guard steps >= 1 else { throw ValidationError("--steps \(steps): expected 1 or more") }
        if let standInDevice, !(0.001...60).contains(standInDevice) {
            throw ValidationError("--stand-in-device \(standInDevice): expected 0.001 to 60 seconds")
        }
    }

    private func byteCounts() throws -> [Int] {
        guard sizes.contains(where: { $0 != "," }) else {
            throw ValidationError("--sizes \(sizes): expected amounts such as 64K,16M")
        }
        return try sizes.split(separator: ",").map {
            guard let size = MemorySize(parsing: String($0)), (4...(1 << 32)).contains(size.bytes) else {
                throw ValidationError(
                    "--sizes \($0): expected an amount from 4 bytes to 4G, such as 64K or 16M")
            }
            return size.bytes
        }
    }

    func run() throws {
        let byteCounts = try byteCounts()
        let architecture = try Architecture(parsing: model)
        guard let job = try Job.join(peerTimeout: 30) else {
            throw ValidationError("an exchange needs two ranks or more: mpirun -n 2 trainer bench exchange")
        }
        let benchmark = ExchangeBenchmark(job, nodeSize: nodeSize)
        if let standInDevice {
            let layout = try NetworkPlan(
                architecture, imageSize: imageSize, classes: 1000,
                options: Network.Options(maximumBatch: 1, training: true),
                device: DeviceSelector.auto.assign(DeviceDescription.all(), ranks: 1)[0])
            try show(try benchmark.standIn(layout, seconds: standInDevice, steps: steps), on: job)
        } else {
            try show(try byteCounts.map { try benchmark.ways(floatCount: $0 / 4, rounds: steps) }, on: job)
        }
    }

    private func show(_ sizes: [[ExchangeBenchmark.Way]], on job: MPICommunicator) throws {
        guard job.rank == 0 else { return }
        var rows: [JSON] = []
        for ways in sizes {
            let reference = ways.first { $0.name == "MPI_Allreduce" }.map { median($0.seconds) } ?? 0
            for way in ways {
                let seconds = median(way.seconds)
                print(
                    String(format: "%10@  ", MemorySize.text(way.byteCount) as NSString)
                        + way.name.padding(toLength: 22, withPad: " ", startingAt: 0)
                        + String(
                            format: "%10.3f ms %8.2f GB/s  %5.2f of MPI_Allreduce's rate", seconds * 1e3,
                            Double(way.byteCount) * 1e-9 / seconds, reference / seconds)
                        + (way.differing == 0
                            ? "" : "  other bits than the micro-batches' tree \(way.differing) times"))
                rows.append(
                    .object([
                        .init("way", .string(way.name)), .init("bytes", .integer(way.byteCount)),
                        .init("seconds", .number(seconds)), .init("differing", .integer(way.differing)),
                    ]))
            }
        }
        try output.write(.object([.init("ranks", .integer(job.size)), .init("ways", .array(rows))]))
    }

    private func show(_ results: [ExchangeBenchmark.StandIn], on job: MPICommunicator) throws {
        guard job.rank == 0 else { return }
        for result in results {
            print(
                result.policy.padding(toLength: 12, withPad: " ", startingAt: 0)
                    + String(
                        format:
                            " step %.1f ms: compute alone %.1f ms, exchange alone %.1f ms, %.0f %% of it hidden",
                        result.step * 1e3, result.compute * 1e3, result.exchange * 1e3, result.hidden * 100))
        }
        try output.write(
            .object([
                .init("ranks", .integer(job.size)),
                .init(
                    "policies",
                    .array(
                        results.map {
                            .object([
                                .init("policy", .string($0.policy)), .init("compute", .number($0.compute)),
                                .init("exchange", .number($0.exchange)), .init("step", .number($0.step)),
                                .init("hidden", .number($0.hidden)),
                            ])
                        })),
            ]))
    }

    private func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }
}
