import ArgumentParser
import Basics
import Compute

struct KernelsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kernels",
        abstract: "Compile every kernel for every device, into the cache of compiled programs.")

    @Flag(
        help: "Only list the programs' files and compiler options, for every kind of device and vector width."
    )
    var list = false

    @Flag(help: "With --list: a JSON object for each program, with the bodies and the GPU's vendor.")
    var json = false

    @Flag(help: "Compile anew and print what the compiler says; NVIDIA's says registers and spills.")
    var log = false

    @Option(help: "Only the devices that this value would select in `trainer train`. Default: all.")
    var device: String?

    func validate() throws {
        _ = try device.map { try DeviceOptions.selector($0) }
        if json && !list { throw ValidationError("--json needs --list") }
    }

    func run() throws {
        if list {
            let lines = DeviceTraits.all.flatMap { device in
                KernelFamilies.programs(tuning: Tuning(for: device)).map { line($0, device) }
            }
            for line in Set(lines).sorted() { print(line) }
            return
        }
        let all = try DeviceDescription.all()
        for description in try device.map({ try DeviceOptions.selector($0).meant(of: all) }) ?? all {
            let device = try Device(description)
            let programs = KernelFamilies.programs(tuning: device.tuning)
            for program in programs {
                if log {
                    print("\(program.file) \(program.options)\n\(try device.compilerLog(program))")
                } else {
                    try device.program(program)
                }
            }
            print("opencl:\(description.number) \(description.name): \(programs.count) programs")
        }
    }

    private func line(_ program: Program.Key, _ device: DeviceTraits) -> String {
        guard json else { return "\(program.file) \(program.options)" }
        let description: JSON = [
            "kernels": device.body.rawValue, "vendor": device.vendor.rawValue,
            "file": program.file, "options": program.options,
        ]
        return description.text
    }
}
