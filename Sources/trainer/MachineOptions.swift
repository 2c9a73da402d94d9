import ArgumentParser
import Basics
import Benchmarks
import Compute
import Foundation
import Scaling

/// How a command starts ranks of its own.
struct LauncherOptions: ParsableArguments {
    @Option(help: "Launcher with its options, such as 'mpirun --hostfile hosts'.") var launcher = "mpirun"

    var ranks: RankLauncher { RankLauncher(launcher) }

    func validate() throws {
        guard launcher.contains(where: { $0 != " " }) else {
            throw ValidationError("--launcher: expected a command, such as mpirun; found nothing")
        }
    }
}

/// The machine of a simulation.
struct MachineOptions: ParsableArguments {
    static let names = (Machine.presets.map(\.name) + ["this"]).joined(separator: ", ")

    @Option(
        help: """
            Machine: \(MachineOptions.names) (measured here for some seconds) or a YAML file.
            """) var machine = "minwa"

    @Option(help: "Write the machine's numbers to this YAML file, to change them.") var saveMachine: String?
    @OptionGroup var launcher: LauncherOptions

    /// Returns the machine, and saves its numbers if that was asked for.
    func read() throws -> Machine {
        let result = try MachineOptions.named(machine, launcher.ranks)
        if let saveMachine { try AtomicFile.write(saveMachine, Array(result.yaml.utf8)) }
        return result
    }

    /// Returns the machine with this name, or that of a file.
    static func named(_ machine: String, _ launcher: RankLauncher) throws -> Machine {
        if let preset = Machine.presets.first(where: { $0.name == machine }) { return preset }
        if machine == "this" { return try ThisMachine.measure(launcher) }
        guard FileManager.default.fileExists(atPath: machine) else {
            throw ValidationError(
                "--machine \(machine): no such file; expected \(MachineOptions.names) or a YAML file")
        }
        return try Machine(file: machine)
    }
}

/// Measures the computer on which the program runs, with short benchmarks.
enum ThisMachine {
    private static let step = (model: "32,M,64,M,128,M,F256", imageSize: 32, batch: 64)

    static func measure(_ launcher: RankLauncher) throws -> Machine {
        let exchange = try exchange(launcher, ranks: 2)
        let device = try Device.open(.auto)
        let result = try launcher.results(
            ranks: 1,
            [
                "bench", "step", "--model", step.model, "--image-size", "\(step.imageSize)",
                "--batch", "\(step.batch)", "--steps", "5",
            ])
        let gpus = try DeviceDescription.all().filter { $0.kind == .gpu }.count
        // What a machine's numbers are does not matter for counting operations.
        let training = try SimulatedTraining(
            .minwa, model: step.model, imageSize: step.imageSize, classes: 10, device: device.description)
        let rate = result["images_per_second"]?.double ?? 0
        return .measured(
            gflops: training.operationsPerImage * rate * 1e-9,
            memoryBandwidth: try Benchmark.bandwidth(.reading, runs: 3, device: device),
            memory: device.description.globalMemory, exchange: exchange, devices: max(1, gpus),
            isCPU: device.description.kind == .cpu)
    }

    /// Measures the exchange between ranks on this computer, over the fastest transport.
    static func exchange(_ launcher: RankLauncher, ranks: Int) throws -> ExchangeSpeed {
        let result = try launcher.results(
            ranks: ranks, ["bench", "exchange", "--sizes", "64K,16M", "--steps", "7"])
        let sizes = (small: 64 << 10, large: 16 << 20)
        return ExchangeSpeed(
            ranks: ranks, small: (sizes.small, butterflySeconds(result, bytes: sizes.small) ?? 0),
            large: (sizes.large, butterflySeconds(result, bytes: sizes.large) ?? 0),
            isOneMachine: result["machines"]?.integer ?? 1 == 1, hasWindows: result["windows"]?.bool ?? true)
    }

    /// Returns the seconds of the fastest butterfly among the results of `bench exchange`.
    static func butterflySeconds(_ result: JSON, bytes: Int) -> Double? {
        (result["ways"]?.array ?? []).filter {
            $0["bytes"]?.integer == bytes && $0["way"]?.string?.hasPrefix("butterfly") == true
        }.compactMap { $0["seconds"]?.double }.min()
    }
}
