import Basics
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

    /// Opens a file, a folder with `model.safetensors` in it, or a run's folder, which means its last
    /// checkpoint.
    ///
    /// - Throws: `FileError`
    public init(_ fileOrRun: String) throws {
        path = try Checkpoint.modelPath(fileOrRun)
        file = try SafetensorsFile.read(path)
        description = try ModelDescription(file)
        isInferred = file.metadata["model"] == nil
    }

    private static func modelPath(_ fileOrRun: String) throws -> String {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: fileOrRun, isDirectory: &isFolder) else {
            throw FileError(
                path: fileOrRun, found: "no such file or folder", expected: "a checkpoint or a run's folder",
                remedy: "Check the path")
        }
        if !isFolder.boolValue {
            guard URL(fileURLWithPath: fileOrRun).lastPathComponent != "optimizer.safetensors" else {
                throw FileError(
                    path: fileOrRun, found: "the optimiser's velocities", expected: "a model",
                    remedy: "Give model.safetensors beside it")
            }
            return fileOrRun
        }
        for place in ["model.safetensors", "checkpoints/last/model.safetensors"] {
            let path = fileOrRun + "/" + place
            if FileManager.default.fileExists(atPath: path) { return path }
        }
        throw FileError(
            path: fileOrRun, found: "no checkpoint in this folder",
            expected: "model.safetensors or checkpoints/last/model.safetensors",
            remedy: "Give a run that has finished an epoch, or a .safetensors file")
    }

    /// The network of this checkpoint, with its weights.
    public func network(options: Network.Options, device: Device) throws -> Network {
        let network = try Network(
            description.architecture, imageSize: description.imageSize, classes: description.classes.count,
            options: options, device: device)
        try load(into: network)
        return network
    }

    /// Sets a parameter where the file has it by this name and shape.
    ///
    /// - Returns: whether it did.
    /// - Throws: `FileError` where numbers of it are not finite.
    public func loadWhereItFits(_ parameter: Parameter, into network: Network) throws -> Bool {
        guard let tensor = file.tensors[parameter.name], tensor.shape == parameter.shape else { return false }
        let values = try file.floats(parameter.name)
        if let place = values.firstIndex(where: { !$0.isFinite }) {
            throw FileError(
                path: path, found: "'\(parameter.name)' holds \(values[place]) at place \(place)",
                expected: "finite numbers",
                remedy: "The run that wrote it has diverged; give an earlier checkpoint")
        }
        try network.load(parameter, values)
        return true
    }

    /// Sets all weights of a network.
    ///
    /// - Throws: `FileError` where one is missing, has another shape or is not finite.
    public func load(into network: Network) throws {
        for parameter in network.parameters where try !loadWhereItFits(parameter, into: network) {
            let found =
                file.tensors[parameter.name].map { "'\(parameter.name)' of shape \($0.shape)" }
                ?? "no tensor '\(parameter.name)'"
            throw FileError(
                path: path, found: found,
                expected: "every layer of '\(network.architecture)', this one of shape \(parameter.shape)",
                remedy: "Give another checkpoint")
        }
    }

    /// A network that is not to be kept: numbers of this parameter are not finite.
    public struct NotFinite: Error { public let parameter: String }

    /// Writes a network's weights, whole or not at all; the same weights and description give the same bytes.
    ///
    /// - Throws: `NotFinite`, and `FileError` where the file cannot be written.
    public static func write(_ network: Network, _ description: ModelDescription, to path: String) throws {
        let parameters = Dictionary(uniqueKeysWithValues: network.parameters.map { ($0.name, $0) })
        try SafetensorsFile.write(path, shapes: parameters.mapValues(\.shape), metadata: description.metadata)
        { name in
            guard let parameter = parameters[name] else { return [] }
            let values = try network.export(parameter)
            guard values.allSatisfy(\.isFinite) else { throw NotFinite(parameter: name) }
            return values
        }
    }
}
