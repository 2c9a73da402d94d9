import Configuration
import Basics
import Compute
import Foundation
import Photographs
import Models
import NeuralNet

/// What a run has to know beside weights and velocities to go on as if it had never stopped: `state.json` of
/// a checkpoint.
///
/// All randomness is counted by (seed, epoch, step), so no generator has a state to be kept.
package struct TrainingState: Codable, Equatable {
    /// The epoch that has validated best.
    package struct Best: Codable, Equatable {
        package var top1: Double
        package var loss: Double
        package var step: Int

        package init(top1: Double, loss: Double, step: Int) {
            self.top1 = top1
            self.loss = loss
            self.step = step
        }
    }

    // What the run's bits depend on, fixed before step 1.
    package var version: String
    package var options: TrainingOptions
    package var device: String
    /// The photographs' fingerprint.
    package var data: String
    /// Of each convolution.
    package var algorithms: [String]
    /// The constants that fix the order in which the kernels add.
    package var tuning: [String: Int]

    // How far it has come.
    package var step = 0
    package var validatedEpochs = 0
    package var plateau = LearningRate.Plateau()
    package var best: Best?
    /// The length of `metrics.jsonl` at this moment.
    package var metricsByteCount = 0
    package var seconds = 0.0

    /// The state of a run before its first step.
    package init(
        version: String, options: TrainingOptions, device: Device, dataset: Dataset, network: Network
    ) {
        self.version = version
        self.options = options
        self.device =
            "\(device.description.name), \(device.description.platform) \(device.description.driver)"
        data = dataset.fingerprint
        tuning = device.tuning.values
        algorithms = network.layers.compactMap { ($0 as? Convolution)?.algorithms.description }
    }

    /// The files of a checkpoint.
    package static let files = ["model.safetensors", "optimizer.safetensors", "state.json"]

    // MARK: - Files

    package static func read(_ checkpoint: String) throws -> TrainingState {
        let path = checkpoint + "/state.json"
        do {
            let decoder = JSONDecoder()
            decoder.nonConformingFloatDecodingStrategy = .convertFromString(
                positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
            return try decoder.decode(TrainingState.self, from: Data(contentsOf: URL(fileURLWithPath: path)))
        } catch {
            throw TrainingError(
                "\(path): not the state of a run of this version of the program (\(error)); remove \(checkpoint) to go on from the one before"
            )
        }
    }

    /// Whether a run of `stepsPerEpoch` can have come to this state.
    ///
    /// - Throws: `TrainingError` where the file has been changed by hand, or by a fault of the disk.
    package func requirePossible(stepsPerEpoch: Int, checkpoint: String) throws {
        let epochs = 0...options.epochs
        guard epochs.contains(validatedEpochs), step >= validatedEpochs * stepsPerEpoch,
            step - validatedEpochs * stepsPerEpoch <= stepsPerEpoch, step <= options.epochs * stepsPerEpoch,
            metricsByteCount >= 0, best.map({ $0.step >= 0 && $0.step <= step }) ?? true
        else {
            throw TrainingError(
                "\(checkpoint)/state.json: step \(step) after \(validatedEpochs) validated epochs of \(stepsPerEpoch) steps cannot be; "
                    + "remove \(checkpoint) to go on from the one before")
        }
    }

    package func write(_ checkpoint: String) throws {
        try AtomicFile.write(checkpoint + "/state.json", Array(TrainingState.encode(self)))
    }

    private static func encode(_ value: some Encodable) throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        return try encoder.encode(value)
    }

    /// The optimiser's velocities, laid out as the weights in `model.safetensors`; the bits are the device's
    /// own.
    package static func writeVelocities(_ optimizer: StochasticGradientDescent, _ checkpoint: String) throws {
        let parameters = Dictionary(uniqueKeysWithValues: optimizer.parameters.map { ($0.name, $0) })
        try SafetensorsFile.write(
            checkpoint + "/optimizer.safetensors", shapes: parameters.mapValues(\.shape)
        ) { name in
            guard let parameter = parameters[name] else { return [] }
            return parameter.exported(try optimizer.velocities[parameter].read(parameter.storedCount))
        }
    }

    package static func readVelocities(_ optimizer: StochasticGradientDescent, _ checkpoint: String) throws {
        let file = try SafetensorsFile.read(checkpoint + "/optimizer.safetensors")
        for parameter in optimizer.parameters {
            guard file.tensors[parameter.name]?.shape == parameter.shape else {
                throw TrainingError(
                    "\(file.path): no velocities of \(parameter.name) with shape \(parameter.shape); remove \(checkpoint)"
                )
            }
            try optimizer.velocities[parameter].write(parameter.stored(try file.floats(parameter.name)))
        }
    }

    // MARK: - What must not change

    /// Options that leave the result as it is.
    private static let changeable = [
        "data", "device", "device-memory", "out", "workers", "checkpoint-every", "keep", "max-bad", "cache",
        "exchange", "transport", "node-size", "peer-timeout",
    ]

    /// Options that each rank may have its own of.
    package static let ownOfRank = ["data", "device", "device-memory", "out", "workers", "cache"]

    /// - Throws: `TrainingError` naming each option that would change the result, with both values.
    package func requireSameOptions(_ given: TrainingOptions) throws {
        let conflicts = TrainingOption.all.compactMap { option -> String? in
            let (own, other) = (option.text(options), option.text(given))
            if own == other || TrainingState.changeable.contains(option.name) { return nil }
            return "--\(option.name) \(other ?? "left open") (the run has \(own ?? "it left open"))"
        }
        guard conflicts.isEmpty else {
            throw TrainingError.usage(
                "--resume: \(conflicts.joined(separator: ", ")) would change the result; leave that out, or start a new run. "
                    + "May change: "
                    + TrainingState.changeable.filter { $0 != "out" }.map { "--\($0)" }.joined(
                        separator: ", ")
                    + " (--data to the same files in another place, --device to one of the same model)")
        }
    }

    /// - Throws: `TrainingError` naming what is not as it was when the run began.
    package func requireSame(as now: TrainingState) throws {
        func require(_ what: String, _ then: String, _ now: String, _ remedy: String) throws {
            guard then == now else {
                throw TrainingError(
                    "--resume: \(what) was \(then) and is \(now) now, so the result would not be the same; \(remedy)"
                )
            }
        }
        try require(
            "the device", device, now.device,
            "resume on the first one, or train a new run from this one with --init")
        try require(
            "the program's version", version, now.version,
            "resume with that version, or train a new run from this one with --init")
        try require(
            "the photographs' fingerprint (names, classes, a sample of sizes)", data, now.data,
            "files were added, removed or changed in \(now.options.data): restore them, or train a new run from this one with --init"
        )
        try require(
            "the convolutions' algorithm", algorithms.joined(separator: ","),
            now.algorithms.joined(separator: ","), "train a new run from this one with --init")
        try require(
            "the kernels' tuning", Tuning.text(tuning, unlike: now.tuning),
            Tuning.text(now.tuning, unlike: tuning), "train a new run from this one with --init")
    }
}
