import ArgumentParser
import Compute

/// Says what to do about an error in the words of the command that was typed.
///
/// Errors carry facts only, because the code that throws them does not know which options a command has.
enum Remedy {
    /// Returns what the user can do about an error; nil if there is nothing to add to its description.
    static func text(for error: any Error, command: any ParsableCommand.Type) -> String? {
        switch error {
        case let error as ComputeError: text(for: error.kind, command: command)
        default: nil
        }
    }

    private static func text(for kind: ComputeError.Kind, command: any ParsableCommand.Type) -> String? {
        switch kind {
        case .outOfMemory:
            "the device has too little free memory" + (lessMemory(command).map { ": " + $0 } ?? "")
        case .bufferTooLarge: lessMemory(command)
        case .deviceNotFound:
            command == DevicesCommand.self ? nil : "run `trainer devices` to list the devices"
        case .noPlatform:
            "install a runtime: `apt-get install pocl-opencl-icd` runs the kernels on the CPU, "
                + "and a GPU needs its vendor's OpenCL driver"
        case .unknownDevice, .other: nil
        }
    }

    /// Returns the options with which the command takes less device memory; nil if it has none.
    private static func lessMemory(_ command: any ParsableCommand.Type) -> String? {
        let names = command.optionNames
        var ways = [
            ("batch", "a smaller --batch"), ("micro-batches", "more --micro-batches"),
            ("scales", "smaller --scales"), ("size", "a smaller --size"),
        ].filter { names.contains($0.0) }
        if ways.isEmpty, names.contains("image-size") { ways = [("image-size", "a smaller --image-size")] }
        return ways.isEmpty ? nil : "try " + ways.map(\.1).joined(separator: " or ")
    }
}
