import Compute
import Foundation
import NeuralNet

/// A model on disk: `model.safetensors`, with the names and layouts of torchvision's VGG.
public struct Checkpoint: Sendable {
    public let path: String
    public let description: ModelDescription
    /// Whether the file says nothing of itself and torchvision's conventions were assumed.
    public let isInferred: Bool
    private let file: SafetensorsFile

    /// Opens a file, a folder with `model.safetensors` in it, or a run's folder, which means its last checkpoint.
    ///
    /// - Throws: `ModelFileError`
    public init(_ fileOrRun: String) throws {
        path = try Checkpoint.modelPath(fileOrRun)
        file = try SafetensorsFile.read(path)
        description = try ModelDescription(file)
        isInferred = file.metadata["model"] == nil
    }

    private static func modelPath(_ fileOrRun: String) throws -> String {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: fileOrRun, isDirectory: &isFolder) else {
            throw ModelFileError(
                path: fileOrRun, found: "no such file or folder", expected: "a checkpoint or a run's folder", remedy: "Check the path")
        }
        if !isFolder.boolValue { return fileOrRun }
        for place in ["model.safetensors", "checkpoints/last/model.safetensors"] {
            let path = fileOrRun + "/" + place
            if FileManager.default.fileExists(atPath: path) { return path }
        }
        throw ModelFileError(
            path: fileOrRun, found: "no checkpoint in this folder", expected: "model.safetensors or checkpoints/last/model.safetensors",
            remedy: "Give a run that has finished an epoch, or a .safetensors file")
    }

    /// The network of this checkpoint, with its weights.
    public func network(options: Network.Options, device: Device) throws -> Network {
        let network = try Network(
            description.architecture, imageSize: description.imageSize, classes: description.classes.count, options: options, device: device
        )
        for parameter in network.parameters { try load(parameter, into: network) }
        return network
    }

    private func load(_ parameter: Parameter, into network: Network) throws {
        guard let tensor = file.tensors[parameter.name] else {
            throw ModelFileError(
                path: path, found: "no tensor '\(parameter.name)'", expected: "every layer of '\(description.architecture)'",
                remedy: "Give another checkpoint")
        }
        guard tensor.shape == parameter.shape else {
            throw ModelFileError(
                path: path, found: "'\(parameter.name)' of shape \(tensor.shape)",
                expected: "\(parameter.shape), as '\(description.architecture)' has it", remedy: "Give another checkpoint")
        }
        let values = try file.floats(parameter.name)
        if let place = values.firstIndex(where: { !$0.isFinite }) {
            throw ModelFileError(
                path: path, found: "'\(parameter.name)' holds \(values[place]) at place \(place)", expected: "finite numbers",
                remedy: "The run that wrote it has diverged; give an earlier checkpoint")
        }
        try network.load(parameter, values)
    }

    /// Writes a network's weights, whole or not at all; the same weights and description give the same bytes.
    public static func write(_ network: Network, _ description: ModelDescription, to path: String) throws {
        let parameters = Dictionary(uniqueKeysWithValues: network.parameters.map { ($0.name, $0) })
        try SafetensorsFile.write(path, shapes: parameters.mapValues(\.shape), metadata: description.metadata) { name in
            guard let parameter = parameters[name] else { return [] }
            return try network.export(parameter)
        }
    }
}
