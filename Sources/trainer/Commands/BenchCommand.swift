import ArgumentParser

struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Time parts of training and of evaluation.",
        discussion: "All benchmarks but `input` use random data unless an option names files.",
        subcommands: [
            BenchGEMM.self, BenchStep.self, BenchInput.self, BenchLayers.self, BenchFullyConnected.self,
            BenchExchange.self, BenchDense.self, BenchScaling.self, BenchTimeToAccuracy.self,
        ])
}
