import ArgumentParser
import Basics
import Benchmarks
import NeuralNet

struct BenchGEMM: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gemm", abstract: "Time the product of two square matrices, including packing.")

    @Option(help: "Number of rows and columns of each matrix.") var size = 1024
    @Option(help: OptionHelp.steps) var steps = 10
    @OptionGroup var device: DeviceOptions
    @OptionGroup var output: JSONOptions

    func validate() throws {
        try require("--size", size, in: 1...16_384, "rows")
        try require("--steps", steps, in: 1...1_000_000, "runs")
    }

    func run() throws {
        let device = try device.open()
        let name = device.description.name
        let result = try Benchmark.product(size: size, runs: steps, device: device)
        print("\(size)³: \(fixed(result.gflops, 1)) GFLOPS on \(name)")
        try output.write(["gflops": result.gflops, "size": size, "device": name, "seconds": result.seconds])
    }
}

struct BenchFullyConnected: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fully-connected", abstract: "Time the three passes of one fully connected layer.")

    @Option(help: "Number of the layer's inputs.") var inputs = 4096
    @Option(help: "Number of the layer's outputs.") var outputs = 4096
    @Option(help: OptionHelp.batch) var batch = 64
    @Option(help: OptionHelp.slices) var slices = Slices.standard
    @Option(help: OptionHelp.steps) var steps = 7
    @OptionGroup var device: DeviceOptions
    @OptionGroup var output: JSONOptions

    func validate() throws {
        try requireAsTrain("slices", slices)
        try require("--inputs", inputs, in: 1...65_536, "inputs")
        try require("--outputs", outputs, in: 1...65_536, "outputs")
        try requireAsTrain("batch", batch)
        try require("--steps", steps, in: 1...1_000_000, "runs")
    }

    func run() throws {
        let device = try device.open(profiling: true)
        let result = try Benchmark.fullyConnected(
            inputs: inputs, outputs: outputs, batch: batch, slices: slices, runs: steps, device: device)
        var table = TextTable(header: ["pass", "ms", "GFLOPS"], [.left, .right])
        for (pass, seconds) in result {
            let median = Benchmark.median(seconds)
            let gflops = 2e-9 * Double(batch) * Double(inputs) * Double(outputs) / median
            table.add([pass.rawValue, fixed(median * 1e3, 2), fixed(gflops, 1)])
        }
        print(table.text)
        try output.write(
            ["device": device.description.name]
                + .object(result.map { .init($0.pass.rawValue, $0.seconds.json) }))
    }
}
