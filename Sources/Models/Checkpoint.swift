import Basics
import Compute
import Foundation
import NeuralNet

/// Writes a parameter's numbers in torchvision's order, from its values on the device.
///
/// `write` may be called any number of times.
public typealias ParameterExport = (
    _ parameter: Parameter, _ values: Buffer, _ write: @escaping ([Float]) throws -> Void
) throws -> Void

/// Writes a parameter of which the network holds the whole.
public func exportWhole(
    _ parameter: Parameter, _ values: Buffer, _ write: @escaping ([Float]) throws -> Void
) throws { try write(parameter.exported(try values.read(parameter.storedCount))) }

/// Reads and writes `model.safetensors`, with the names and layouts of torchvision's VGG.
public struct Checkpoint: Sendable {
    public let path: String
    public private(set) var description: ModelDescription
    private let file: SafetensorsFile

    /// Opens a file, a folder that contains `model.safetensors`, or the best checkpoint of a run's folder.
    ///
    /// - Throws: `FileError`.
    public init(_ fileOrRun: String) throws {
        path = try Checkpoint.modelPath(fileOrRun)
        file = try SafetensorsFile.read(path)
        description = try ModelDescription(file)
    }

    /// Returns the same model with other names for its classes.
    ///
    /// - Precondition: there are as many names as classes.
    public func renamed(_ classes: [String], words: [String: String]) -> Checkpoint {
        precondition(classes.count == description.classes.count)
        var renamed = self
        renamed.description.classes = classes
        renamed.description.words = words
        return renamed
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
        // A run that has not validated yet has no best checkpoint.
        for place in ["", "checkpoints/best/", "checkpoints/last/"].map({ $0 + "model.safetensors" }) {
            let path = fileOrRun + "/" + place
            if FileManager.default.fileExists(atPath: path) { return path }
        }
        if let path = pathWithoutLinks(fileOrRun) { return path }
        throw FileError(
            path: fileOrRun, found: "no checkpoint in this folder",
            expected: "model.safetensors or checkpoints/best/model.safetensors",
            remedy: "Give a run that has finished an epoch, or a .safetensors file")
    }

    /// Returns the best model of a run's folder that was copied without its links, or else the newest.
    private static func pathWithoutLinks(_ run: String) -> String? {
        let files = FileManager.default
        let folder = run + "/checkpoints"
        func path(_ step: Int) -> String { folder + "/step-\(step)/model.safetensors" }
        let steps = ((try? files.contentsOfDirectory(atPath: folder)) ?? []).compactMap { name in
            name.hasPrefix("step-") ? Int(name.dropFirst(5)) : nil
        }.filter { files.fileExists(atPath: path($0)) }.sorted()
        guard let newest = steps.last else { return nil }
        let state = files.contents(atPath: folder + "/step-\(newest)/state.json").flatMap {
            try? JSON.parse([UInt8]($0))
        }
        let best = state?["best"]?["step"]?.double.map { Int($0) }
        return path(best.flatMap { steps.contains($0) ? $0 : nil } ?? newest)
    }

    public func network(options: Network.Options, device: Device) throws -> Network {
        let network = try Network(
            description.architecture, imageSize: description.imageSize, classes: description.classes.count,
            options: options, device: device)
        try load(into: network)
        return network
    }

    /// Sets the held part of a parameter if the file has a tensor of its name and shape.
    ///
    /// - Returns: whether the parameter was set.
    /// - Throws: `FileError` if the tensor's numbers are not finite.
    public func loadWhereItFits(_ parameter: Parameter, into network: Network) throws -> Bool {
        guard let tensor = file.tensors[parameter.name], tensor.shape == parameter.shape else { return false }
        let held = parameter.heldNumbers
        let values = try file.floats(parameter.name, held)
        if let place = values.firstIndex(where: { !$0.isFinite }) {
            let found =
                "'\(parameter.name)' holds \(values[place]) at place \(held.lowerBound + place): "
                + "its run has diverged"
            throw FileError(
                path: path, found: found,
                expected: "finite numbers", remedy: "Give an earlier checkpoint")
        }
        try network.load(parameter, values)
        return true
    }

    /// Sets all weights of a network.
    ///
    /// - Throws: `FileError` if a tensor is missing, has another shape or is not finite.
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

    /// Reports that a parameter's numbers are not finite, so that the network was not written.
    public struct NotFinite: Error { public let parameter: String }

    /// Writes a network's weights, completely or not at all.
    ///
    /// Equal weights and descriptions give equal bytes.
    ///
    /// - Parameter export: collects parameters of which the network holds only a part
    /// - Throws: `NotFinite`, or `FileError` if the file cannot be written.
    public static func write(
        _ network: Network, _ description: ModelDescription, to path: String,
        export: ParameterExport = exportWhole
    ) throws {
        let parameters = Dictionary(uniqueKeysWithValues: network.parameters.map { ($0.name, $0) })
        try SafetensorsFile.writePieces(
            path, shapes: parameters.mapValues(\.shape), metadata: description.metadata
        ) { name, write in
            guard let parameter = parameters[name] else { return }
            try export(parameter, network.weights[parameter]) { values in
                guard values.allSatisfy(\.isFinite) else { throw NotFinite(parameter: name) }
                try write(values)
            }
        }
    }
}
