import ArgumentParser
import Compute
import NeuralNet

struct KernelsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kernels",
        abstract: "Compile every kernel for every device, into the cache of compiled programs.")

    func run() throws {
        for description in try DeviceDescription.all() {
            let device = try Device(description)
            let programs = Tuning(for: description).programs
            for (file, constants) in programs { try device.program(file, constants: constants) }
            print("opencl:\(description.number) \(description.name): \(programs.count) programs")
        }
    }
}
