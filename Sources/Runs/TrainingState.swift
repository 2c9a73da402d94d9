import Basics
import Compute
import Configuration
import Evaluation
import Foundation
import Models
import NeuralNet
import Photographs

/// What a resumed run needs beside weights and moments: `state.json` of a checkpoint.
///
/// All random numbers depend on (seed, epoch, step, sample) only, so there is no generator's state to save.
package struct TrainingState: Codable, Equatable {
    /// The epoch with the best validation.
    package struct Best: Codable, Equatable {
        package let top1: Double
        let loss: Double
        package let step: Int
    }

    /// What the plateau schedule remembers.
    package struct Plateau: Codable, Equatable, Sendable {
        package var best: Double?
        package var epochsSinceBest = 0
        package var reductions = 0
    }

    /// The sums over the steps of the current epoch.
    package struct EpochSums: Codable, Equatable {
        private var loss = 0.0, top1 = 0.0, weight = 0.0

        package init() {}

        package mutating func add(_ totals: SoftmaxCrossEntropy.Totals) {
            loss += Double(totals.loss)
            top1 += Double(totals.top1)
            weight += Double(totals.weight)
        }

        /// The mean cross-entropy in nats, and the accuracy as a fraction of 1.
        package var means: (loss: Double, top1: Double) { (loss / max(weight, 1), top1 / max(weight, 1)) }
    }

    // What the result depends on; fixed before step 1.
    let version: String
    package var options: TrainingOptions
    /// The folder in which relative paths of the options begin.
    package var workingFolder: String?
    package var device: String
    /// The photographs' fingerprint.
    package let data: String
    /// The algorithms of each layer that has a choice.
    let algorithms: [String]
    /// The constants that fix the order in which the kernels add, by their stable keys.
    let tuning: [String: Int]

    // The progress.
    package var step = 0
    package var validatedEpochs = 0
    package var plateau = Plateau()
    package var best: Best?
    /// The rate after the warm-up, once a range test has found it.
    package var foundLearningRate: Double?
    package var sums = EpochSums()
    /// The kinds of warnings that the run has given, each once.
    package var warnings: [String] = []
    /// The length of `metrics.jsonl` when the state was saved.
    package var metricsByteCount = 0
    package var seconds = 0.0

    /// Describes a run before its first step.
    package init(
        version: String, options: TrainingOptions, device: Device, dataset: Dataset, network: Network
    ) {
        self.version = version
        self.options = options
        workingFolder = FileManager.default.currentDirectoryPath
        let found = device.description
        self.device = "\(found.name), \(found.platform) \(found.driver)"
        data = dataset.fingerprint
        tuning = device.tuning.valuesThatChangeBits
        algorithms = network.plan.layers.compactMap(\.spec.chosenAlgorithms)
    }

    /// Notes the validation of the current step if it is the best, and returns whether it is.
    package mutating func noteIfBest(_ result: Metrics) -> Bool {
        let isBetter = best.map { (result.top1, -result.loss) > ($0.top1, -$0.loss) } ?? true
        // Without validation photographs, the newest weights are the best guess.
        guard isBetter || result.images == 0, result.loss.isFinite else { return false }
        best = Best(top1: result.top1, loss: result.loss, step: step)
        return true
    }

    /// The files of a checkpoint.
    static let files = ["model.safetensors", "optimizer.safetensors", "state.json"]

    // MARK: - Files

    /// Reads the state of a checkpoint.
    ///
    /// - Throws: `TrainingError` if the file is damaged, or another version of the program has saved it.
    package static func read(_ checkpoint: String) throws -> TrainingState {
        let path = checkpoint + "/state.json"
        do {
            let decoder = JSONDecoder()
            decoder.nonConformingFloatDecodingStrategy = .convertFromString(
                positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
            return try decoder.decode(TrainingState.self, from: Data(contentsOf: URL(fileURLWithPath: path)))
        } catch DecodingError.dataCorrupted {
            throw TrainingError(
                "\(path): not the state of a run, the file is damaged; remove \(checkpoint) to resume from "
                    + "the checkpoint before")
        } catch let error as CocoaError {
            throw TrainingError("\(path): cannot be read (\(error.reason)); check its permissions")
        } catch {
            throw TrainingError(
                "\(path): not the state of a run of this version of the program, and only the version that "
                    + "saved it can resume it", kind: .foreignCheckpoint(checkpoint))
        }
    }

    /// Checks that a run of `stepsPerEpoch` can reach this state.
    ///
    /// - Throws: `TrainingError` if the file was changed by hand or by a fault of the disk.
    package func requirePossible(stepsPerEpoch: Int, checkpoint: String) throws {
        let epochs = 0...options.epochs
        guard epochs.contains(validatedEpochs), step >= validatedEpochs * stepsPerEpoch,
            step - validatedEpochs * stepsPerEpoch <= stepsPerEpoch, step <= options.epochs * stepsPerEpoch,
            metricsByteCount >= 0, best.map({ $0.step >= 0 && $0.step <= step }) ?? true
        else {
            throw TrainingError(
                "\(checkpoint)/state.json: step \(step) after \(validatedEpochs) validated epochs of "
                    + "\(stepsPerEpoch) steps cannot be reached; remove \(checkpoint) to resume from the "
                    + "checkpoint before")
        }
    }

    package func write(_ checkpoint: String) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        try AtomicFile.write(checkpoint + "/state.json", Array(try encoder.encode(self)))
    }

    /// Returns the tensors of `optimizer.safetensors`: the first moments under the parameters' names, and the
    /// others with a suffix.
    ///
    /// If the weights are averaged, `model.safetensors` has the average, and this file the weights
    /// themselves.
    package static func tensors(of optimizer: Optimizer, _ network: Network) -> [(
        name: String, parameter: Parameter, values: Buffer
    )] {
        var arenas = zip(["", ".second_moment"], optimizer.moments).map { ($0, $1) }
        if optimizer.average != nil { arenas.append((".not_averaged", network.weights)) }
        return arenas.flatMap { suffix, arena in
            optimizer.parameters.map { ($0.name + suffix, $0, arena[$0]) }
        }
    }

    /// Writes what the optimiser keeps, in the layout that `model.safetensors` has for the weights.
    ///
    /// - Parameter export: collects parameters of which the network holds only a part
    package static func writeOptimizer(
        _ optimizer: Optimizer, _ network: Network, _ checkpoint: String,
        export: ParameterExport = exportWhole
    ) throws {
        let tensors = Dictionary(
            uniqueKeysWithValues: tensors(of: optimizer, network).map { ($0.name, $0) })
        try SafetensorsFile.writePieces(
            checkpoint + "/optimizer.safetensors", shapes: tensors.mapValues(\.parameter.shape)
        ) { name, write in
            guard let (_, parameter, values) = tensors[name] else { return }
            try export(parameter, values, write)
        }
    }

    /// Reads what `writeOptimizer` wrote.
    package static func readOptimizer(_ optimizer: Optimizer, _ network: Network, _ checkpoint: String)
        throws
    {
        let file = try SafetensorsFile.read(checkpoint + "/optimizer.safetensors")
        for (name, parameter, values) in tensors(of: optimizer, network) {
            guard file.tensors[name]?.shape == parameter.shape else {
                throw TrainingError(
                    "\(file.path): the optimiser's \(name) with shape \(parameter.shape) is missing; remove "
                        + "\(checkpoint)")
            }
            try values.write(parameter.stored(try file.floats(name, parameter.heldNumbers)))
        }
        network.weightsChanged()
    }

    // MARK: - What must not change

    /// Compares the options with those of a resumed run.
    ///
    /// - Parameter file: the run's configuration if the options are from there
    /// - Throws: `TrainingError` that names each option which would change the result, with both values.
    package func requireSameOptions(_ given: TrainingOptions, in file: String? = nil) throws {
        let changed = TrainingOption.all.filter { option in
            // A finished run may go on for longer.
            let isLonger = validatedEpochs == options.epochs && given.epochs > options.epochs
            return option.effect == .result && option.text(options) != option.text(given)
                && !(option.name == "epochs" && isLonger)
        }
        guard changed.isEmpty else {
            let values = changed.map {
                "\($0.name) \($0.text(given) ?? "without a value") (the run has "
                    + "\($0.text(options) ?? "none"))"
            }
            throw TrainingError(
                (file.map { $0 + ": " } ?? "") + values.joined(separator: ", ")
                    + " would change the resumed run's result",
                kind: file.map { .changedConfiguration($0) } ?? .changedOptions(changed.map(\.name)))
        }
    }

    /// Returns the options with paths to the photographs that are valid in the current folder.
    package var locatedOptions: TrainingOptions {
        var located = options
        for option in TrainingOption.all where option.traits.contains(.photographs) {
            // Any text is a path.
            if let path = option.text(options) { _ = option.set(locate(path), in: &located) }
        }
        return located
    }

    /// Returns a path; if nothing is there, the same path in the folder where the run was started.
    private func locate(_ path: String) -> String {
        let files = FileManager.default
        guard !path.isEmpty, !path.hasPrefix("/"), !files.fileExists(atPath: path),
            let there = workingFolder.map({ $0 + "/" + path }), files.fileExists(atPath: there)
        else { return path }
        return there
    }

    /// Returns a line for each option that differs from the run's; the place of its folder is none.
    package func changes(in given: TrainingOptions) -> [String] {
        TrainingOption.all.filter {
            $0.effect != .invocation && $0.text(given) != $0.text(locatedOptions)
        }.map {
            "\($0.name) is now \($0.text(given) ?? "without a value") (it was "
                + "\($0.text(options) ?? "without a value"))"
        }
    }

    /// Compares everything else that the result depends on with a resumed run.
    ///
    /// - Throws: `TrainingError` that names the first difference.
    package func requireSame(as now: TrainingState) throws {
        func require(
            _ what: String, _ then: String, _ now: String, _ circumstance: TrainingError.Circumstance
        ) throws {
            guard then == now else {
                throw TrainingError(
                    "\(what) was \(then) and is now \(now), which would change the resumed run's result",
                    kind: .changed(circumstance))
            }
        }
        try require("the device", device, now.device, .device)
        try require("the program's version", version, now.version, .version)
        try require(
            "the fingerprint of the photographs in \(now.options.data) (names, classes, a sample of sizes)",
            data, now.data, .photographs)
        try require(
            "the convolutions' algorithm", algorithms.joined(separator: ","),
            now.algorithms.joined(separator: ","), .kernels)
        // Older states hold constants that change no bits.
        let kept = tuning.filter { Tuning.changesBits($0.key) }
        try require(
            "the kernels' tuning", Tuning.text(kept, unlike: now.tuning),
            Tuning.text(now.tuning, unlike: kept), .kernels)
    }
}
