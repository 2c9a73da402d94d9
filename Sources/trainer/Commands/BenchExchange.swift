import ArgumentParser
import Basics
import Benchmarks
import Collectives
import Compute
import NeuralNet

struct BenchExchange: ParsableCommand, RunsOnRanks {
    static let configuration = CommandConfiguration(
        commandName: "exchange", abstract: "Time the all-reduce of gradients between ranks, under mpirun.",
        discussion: """
            Adds arrays over all ranks with the butterfly over each transport, with MPI_Allreduce and \
            with MPI_Iallreduce, in alternation, and checks about 10 000 sums of each bit by bit. \
            --stand-in-device measures how much of the exchange a device's computation hides.
            """)

    @Option(help: "Bytes of the arrays, separated by commas (1M = 2²⁰).")
    var sizes = "64K,1M,16M,64M"

    @Option(help: OptionHelp.steps) var steps = 9

    @Option(help: OptionHelp.nodeSize) var nodeSize: Int?

    @Option(
        help: """
            Seconds of a step on an idle stand-in: shows how much of the exchange of --model it hides.
            """) var standInDevice: Double?

    @Option(help: "With --stand-in-device: the network whose gradients are exchanged.") var model = "scaling"
    @Option(help: "With --stand-in-device: side of the network's input in pixels.") var imageSize = 224
    @Option(help: "With --stand-in-device: images per mini-batch, whose activations hybrid ranks exchange.")
    var batch = 64
    @Option(help: OptionHelp.classes) var classes = 1000
    @OptionGroup var output: JSONOptions

    func validate() throws {
        _ = try byteCounts()
        try require("--steps", steps, in: 1...1_000_000, "rounds")
        try NetworkOptions.validate(imageSize: imageSize, batch: batch, classes: classes)
        try require("--stand-in-device", standInDevice, in: 0.001...60, "seconds")
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
        let architecture = try NetworkOptions.architecture(model, imageSize: imageSize)
        guard let job = try Job.join() else {
            throw ValidationError("an exchange needs at least two ranks: mpirun -n 2 trainer bench exchange")
        }
        let benchmark = try ExchangeBenchmark(job, nodeSize: nodeSize)
        if Job.isFirst, !benchmark.hasWindows {
            print("MPI opens no windows between these ranks: onesided is left out")
        }
        if let standInDevice {
            let device = try DeviceSelector.auto.assign(DeviceDescription.all(), ranks: 1)[0]
            let plan = try NetworkPlan(
                architecture, imageSize: imageSize, classes: classes,
                options: Network.Options(maximumBatch: 1, training: true), device: device)
            try show(
                try benchmark.standIn(plan, device, seconds: standInDevice, steps: steps, batch: batch),
                on: job)
        } else {
            try show(
                try byteCounts.map { try benchmark.ways(floatCount: $0 / 4, rounds: steps) }, on: job,
                hasWindows: benchmark.hasWindows)
        }
    }

    private func show(
        _ sizes: [[ExchangeBenchmark.Way]], on job: MPICommunicator, hasWindows: Bool
    ) throws {
        guard job.rank == 0 else { return }
        var rows: [JSON] = []
        var table = TextTable(
            header: ["size", "way", "ms", "GB/s", "of MPI_Allreduce", "wrong sums"],
            [.right, .left, .right])
        for ways in sizes {
            let reference =
                ways.first { $0.name == "MPI_Allreduce" }.map { Benchmark.median($0.seconds) } ?? 0
            for way in ways {
                let seconds = Benchmark.median(way.seconds)
                table.add([
                    MemorySize.text(way.byteCount), way.name, fixed(seconds * 1e3, 3),
                    fixed(Double(way.byteCount) * 1e-9 / seconds, 2),
                    fixed(reference / seconds, 2), "\(way.differing)",
                ])
                rows.append([
                    "way": way.name, "bytes": way.byteCount, "seconds": seconds, "differing": way.differing,
                ])
            }
        }
        print(table.text)
        try output.write([
            "ranks": job.size, "machines": job.nodes.count, "windows": hasWindows, "ways": rows,
        ])
    }

    private func show(_ results: [ExchangeBenchmark.StandIn], on job: MPICommunicator) throws {
        guard job.rank == 0 else { return }
        var table = TextTable(
            header: ["policy", "step ms", "computation ms", "exchange ms", "exchange hidden"],
            [.left, .right])
        for result in results {
            table.add(
                [result.policy] + [result.step, result.compute, result.exchange].map { fixed($0 * 1e3, 1) }
                    + [percent(result.hidden)])
        }
        print(table.text)
        let policies: [JSON] = results.map {
            [
                "policy": $0.policy, "gradient_bytes": $0.gradientBytes,
                "compute": $0.compute, "exchange": $0.exchange,
                "step": $0.step, "hidden": $0.hidden,
            ]
        }
        try output.write(["ranks": job.size, "policies": policies])
    }
}
