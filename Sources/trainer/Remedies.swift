import ArgumentParser
import Collectives
import Compute
import Evaluation
import NeuralNet
import Photographs

/// Says what to do about an error in the words of the command that was typed.
///
/// Errors carry facts only, because the code that throws them does not know which options a command has.
enum Remedy {
    /// Returns what the user can do about an error; nil if there is nothing to add to its description.
    ///
    /// - Parameter isResuming: whether `train --resume` failed: a resumed run keeps its batch.
    static func text(for error: any Error, command: any ParsableCommand.Type, isResuming: Bool = false)
        -> String?
    {
        guard let text = advice(on: error, command: command, isResuming: isResuming) else { return nil }
        // What the command cannot do is no remedy.
        let named = text.matches(of: #/(?:^|[ (])--([a-z-]+)/#).map { String($0.1) }
        return Set(named).isSubset(of: command.optionNames) ? text : nil
    }

    private static func advice(on error: any Error, command: any ParsableCommand.Type, isResuming: Bool)
        -> String?
    {
        switch error {
        case let error as ComputeError:
            text(
                for: error.kind, command: command,
                lessMemory: isResuming ? "try a smaller --cache" : lessMemory(command))
        case let error as NetworkError: text(for: error.kind)
        case let error as DatasetError: isResuming ? nil : text(for: error.kind)
        case let error as EvaluationError: text(for: error.kind)
        case let error as TopologyError: text(for: error.kind)
        case is WindowsUnavailable: "choose --transport sendrecv"
        default: nil
        }
    }

    private static func text(
        for kind: ComputeError.Kind, command: any ParsableCommand.Type, lessMemory: String?
    ) -> String? {
        switch kind {
        case .outOfMemory: "the device has too little free memory" + (lessMemory.map { ": " + $0 } ?? "")
        case .bufferTooLarge: lessMemory
        case .deviceNotFound:
            command == DevicesCommand.self ? nil : "run `trainer devices` to list the devices"
        case .noPlatform:
            "install a runtime: `apt-get install pocl-opencl-icd` runs the kernels on the CPU, "
                + "and a GPU needs its vendor's OpenCL driver"
        case .unknownDevice: "give one of these to --device"
        case .tooManyDevices(let count):
            command is any RunsOnRanks.Type
                ? "start one rank a device (mpirun -n \(count) trainer …), or give fewer devices to --device"
                : "give a single device to --device"
        case .tooFewDevices:
            "start one rank a device, or give one to --device for each rank (opencl:0,opencl:0 shares a "
                + "device)"
        case .other: nil
        }
    }

    private static func text(for kind: NetworkError.Kind) -> String? {
        switch kind {
        case .tooManyPoolings: "give a larger --image-size or fewer poolings (M)"
        case .viewTooSmall, .other: nil
        }
    }

    private static func text(for kind: DatasetError.Kind) -> String? {
        switch kind {
        case .batchTooLarge(let largest) where largest > 0: "give --batch \(largest) or less"
        case .batchTooLarge: "give fewer --micro-batches"
        default: nil
        }
    }

    private static func text(for kind: EvaluationError.Kind) -> String? {
        switch kind {
        case .viewTooSmall(isDense: true): "give larger --scales"
        case .viewTooSmall: "give larger --scales, or --dense for a smaller window"
        case .viewTooLarge: "give smaller --scales"
        case .unknownClass: "give one of these to --heat"
        case .other: nil
        }
    }

    private static func text(for kind: TopologyError.Kind) -> String {
        switch kind {
        case .microBatches: "start fewer ranks, or a new run with more --micro-batches"
        case .nodeSize: "give a --node-size that divides the number of ranks, or none"
        case .transport: "choose --transport auto, onesided or sendrecv"
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
