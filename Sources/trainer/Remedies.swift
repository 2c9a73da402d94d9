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
        switch error {
        case let error as ComputeError:
            text(
                for: error.kind, command: command,
                lessMemory: isResuming ? "try a smaller --cache" : lessMemory(command))
        case let error as NetworkError: text(for: error.kind, command: command)
        case let error as DatasetError: text(for: error.kind, command: command, isResuming: isResuming)
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
        case .unknownDevice, .other: nil
        }
    }

    private static func text(for kind: NetworkError.Kind, command: any ParsableCommand.Type) -> String? {
        switch kind {
        case .tooManyPoolings:
            command.optionNames.contains("image-size")
                ? "give a larger --image-size or fewer poolings (M)" : nil
        case .viewTooSmall, .other: nil
        }
    }

    private static func text(
        for kind: DatasetError.Kind, command: any ParsableCommand.Type, isResuming: Bool
    ) -> String? {
        let names = command.optionNames
        return switch kind {
        case .batchTooLarge where isResuming: nil
        case .batchTooLarge(let largest) where largest > 0: "give --batch \(largest) or less"
        case .batchTooLarge: "give fewer --micro-batches"
        case _ where !names.contains("data"): nil
        case .missingFolder where isResuming: "give --data with the folder in which the photographs are now"
        case .missingFolder, .notAFolder, .noClasses:
            "give --data the folder that holds a folder of photographs for each class"
        case .nested(let folder): "if these folders are the classes, give --data \(folder)"
        case .flat(let list):
            "put the photographs of each class into a folder of the class's name"
                + (names.contains("labels")
                    ? ", or give a list of their classes with --labels "
                        + (list ?? "FILE.csv") : "")
                + (command == EvaluateCommand.self ? "; `trainer predict` needs no classes" : "")
        case .partsAsClasses(let training):
            "rename them to train and val, or give only \(training) with --data"
        case .noneHeldOut where names.contains("val-fraction"):
            "give --val-fraction 1 to measure all of them, or --data with other photographs"
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
