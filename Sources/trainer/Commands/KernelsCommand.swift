import ArgumentParser
import Compute

struct KernelsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kernels",
        abstract: "Compile every kernel for every device, into the cache of compiled programs.")

    @Flag(
        help: "Only list the programs' files and compiler options, for every kind of device and vector width."
    )
    var list = false

    func run() throws {
        if list {
            let programs = DeviceTraits.all.flatMap {
                KernelFamilies.programs(tuning: Tuning(for: $0))
            }
            for line in Set(programs.map { "\($0.file) \($0.options)" }).sorted() { print(line) }
            return
        }
        for description in try DeviceDescription.all() {
            let device = try Device(description)
            let programs = KernelFamilies.programs(tuning: device.tuning)
            for program in programs { try device.program(program) }
            print("opencl:\(description.number) \(description.name): \(programs.count) programs")
        }
    }
}
